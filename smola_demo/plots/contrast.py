"""Two runs held against each other: how their mean routing differs. They need not hold the same tokens.

Axes as in RoutingTrace: G groups, L layers, P projections, T tokens, E experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from smola_demo.trace import RoutingTrace

PHASES = ("prompt", "answer")  # numbered as in a trace


def mean_over_tokens(trace: RoutingTrace, values: np.ndarray, phase: int) -> np.ndarray:
    """(G, L, P, T, E) → (G, L, P, E): mean over the phase's tokens that each group serves; NaN where none."""
    counted = trace.serves() & (trace.phase == phase)
    wrapped = np.logical_not(np.isnan(trace.base_norm).any(-1))  # a layer may lack a projection
    total = np.einsum(
        "glpte,gt->glpe", np.where(wrapped[..., None, None], values, 0.0), counted.astype(float)
    )
    number = counted.sum(1)[:, None, None, None]
    mean = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    mean[:, ~wrapped] = np.nan
    return mean


def mean_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats of two mean routings (G, L, P, E) → (G, L), mean over projections.

    Experts that one of the runs has taken out (weight 0) take no part; the rest is re-normalised. NaN where
    fewer than two are left, or a run has no token.
    """
    both = (p > 0) & (q > 0)
    p, q = (np.where(both, x, 0.0) for x in (p, q))
    enough = both.sum(-1) > 1
    p, q = (
        np.divide(x, x.sum(-1, keepdims=True), out=np.zeros_like(x), where=enough[..., None]) for x in (p, q)
    )
    middle = (p + q) / 2
    js = np.maximum((_plogp(p) + _plogp(q)).sum(-1) / 2 - _plogp(middle).sum(-1), 0)
    number = enough.sum(-1)
    total = np.where(enough, js, 0.0).sum(-1)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def contrast(a: RoutingTrace, b: RoutingTrace, same_picture: bool = True) -> dict[str, Any]:
    """Per phase: {"weight", "share", "out", "js", "tokens", "same"} as lists for JSON.

    weight and share are b minus a (G, L, E), out tells for each of the two where a run has taken the expert
    out, of a projection at least (G, L, E): one replaced by its mean has no weight and yet a share. js is
    (G, L), tokens counts those of each group ([[a's, b's], …]), same tells whether both runs hold the same
    ones, which patches of two pictures are not. None where a run has no token of a group. Only the tokens may
    differ.
    """
    found: dict[str, Any] = {}
    shares = a.share(), b.share()
    for number, phase in enumerate(PHASES):
        weights = [mean_over_tokens(trace, trace.weight, number) for trace in (a, b)]
        contributions = [
            mean_over_tokens(trace, share, number) for trace, share in zip((a, b), shares, strict=True)
        ]
        counts = [(trace.serves() & (trace.phase == number)).sum(1) for trace in (a, b)]
        gone = [weight == 0 for weight in weights]
        silent = [out & (share == 0) for out, share in zip(gone, contributions, strict=True)]
        found[phase] = {
            "weight": _lists(_over_projections(weights[1] - weights[0]), 5),
            "share": _lists(_over_projections(contributions[1] - contributions[0]), 5),
            "out": {
                name: (first | second).any(2).tolist()
                for name, (first, second) in (("weight", gone), ("share", silent))
            },
            "js": _lists(mean_divergence(*weights), 7),
            "tokens": np.stack(counts, 1).tolist(),
            "same": _texts(a, number) == _texts(b, number) and (same_picture or phase != "prompt"),
        }
    return found


def _texts(trace: RoutingTrace, phase: int) -> list[str]:
    return [text for text, at in zip(trace.tokens, trace.phase, strict=True) if at == phase]


def _over_projections(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    number = known.sum(2)
    total = np.where(known, values, 0.0).sum(2)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _plogp(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.maximum(p, 1e-300))


def _lists(values: np.ndarray, digits: int) -> list[Any]:
    rounded = np.round(values, digits).astype(object)
    rounded[~np.isfinite(values)] = None
    return rounded.tolist()
