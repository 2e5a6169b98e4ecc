"""Is the routing alive? How many experts are in use, how evenly, and whether tasks are told apart.

From real answers over real rows. Every linear has a router of its own and expert 3 of one is not expert 3 of
another: figures are taken linear by linear, and a layer's is their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo.chance import entropy
from smola_demo.processes import share_out
from smola_demo.results import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smola_demo.data.row import Row
    from smola_demo.engine import Engine
    from smola_demo.trace import RoutingTrace

SHUFFLES = 200
COLLAPSED, EVEN = 0.99, 0.01


@dataclass(frozen=True)
class Usage:
    """One answer's routing, per linear; NaN where a layer lacks a projection or a group has no token.

    mean      (G, L, P, E) mean weight over the tokens the group serves
    entropy   (G, L, P) mean over tokens of a token's entropy, nats
    lowest    (G, L, P, E) lowest weight of any token, highest likewise
    """

    task: str
    mean: np.ndarray
    entropy: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def health(
    engine: Engine, rows: Sequence[Row], seed: int = 0, progress: Callable[[int], Any] | None = None
) -> dict[str, Any]:
    """{"n", "tasks", "experts", "layers", "groups": {group: …}}, each row weighing alike.

    Per group, a list over layers:
      in_use       effective number of experts: exp of the entropy of the mean weights, 1 to E
      per_token    the same of one token's weights: exp of the mean entropy
      information  mutual information of task and expert in nats, p(task, expert) being the share of rows
                   times their mean weight
      by_chance    its 95 % quantile with tasks shuffled over rows: what so few rows would show of no link
    and "information_mean", "by_chance_mean": the same of the mean over layers, one comparison per group;
    "collapsed": layers with a linear that gives one expert 99 % of all weight; "even": layers where no weight
    of any token is further than 1 % from 1 / E.

    Raises ValueError when there are no experts or no rows.
    """
    if engine.adapter is None or not rows:
        raise ValueError("a health report needs experts and at least one row")
    info = engine.info()

    def look(row: Row) -> Usage:
        *_, answer = engine.answer(Request(row.open(), row.task, row.question))
        assert isinstance(answer, Answer) and answer.trace is not None  # noqa: S101, PT018  experts record
        if progress:
            progress(1)
        return usage(row.task, answer.trace)

    used = share_out(rows, look)
    return {
        "n": len(rows),
        "tasks": {task: sum(u.task == task for u in used) for task in dict.fromkeys(u.task for u in used)},
        "experts": info.num_experts,
        "layers": list(info.layers),
        "groups": report(used, info.groups, info.layers, seed),
    }


def usage(task: str, trace: RoutingTrace) -> Usage:
    """What one trace says of every linear."""
    wrapped = ~np.isnan(trace.base_norm).any(-1)
    shape = (*trace.weight.shape[:3], trace.weight.shape[-1])
    mean, lowest, highest = (np.full(shape, np.nan) for _ in range(3))
    spread = np.full(shape[:3], np.nan)
    for g, served in enumerate(trace.serves()):
        if served.any():
            weight = trace.weight[g][:, :, served].astype(np.float64)[wrapped]
            mean[g][wrapped], spread[g][wrapped] = weight.mean(1), entropy(weight).mean(1)
            lowest[g][wrapped], highest[g][wrapped] = weight.min(1), weight.max(1)
    return Usage(task, mean, spread, lowest, highest)


def report(
    used: Sequence[Usage], groups: Sequence[str], layers: Sequence[int], seed: int = 0
) -> dict[str, Any]:
    """The figures of `health` for each group that serves a token of any row."""
    found = {}
    tasks = np.unique([u.task for u in used], return_inverse=True)[1]
    for g, group in enumerate(groups):
        served = [n for n, u in enumerate(used) if not np.isnan(u.mean[g]).all()]
        if not served:
            continue
        mean = np.stack([used[n].mean[g] for n in served])
        spread = np.stack([used[n].entropy[g] for n in served])
        rng = np.random.default_rng(seed)
        own = tasks[served]
        chance = [information(mean, rng.permutation(own)) for _ in range(SHUFFLES)]
        truth = information(mean, own)
        found[group] = {
            "in_use": _round(np.exp(np.nanmean(entropy(mean.mean(0)), -1))),
            "per_token": _round(np.exp(np.nanmean(spread.mean(0), -1))),
            "information": _round(truth),
            "by_chance": _round(np.quantile(chance, 0.95, axis=0)),
            "information_mean": float(truth.mean()),
            "by_chance_mean": float(np.quantile(np.mean(chance, -1), 0.95)),
            "collapsed": [layers[i] for i in np.flatnonzero(_top(mean) >= COLLAPSED).tolist()],
            "even": [layers[i] for i in np.flatnonzero(_far([used[n] for n in served], g) <= EVEN).tolist()],
        }
    return found


def information(mean: np.ndarray, tasks: np.ndarray) -> np.ndarray:
    """(L,) nats: mutual information of task (N,) and expert, from mean weights (N, L, P, E) of N rows."""
    joint = np.stack([mean[tasks == task].sum(0) for task in np.unique(tasks)]) / len(mean)
    independent = joint.sum(0, keepdims=True) * joint.sum(-1, keepdims=True)
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    each = np.where(np.isnan(joint), np.nan, joint * np.log(ratio)).sum((0, -1))
    return np.nanmean(each, -1)


def _top(mean: np.ndarray) -> np.ndarray:
    """(L,) largest share that one expert has of all weight at any linear; 0 where there is but one expert."""
    return np.nanmax(mean.mean(0), axis=(1, 2)) * (mean.shape[-1] > 1)


def _far(used: Sequence[Usage], g: int) -> np.ndarray:
    """(L,) how far the furthest weight of any token is from 1 / E, as a share of it."""
    lowest = np.nanmin([u.lowest[g] for u in used], axis=(0, 2, 3))
    highest = np.nanmax([u.highest[g] for u in used], axis=(0, 2, 3))
    experts = used[0].mean.shape[-1]
    far = np.maximum(highest * experts - 1, 1 - lowest * experts)
    return far if experts > 1 else np.full_like(far, np.inf)


def _round(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]
