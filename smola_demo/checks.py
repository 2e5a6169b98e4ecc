"""Are the pictures true? What routing promises, held against what happens when experts are taken out.

Weight and contribution are what the page draws; the effect of taking an expert out is what they should
foretell. Each figure is a mean over answers, with a 95 % bootstrap interval over their pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from smola_demo.metrics import bootstrap_ci
from smola_demo.processes import share_out
from smola_demo.results import Answer, Request, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smola_demo.data.row import Row
    from smola_demo.engine import Engine
    from smola_demo.results import Effect

EXAMPLES = 5


def checks(
    engine: Engine, rows: Sequence[Row], seed: int = 0, progress: Callable[[int], Any] | None = None
) -> dict[str, Any]:
    """{"n", "experts", "correlation", "answer_changed", "effect", "beyond", "routers"}.

    correlation     Spearman's, over the experts of one answer: weight or contribution against |Δ log-prob|
    answer_changed  share of answers that read differently without the expert of the largest contribution, and
                    without one taken at random: the mean over all of them
    effect          mean |Δ log-prob| (nats, of the whole answer) of the same two
    beyond          of both what the first has beyond the second, answer by answer (paired bootstrap)
    routers         mean weights (G, L, E) on the first row, of the trained routers and of fresh random ones
                    with the same scales

    Raises ValueError when there are no experts or no rows.
    """
    if engine.adapter is None or not rows:
        raise ValueError("these checks need experts and at least one row")
    found: dict[str, list[float]] = {
        name: []
        for name in ("weight", "contribution", "top_changed", "random_changed", "top_effect", "random_effect")
    }

    def effects_of(row: Row) -> tuple[Effect, ...]:
        *_, swept = engine.sweep(Request(row.open(), row.task, row.question))
        assert isinstance(swept, Sweep)  # noqa: S101  a sweep that does not raise ends with its Sweep
        if progress:
            progress(1)
        return swept.effects

    for effects in share_out(rows, effects_of):
        size = np.abs([effect.delta_logprob for effect in effects])
        for name in ("weight", "contribution"):
            found[name].append(spearman(np.array([getattr(effect, name) for effect in effects]), size))
        changed = np.array([effect.answer_changed for effect in effects], dtype=np.float64)
        top = int(np.argmax([effect.contribution for effect in effects]))
        for name, each in (("changed", changed), ("effect", size)):
            found[f"top_{name}"].append(float(each[top]))
            found[f"random_{name}"].append(float(each.mean()))
    pictures = [row.image_name for row in rows]
    for name in ("changed", "effect"):
        pairs = zip(found[f"top_{name}"], found[f"random_{name}"], strict=True)
        found[f"beyond_{name}"] = [top - random for top, random in pairs]
    means = {name: _mean(values, pictures) for name, values in found.items()}
    return {
        "n": len(rows),
        "experts": len(engine.info().groups) * engine.info().num_experts,
        "correlation": {name: means[name] for name in ("weight", "contribution")},
        "answer_changed": {kind: means[f"{kind}_changed"] for kind in ("top", "random")},
        "effect": {kind: means[f"{kind}_effect"] for kind in ("top", "random")},
        "beyond": {"answer_changed": means["beyond_changed"], "effect": means["beyond_effect"]},
        "routers": routers(engine, rows[0], seed),
    }


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties sharing their mean rank; 0 where one side is constant."""
    x, y = (pd.Series(values).rank().to_numpy() for values in (a, b))
    return float(np.corrcoef(x, y)[0, 1]) if np.std(x) and np.std(y) else 0.0


def routers(engine: Engine, row: Row, seed: int) -> dict[str, Any]:
    """{"row", "trained", "random"}: mean weights (G, L, E) as lists; the trained routers are put back."""
    assert engine.adapter is not None  # noqa: S101  checked by the caller
    request = Request(row.open(), row.task, row.question, max_new_tokens=1)
    found: dict[str, Any] = {"row": row.id, "task": row.task, "question": row.question}
    found["trained"] = _mean_weight(engine, request)
    parameters = [site.linear.mixture.router.phi for site in engine.adapter.sites]
    trained = [phi.detach().clone() for phi in parameters]
    generator = torch.Generator().manual_seed(seed)
    try:
        with torch.no_grad():
            for phi in parameters:
                phi.copy_(torch.randn(phi.shape, generator=generator))
        found["random"] = _mean_weight(engine, request)
    finally:
        with torch.no_grad():
            for phi, value in zip(parameters, trained, strict=True):
                phi.copy_(value)
    return found


def _mean_weight(engine: Engine, request: Request) -> list[Any]:
    *_, answer = engine.answer(request)
    assert isinstance(answer, Answer) and answer.trace is not None  # noqa: S101, PT018  experts were recorded
    return np.round(answer.trace.mean(answer.trace.weight), 4).tolist()


def _mean(values: Sequence[float], pictures: Sequence[str]) -> dict[str, Any]:
    return {"value": float(np.mean(values)), "ci95": list(bootstrap_ci(values, pictures=pictures))}
