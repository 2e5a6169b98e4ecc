"""The embedded default: SmolLM2-135M-Instruct and EfficientNet-Lite2, joined the LLaVA way from weights on the package index.

Assembled once into the cache, as a clean float32 checkpoint and, when wanted, as a 4-bit one; a start then reads one
folder and needs no network. The connector is ours: it is laid over the model after loading, so training it anew leaves
the cache valid.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from smola_demo.backbone import EMBEDDED
from smola_demo.backbone.assembly import checkpoint, load_model, load_processor
from smola_demo.backbone.base import TEXT, VISUAL, Backbone, Encoded
from smola_demo.backbone.connector import base_folder, overlay, revision_of
from smola_demo.backbone.quantization import Plan, dequantize_linears, set_compute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from smola_demo.backbone.download import Progress

NAME = "SmolLM2-135M + EfficientNet-Lite2"
LICENCE = "Apache-2.0"
TURN, END, IMAGE = "<|im_start|>", "<|im_end|>", "<image>"


class EmbeddedBackbone(Backbone):
    """A LLaVA-style model with the chat format of SmolLM2 and one square grid of visual tokens per image."""

    @property
    def grid(self) -> int:
        """Visual tokens along one side of an image."""
        vision = self.model.config.vision_config
        return vision.image_size // vision.patch_size

    def encode(self, image: Image.Image | Tensor | None, prompt: str, answer: str | None = None) -> Encoded:
        """One row in the chat format; see Backbone.encode. What the user wrote never becomes a special token."""
        pixels = self._pixels(image)
        n_visual = 0 if pixels is None else self.grid**2
        before = self._ids(f"{TURN}user\n")
        visual = [self.image_token_id] * n_visual
        ids = before + visual + self._ids("\n" * (n_visual > 0) + prompt, plain=True)
        ids += self._ids(f"{END}\n{TURN}assistant\n")
        start = len(ids)
        if answer is not None:
            ids += self._ids(answer, plain=True) + self._ids(END)
        modality = torch.full((len(ids),), TEXT, dtype=torch.int8)
        modality[len(before) : len(before) + n_visual] = VISUAL
        return Encoded(torch.tensor(ids), pixels, start, modality)

    def patch_boxes(self, row: Encoded) -> Tensor:
        """(n, 4) float32; the image is squeezed to a square without cropping, so its cells are cells of the grid."""
        if row.pixel_values is None:
            return torch.zeros(0, 4)
        edges = torch.arange(self.grid + 1, dtype=torch.float32) / self.grid
        y, x = torch.meshgrid(torch.arange(self.grid), torch.arange(self.grid), indexing="ij")
        return torch.stack([edges[x], edges[y], edges[x + 1], edges[y + 1]], dim=-1).flatten(0, 1)

    def _pixels(self, image: Image.Image | Tensor | None) -> Tensor | None:
        if image is None:
            return None
        if isinstance(image, Tensor):
            batched = image if image.ndim > 2 and image.shape[0] == 1 else image[None]
            side, width = (
                self.model.config.vision_config.image_size,
                self.model.config.vision_config.hidden_size,
            )
            if batched.shape[1:] not in ((3, side, side), (self.grid**2, width)):
                raise ValueError(
                    f"an image tensor must be pixels (3, {side}, {side}) or features ({self.grid**2}, {width}), "
                    f"not {tuple(image.shape)}"
                )
            return batched
        return self.processor.image_processor(images=image.convert("RGB"), return_tensors="pt")[
            "pixel_values"
        ]

    def _ids(self, text: str, plain: bool = False) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"]


def load_embedded(plan: Plan, progress: Progress | None = None) -> EmbeddedBackbone:
    """The embedded backbone as planned, fetched and assembled first where the cache does not hold it yet."""
    started = time.perf_counter()
    model = load_model(plan, progress)
    if plan.dequantize:
        dequantize_linears(model)
    elif plan.precision == "nf4":
        set_compute(model, plan.device)
    state = overlay(model, base_folder())
    if plan.precision == "bf16":
        model.model.language_model.to(torch.bfloat16)  # the tied head is the same tensor
    if plan.precision not in ("nf4", "int8") or plan.dequantize:
        model.to(plan.device)
    model.eval().requires_grad_(False)
    return EmbeddedBackbone(
        id=EMBEDDED,
        name=NAME,
        licence=LICENCE,
        revision=revision_of(base_folder()),
        model=model,
        processor=load_processor(plan, progress),
        precision=plan.precision,
        compute=plan.compute,
        device=plan.device,
        load_s=time.perf_counter() - started,
        state=state,
    )


def prepare() -> Sequence[Any]:
    """Build both checkpoints in the cache, float32 and 4-bit, where they are missing; returns their folders."""
    return [checkpoint("float"), checkpoint("nf4")]
