"""Whether a model fits before it is loaded: the best precision and picture for the memory that is free.

Sizes of known models stand in known_models.json, as published with their ids; `confirmed` says that the count
of their parameters was found published too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from smola_demo.adapter import AdapterError
from smola_demo.backbone import efficientnet  # noqa: F401  registers the embedded model's tower
from smola_demo.backbone.counts import Counts, FitError, count
from smola_demo.backbone.footprint import CONTEXT, Estimate, estimate
from smola_demo.backbone.quantization import Plan, PrecisionError
from smola_demo.config import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.backbone.pictures import Picture
    from smola_demo.config import SmolaConfig

KNOWN_FILE = Path(__file__).with_name("known_models.json")
MARGIN = 0.1  # of an estimate is kept free on top: activations are approximate, and memory fragments
ENOUGH = 256  # visual tokens below which a lower precision is the smaller loss
GIGA = 1e9


@dataclass(frozen=True)
class Known:
    """A model whose sizes are written down."""

    name: str
    id: str
    licence: str
    parameters: int
    confirmed: bool
    config: dict[str, Any]


@dataclass(frozen=True)
class Fit:
    """What was chosen for a model on some memory, and the sentence that says so."""

    plan: Plan
    picture: Picture
    estimate: Estimate
    total: int
    sentence: str


@cache
def known_models() -> tuple[Known, ...]:
    """The models whose sizes are written down, in the order of the tables."""
    return tuple(Known(**entry) for entry in json.loads(KNOWN_FILE.read_text(encoding="utf-8")))


@cache
def known_counts(name: str, smola: SmolaConfig | None = None) -> Counts:
    """A known model with such experts, counted. Raises KeyError."""
    return count(known_config(name), smola)


def known_config(name: str) -> Any:
    """The config of a known model, by its name or id. Raises KeyError."""
    return config_from(known(name).config)


def known(name: str) -> Known:
    """A known model by its name or id. Raises KeyError."""
    return {key: model for model in known_models() for key in (model.name, model.id)}[name]


def config_of(name: str) -> Any:
    """The config of a known model's name, of a folder or of a hub id; weights are never touched.

    Raises FitError when there is none to be had.
    """
    from transformers import PreTrainedConfig

    if any(name in (model.name, model.id) for model in known_models()):
        return known_config(name)
    try:
        values, _ = PreTrainedConfig.get_config_dict(name)  # plain values: no code of the repository is run
        return config_from(values)
    except (OSError, ValueError, KeyError):
        names = ", ".join(model.name for model in known_models())
        raise FitError(
            f"no config of '{name}' is to be had: name a folder, a hub id that can be reached, or {names}"
        ) from None


def config_from(values: dict[str, Any]) -> Any:
    """The config that a config.json holds. Raises KeyError or ValueError for one of no known type."""
    from transformers import AutoConfig

    rest = {key: value for key, value in values.items() if key != "model_type"}
    return AutoConfig.for_model(values["model_type"], **rest)


def counts_of(name: str, smola: SmolaConfig | None = None) -> Counts:
    """A model counted by a known name, a folder or a hub id. Raises FitError like `config_of`."""
    return count(config_of(name), smola)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now, with what torch holds for later and what CUDA itself took already.

    The second, because `estimate` counts it.
    """
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept + CONTEXT
    import psutil

    return int(psutil.virtual_memory().available)


def plans(device: torch.device, precision: str = "auto") -> tuple[Plan, ...]:
    """What may be tried on a device, the best first.

    precision  one of ours; "auto", as loading does: NF4, on a CPU in float32 and then packed; "best": on a
               GPU bf16 and int8 before NF4, on a CPU as "auto"

    Raises PrecisionError for a precision that there is not.
    """
    if precision not in ("auto", "best", *PRECISIONS):
        raise PrecisionError(f"no precision '{precision}': choose auto, best, {', '.join(PRECISIONS)}")
    if precision in PRECISIONS:
        return (Plan(precision, device),)
    if device.type == "cpu":
        return (Plan("nf4", device, dequantize=True), Plan("nf4", device))
    return tuple(
        Plan(name, device) for name in (("bf16", "int8", "nf4") if precision == "best" else ("nf4",))
    )


def choose_fit(
    counts: Counts,
    free: int,
    tried: Sequence[Plan],
    training: bool = False,
    name: str = "this model",
) -> Fit:
    """The best way of `tried` to hold a counted model and its experts in `free` bytes, a margin left.

    The first precision in which a picture of at least 256 visual tokens fits wins, with the largest picture
    that does; where none is that large, the last precision with the largest picture that fits at all.
    Raises FitError, which names what would fit.
    """
    found = _search(counts, tried, free, training)
    if found is None:
        raise FitError(_refusal(counts, tried[-1], free, training, name))
    plan, picture, numbers = found
    total, largest = numbers.total(training), counts.pictures[0]
    smaller = "" if picture == largest else f"; larger pictures, up to {largest.label}, would not"
    sentence = (
        f"{name} fits for {_use(counts, plan, picture, free, training)}: {plan.compute}, pictures of "
        f"{picture.label} ({picture.tokens:,} visual tokens), "
        f"about {_gb(total)} of the {_gb(free)} free{smaller}"
    )
    return Fit(plan, picture, numbers, total, sentence)


def _use(counts: Counts, plan: Plan, picture: Picture, free: int, training: bool) -> str:
    """What it fits for; training is estimated with checkpointing, and may fit without."""
    if not training:
        return "answering"
    whole = estimate(counts, plan, picture, checkpointing=False).training * (1 + MARGIN) <= free
    return f"training experts {'with or without' if whole else 'with'} gradient_checkpointing"


def fit_to_load(name: str, config: Any, tried: Sequence[Plan]) -> Fit | None:
    """How a model of this config will be loaded, judged by the memory that is free now.

    Returns None for one whose size cannot be told: loading it then shows whether it fits. Raises FitError.
    """
    try:
        counts = count(config)
    except (FitError, AdapterError):
        return None
    return choose_fit(counts, free_bytes(tried[0].device), tried, name=name)


def _search(
    counts: Counts, tried: Sequence[Plan], free: int, training: bool
) -> tuple[Plan, Picture, Estimate] | None:
    last = None
    for plan in tried:
        for picture in counts.pictures:
            numbers = estimate(counts, plan, picture)
            if numbers.total(training) * (1 + MARGIN) <= free:
                last = plan, picture, numbers
                break
        if last and last[1].tokens >= min(ENOUGH, counts.pictures[0].tokens):
            break
    return last


def _refusal(counts: Counts, plan: Plan, free: int, training: bool, name: str) -> str:
    """Why the smallest way does not fit, and what would: a lower precision, or the largest smaller model."""
    smallest = counts.pictures[-1]
    total = round(estimate(counts, plan, smallest).total(training) * (1 + MARGIN))
    short = (
        f"{name} does not fit: with {plan.compute} and pictures of {smallest.label} it takes {_gb(total)} "
        f"with its margin, {_gb(total - free)} more than the {_gb(free)} free"
    )
    lowest = plans(plan.device)[-1:]
    if plan not in lowest and _search(counts, lowest, free, training):
        return f"{short}: choose {lowest[0].precision}"
    for model in sorted(known_models(), key=lambda model: -model.parameters):
        if model.parameters < counts.parameters and _search(
            known_counts(model.name, counts.smola), lowest, free, training
        ):
            return f"{short}: choose {model.id} in {lowest[0].precision}"
    return f"{short}, and no smaller model that we know fits: free some memory"


def _gb(size: int) -> str:
    return f"{size / GIGA:.2g} GB" if size < GIGA else f"{size / GIGA:.1f} GB"
