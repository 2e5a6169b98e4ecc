"""What fits where, as an object for the command line and as the Markdown tables of docs/fit.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from smola_demo.backbone.counts import FitError
from smola_demo.backbone.fit import GIGA, MARGIN, choose_fit, known_counts, known_models, plans
from smola_demo.backbone.footprint import ANSWER_TOKENS, CONTEXT, PROMPT_TOKENS, estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.backbone.fit import Fit

CARDS = (4, 6, 8, 12, 16, 24)
MEGA = 1e6


def report(name: str, fit: Fit, free: int, training: bool) -> dict[str, Any]:
    """One choice as plain values, all sizes in bytes."""
    return {
        "model": name,
        "sentence": fit.sentence,
        "precision": fit.plan.precision,
        "compute": fit.plan.compute,
        "device": fit.plan.device.type,
        "picture": fit.picture.label,
        "visual_tokens": fit.picture.tokens,
        "training": training,
        "bytes": fit.estimate.to_dict(),
        "total": fit.total,
        "free": free,
        "margin": MARGIN,
    }


def tables() -> str:
    """All tables in Markdown: what fits on which card for asking and for training, and the parts."""
    unconfirmed = ", ".join(model.name for model in known_models() if not model.confirmed)
    notes = (
        f"Sizes from the models' configs; one picture, a prompt of {PROMPT_TOKENS} tokens, an answer of "
        f"{ANSWER_TOKENS}, the default experts, batch 1. GB are 10⁹ bytes, all of a card counted as free, "
        f"{MARGIN:.0%} of the estimate kept as margin, {CONTEXT / MEGA:.0f} MB for CUDA. "
        "A cell says the best precision and the visual tokens of the largest picture that fit. "
        f"The count of parameters could not be confirmed from a published one for {unconfirmed}."
    )
    parts = [notes, "## Asking", cards(), "## Training experts", cards(training=True), "## Parts", sizes()]
    return "\n\n".join(parts)


def cards(training: bool = False, chosen: Sequence[int] = CARDS) -> str:
    """Known models × cards: precision and visual tokens, or a dash."""
    head = ["model", *(f"{card} GB" for card in chosen)]
    body = [[m.name, *(_cell(m.name, card, training) for card in chosen)] for m in known_models()]
    return _markdown([head, *body])


def sizes() -> str:
    """Known models × parts in MB: weights in each precision, all else under NF4 with the largest picture."""
    device = torch.device("cuda")
    precisions = [plans(device, name)[0] for name in ("nf4", "int8", "bf16", "fp32")]
    weights = [f"{plan.precision} weights" for plan in precisions]
    rest = ("picture", "KV cache", "activations", "experts", "training state", "activations in training")
    rows = [["model", "parameters", *weights, *rest]]
    for model in known_models():
        counts = known_counts(model.name)
        picture = counts.pictures[0]
        nf4 = estimate(counts, precisions[0], picture)
        held = [estimate(counts, plan, picture).weights for plan in precisions]
        passing = [nf4.cache, nf4.activations, nf4.adapter + nf4.fused, nf4.gradients + nf4.optimizer]
        numbers = [f"{counts.parameters / MEGA:,.0f} M", *(_mb(size) for size in held), picture.label]
        rows.append([model.name, *numbers, *(_mb(size) for size in (*passing, nf4.backward))])
    return _markdown(rows)


def _cell(name: str, card: int, training: bool) -> str:
    try:
        tried = plans(torch.device("cuda"), "best")
        fit = choose_fit(known_counts(name), round(card * GIGA), tried, training)
    except FitError:
        return "–"
    return f"{fit.plan.precision}, {fit.picture.tokens:,}"


def _mb(size: int) -> str:
    return f"{size / MEGA:,.0f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
