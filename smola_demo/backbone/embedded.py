"""The embedded default: SmolLM2-135M-Instruct and EfficientNet-Lite2, joined the LLaVA way.

Its weights come from the package index and are assembled once into the cache; a start then reads one folder
and needs no network. The connector is ours and is laid over the model after loading, so training it anew
leaves the cache valid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from smola_demo.backbone.base import Backbone, Encoded, grid_boxes
from smola_demo.backbone.connector import overlay, revision_of
from smola_demo.backbone.quantization import dequantize_linears, keep_exact
from smola_demo.backbone.seen import SeenPictures
from smola_demo.backbone.store import checkpoint, load_model, load_processor
from smola_demo.context import TEXT, VISUAL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from smola_demo.backbone.download import Progress
    from smola_demo.backbone.quantization import Plan

ID = "embedded"
NAME = "SmolLM2-135M + EfficientNet-Lite2"
LICENCE = "Apache-2.0"
TURN, END = "<|im_start|>", "<|im_end|>"


@dataclass
class EmbeddedBackbone(Backbone):
    """A LLaVA-style model with the chat format of SmolLM2 and one square grid of visual tokens per image."""

    packs = True
    spelled = frozenset({"read"})  # of what is read out, visual tokens say letters, to be copied
    _seen: SeenPictures = field(default_factory=SeenPictures, repr=False)

    @property
    def grid(self) -> int:
        """Visual tokens along one side of an image."""
        vision = self.model.config.vision_config
        return vision.image_size // vision.patch_size

    def write_out_attention(self) -> None:
        """Compute the language model's attention in plain operations, which then add a mask of four axes.

        With the mask of a packed sequence this saves 8 % of a training step on a CPU.
        """
        self.model.model.language_model.set_attn_implementation("eager")

    def prepare(self, image: Image.Image) -> Tensor:
        """(3, h, w) normalised pixels."""
        return self._pixels(image)[0]

    def encode(self, image: Image.Image | Tensor | None, prompt: str, answer: str | None = None) -> Encoded:
        """One row in the chat format. What the user wrote makes no special token.

        image: a picture, normalised pixels (3, h, w), features of the tower (n, d), or None.
        """
        pixels = None if image is None else self._pixels(image)
        n_visual = 0 if pixels is None else self.grid**2
        before = self._ids(f"{TURN}user\n")
        ids = before + [self.image_token_id] * n_visual
        ids += self._ids("\n" * (n_visual > 0) + prompt, plain=True)
        ids += self._ids(f"{END}\n{TURN}assistant\n")
        start = len(ids)
        if answer is not None:
            ids += self._ids(answer, plain=True) + self._ids(END)
        modality = torch.full((len(ids),), TEXT, dtype=torch.int8)
        modality[len(before) : len(before) + n_visual] = VISUAL
        return Encoded(torch.tensor(ids), pixels, start, modality)

    def patch_boxes(self, row: Encoded) -> Tensor:
        """(n, 4) float32; the image is squeezed to a square, uncropped: its cells are the grid's cells."""
        if row.pixel_values is None:
            return torch.zeros(0, 4)
        return grid_boxes(self.grid, self.grid)

    def image_inputs(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """The images of the rows: features of the tower, each picture's once, where nothing is learned."""
        if torch.is_grad_enabled():
            return super().image_inputs(rows)
        shown = {id(row.pixel_values): row.pixel_values for row in rows if row.pixel_values is not None}
        features = {key: self._features(pixels) for key, pixels in shown.items()}
        each = [features[id(row.pixel_values)] for row in rows if row.pixel_values is not None]
        return {"pixel_values": torch.cat(each).float()} if each else {}

    def forget(self) -> None:
        """Drop the features kept of earlier pictures."""
        self._seen.forget()

    def _features(self, pixels: Tensor) -> Tensor:
        """(1, n, d) of one picture, given as pixels or as features already."""
        if pixels.dim() == 3:
            return pixels
        tower = self.model.model.vision_tower
        return self._seen.features(pixels, lambda x: tower(x.to(self.device)).hidden_states[-1])

    def _pixels(self, image: Image.Image | Tensor) -> Tensor:
        if not isinstance(image, Tensor):
            batch = self.processor.image_processor(images=image.convert("RGB"), return_tensors="pt")
            return batch["pixel_values"]
        vision = self.model.config.vision_config
        pixels, features = (3, vision.image_size, vision.image_size), (self.grid**2, vision.hidden_size)
        if image.shape in (pixels, features):
            return image[None]
        if image.shape in ((1, *pixels), (1, *features)):
            return image
        raise ValueError(
            f"an image tensor must be pixels {pixels} or features {features}, not {tuple(image.shape)}"
        )

    def _ids(self, text: str, plain: bool = False) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"]


def load_embedded(plan: Plan, base: Path, progress: Progress | None = None) -> EmbeddedBackbone:
    """The embedded backbone as planned, under the weights of `base`.

    Fetched and assembled first where the cache does not hold it yet.
    """
    model = load_model(plan, progress)
    if plan.dequantize:
        dequantize_linears(model)
    elif plan.precision in ("nf4", "int8"):
        keep_exact(model, plan.device)
    state = overlay(model, base)
    if plan.precision == "bf16":
        model.model.language_model.to(torch.bfloat16)  # the tied head is the same tensor
    if plan.dequantize or plan.precision in ("bf16", "fp32"):
        model.to(plan.device)
    model.model.vision_tower.to(memory_format=torch.channels_last)  # convolutions run up to twice as fast
    return EmbeddedBackbone(
        id=ID,
        name=NAME,
        licence=LICENCE,
        revision=revision_of(base),
        model=model.eval().requires_grad_(False),
        processor=load_processor(plan, progress),
        precision=plan.precision,
        compute=plan.compute,
        device=plan.device,
        state=state,
    )


def prepare(progress: Progress | None = None) -> None:
    """Build both checkpoints in the cache, or hash them in full and build again what is damaged."""
    for kind in ("float", "nf4"):
        checkpoint(kind, progress, full_check=True)
