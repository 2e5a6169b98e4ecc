"""What a model is made of, counted from its config alone: the real class is built without any weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from smola_demo.adapter import attach
from smola_demo.backbone import BackboneError
from smola_demo.backbone.pictures import Picture, pictures
from smola_demo.config import SmolaConfig

if TYPE_CHECKING:
    from torch import Tensor

    from smola_demo.adapter import Adapter


class FitError(BackboneError):
    """A model whose size cannot be told, or that does not fit; the sentence names what would."""


@dataclass(frozen=True)
class Linears:
    """Widths of the linears of one kind: `shapes` holds (out, in) of each."""

    shapes: tuple[tuple[int, int], ...]

    @property
    def numbers(self) -> int:
        """Weights in all."""
        return sum(out * inner for out, inner in self.shapes)

    @property
    def largest(self) -> int:
        """Weights of the largest."""
        return max((out * inner for out, inner in self.shapes), default=0)


@dataclass(frozen=True)
class Counts:
    """A model and its experts in numbers.

    linears      of the language model: what is ever quantized
    wrapped      those among them that carry experts
    embeddings   all other parameters of the language model: embeddings, head, norms, biases
    vision       parameters of the vision tower and the connector
    buffers      bytes of what is no parameter
    adapter      numbers of the experts, in `tensors` tensors; `hidden` is g·e·r of one linear
    fused        numbers that the mixtures copy to read router and experts as one matrix
    gates        maps alive at once in an MLP of the tower: 3 where it is gated, else 2
    pictures     the sizes of picture it can be given, the largest first
    smola        the experts' shape
    text, tower  configs of the language model and of the vision tower
    """

    linears: Linears
    wrapped: Linears
    embeddings: int
    vision: int
    buffers: int
    adapter: int
    tensors: int
    hidden: int
    fused: int
    gates: int
    pictures: tuple[Picture, ...]
    smola: SmolaConfig
    text: Any
    tower: Any

    @property
    def parameters(self) -> int:
        """Parameters of the backbone; tied ones count once."""
        return self.linears.numbers + self.embeddings + self.vision


def count(config: Any, smola: SmolaConfig | None = None) -> Counts:
    """Count a vision-language model of this config with such experts (default: SmolaConfig()).

    Raises FitError for a config that is no vision-language model's, AdapterError for experts it cannot carry.
    """
    smola = smola or SmolaConfig()
    with torch.device("meta"):
        model = _build(config)
        decoder = model.get_decoder()
        linears = {n: m for n, m in decoder.named_modules() if isinstance(m, nn.Linear)}
        path = next(name for name, module in model.named_modules() if module is decoder)
        language = {id(p) for part in (decoder, model.get_output_embeddings()) for p in part.parameters()}
        sizes = {id(p): p.numel() for p in model.parameters()}
        buffers = sum(b.numel() * b.element_size() for b in model.buffers())
        shapes = {name: (m.out_features, m.in_features) for name, m in linears.items()}
        adapter = attach(model, smola, _targets(path, shapes), decoder, _no_modality)
    inside = Linears(tuple(shapes.values()))
    return Counts(
        linears=inside,
        wrapped=Linears(tuple(shapes[site.path.removeprefix(f"{path}.")] for site in adapter.sites)),
        embeddings=sum(n for i, n in sizes.items() if i in language) - inside.numbers,
        vision=sum(n for i, n in sizes.items() if i not in language),
        buffers=buffers,
        adapter=adapter.num_parameters(),
        tensors=len(list(adapter.parameters())),
        hidden=len(smola.groups) * smola.num_experts * smola.rank,
        fused=_fused(adapter),
        gates=2 + any("gate_proj" in n for n, p in model.named_parameters() if id(p) not in language),
        smola=smola,
        pictures=pictures(model.config),
        text=model.config.get_text_config(),
        tower=model.config.vision_config,
    )


def _build(config: Any) -> Any:
    from transformers import AutoModelForImageTextToText

    if not hasattr(config, "vision_config"):
        raise FitError(f"'{config.model_type}' is no vision-language model: choose one that reads pictures")
    try:
        model: Any = AutoModelForImageTextToText.from_config(config)
    except ValueError:
        raise FitError(f"no model class is known for '{config.model_type}': choose another family") from None
    model.tie_weights()
    return model


def _targets(path: str, shapes: dict[str, tuple[int, int]]) -> dict[str, tuple[int, str]]:
    found = {name: re.fullmatch(r"layers\.(\d+)\..*?([^.]+)", name) for name in shapes}
    return {f"{path}.{name}": (int(m[1]), m[2]) for name, m in found.items() if m}


def _fused(adapter: Adapter) -> int:
    mixtures = [site.linear.mixture for site in adapter.sites]
    return sum(m.router.phi.numel() + m.experts.A.numel() for m in mixtures if not m.router.pools)


def _no_modality(input_ids: Tensor, mask: Tensor | None) -> Tensor:
    raise RuntimeError("a model without weights answers nothing")
