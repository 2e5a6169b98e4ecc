"""How far the routing of two runs is apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from smola_demo.trace import RoutingTrace


def divergence(a: RoutingTrace, b: RoutingTrace, keep: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence (nats) of two runs' routing, per layer (L,): 0 the same, log 2 all apart.

    keep (G, L, P, E) bool: the experts that take part, each run's weights re-normalised over them. Both runs
    must hold the same tokens. Mean over groups, projections and the tokens a group serves with at least two
    such experts; NaN in a layer where there is none.
    """
    p, q = (_renormalized(trace.weight, keep) for trace in (a, b))
    middle = (p + q) / 2
    js = (_plogp(p) + _plogp(q)).sum(-1) / 2 - _plogp(middle).sum(-1)
    counts = (p.sum(-1) > 0) & (q.sum(-1) > 0) & (keep.sum(-1) > 1)[:, :, :, None]
    total, number = np.where(counts, np.maximum(js, 0), 0).sum((0, 2, 3)), counts.sum((0, 2, 3))
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _renormalized(weight: np.ndarray, keep: np.ndarray) -> np.ndarray:
    kept = weight.astype(np.float64) * keep[:, :, :, None, :]
    total = kept.sum(-1, keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)


def _plogp(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.maximum(p, 1e-300))
