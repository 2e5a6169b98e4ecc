"""Sections on the maps of routing: do weight and contribution foretell effects, and what is mere chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo.ui.shipped import count, missing_value, not_computed, number, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from smola_demo.results import EngineInfo

WEAK, MODERATE = 0.3, 0.6  # sizes of a rank correlation below which words are smaller
ALIKE = 1.5  # below this ratio two departures from even are told as much the same
MEASURES = {"weight": "mean weight", "contribution": "contribution share"}
REMOVED = {"top": "expert of the largest contribution", "random": "random expert"}


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float

    def says(self, above: str, unclear: str, below: str, reference: float = 0.0) -> str:
        """Which of three things holds: the whole interval above the reference, across it, or below it."""
        return above if self.low > reference else below if self.high < reference else unclear

    def row(self, name: str, says: str) -> dict[str, Any]:
        """One line of a plot."""
        return {"name": name, "value": self.value, "low": self.low, "high": self.high, "says": says}


def interval(found: dict[str, Any], low: float = -np.inf, high: float = np.inf) -> Interval:
    """{"value", "ci95"} checked. Raises KeyError, TypeError or ValueError when it is no interval."""
    value = number(found["value"], low, high)
    first, last = (number(end, low, high) for end in found["ci95"])
    if first > last:
        raise ValueError("an interval whose ends are swapped")
    return Interval(value, first, last)


def check_sections(
    found: dict[str, Any], info: EngineInfo, damaged: Callable[[object], str]
) -> list[dict[str, Any]]:
    """The four sections of the file's "checks"; one that is missing or damaged says so in place."""
    sections = []
    for key, make in (
        ("correlation", _correlation),
        ("answer_changed", _changed),
        ("effect", _effect),
        ("routers", _routers),
    ):
        if not found.get(key):
            sections.append({"name": key, **missing_value(not_computed("This check is", info))})
            continue
        try:
            sections.append({"name": key, "state": "shown", "message": "", **make(found, info)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else error
            sections.append({"name": key, **missing_value(damaged(why))})
    return sections


def foretells(name: str, rho: Interval) -> str:
    """What a rank correlation with the size of the effects means, in plain words."""
    size = "weakly" if abs(rho.value) < WEAK else "moderately" if abs(rho.value) < MODERATE else "strongly"
    return rho.says(
        f"{name}: experts with more of it {size} tend to matter more",
        f"{name}: no clear link with what an expert matters",
        f"{name}: experts with more of it {size} tend to matter less",
    )


def _correlation(checks: dict[str, Any], info: EngineInfo) -> dict[str, Any]:
    found = {name: interval(checks["correlation"][name], -1, 1) for name in MEASURES}
    said = {name: foretells(MEASURES[name], rho) for name, rho in found.items()}
    return {
        "title": "Do large numbers on the maps mean large effects?",
        "how": "At 1 the experts with the largest number are those whose removal changes the answer most; at "
        "0 the number says nothing about that; below 0 it misleads.",
        "said": _over(checks, "Spearman's rank correlation with |Δ log-prob| over the experts of one answer"),
        "axis": "rank correlation with the size of the effect",
        "range": [-1.05, 1.05],
        "reference": "no link",
        "rows": [rho.row(MEASURES[name], said[name]) for name, rho in found.items()],
        "verdicts": [
            {"text": said[name], "kind": rho.says("good", "open", "bad")} for name, rho in found.items()
        ],
        "table": {
            "head": ["measure", "correlation", "from", "to", "answers"],
            "rows": [[MEASURES[n], r.value, r.low, r.high, count(checks["n"])] for n, r in found.items()],
        },
    }


def apart(beyond: Interval, more: str, less: str) -> dict[str, str]:
    """The verdict on what the top expert has beyond a random one, answer by answer."""
    told = f"{beyond.value:+.3f} [{beyond.low:+.3f}, {beyond.high:+.3f}]".replace("-", "−")
    unclear = "No clear difference from a random expert"
    text = f"{beyond.says(more, unclear, less)}: {told}, answer by answer."
    return {"text": text, "kind": beyond.says("good", "open", "bad")}


def _pair(checks: dict[str, Any], key: str, more: str, less: str, **shown: Any) -> dict[str, Any]:
    high = 1.0 if key == "answer_changed" else np.inf
    found = {kind: interval(checks[key][kind], 0, high) for kind in REMOVED}
    rows = [[REMOVED[kind], one.value, one.low, one.high, count(checks["n"])] for kind, one in found.items()]
    return {
        "rows": [one.row(REMOVED[kind], "") for kind, one in found.items()],
        "verdicts": [apart(interval(checks["beyond"][key]), more, less)],
        "table": {"head": ["expert taken out", "value", "from", "to", "answers"], "rows": rows},
        **shown,
    }


def _changed(checks: dict[str, Any], info: EngineInfo) -> dict[str, Any]:
    return _pair(
        checks,
        "answer_changed",
        "Taking out the top expert changes the answer more often than taking out a random one",
        "Taking out the top expert changes the answer less often than taking out a random one",
        title="Does the answer change without the top expert?",
        how="Each point is the share of answers that read differently after one expert is taken out, for the "
        "random one the mean over all experts; only what the top expert has beyond it is owed to its place "
        "on the map.",
        said=_over(checks, "share of answers that change, greedy decoding, one expert out in all layers"),
        axis="share of answers that change",
        reference="never",
        range=[-0.03, 1.03],
    )


def _effect(checks: dict[str, Any], info: EngineInfo) -> dict[str, Any]:
    return _pair(
        checks,
        "effect",
        "Taking out the top expert moves the answer's log-probability more than taking out a random one",
        "Taking out the top expert moves the answer's log-probability less than taking out a random one",
        title="How far does its likelihood move?",
        how="Each point is how far the log-probability of the first answer moves, in either direction, when "
        "one expert is taken out.",
        said=_over(checks, "mean |Δ log-prob| of the whole answer, one expert out in all layers"),
        axis="|Δ log-prob|, nats",
        reference="no effect",
    )


def _routers(checks: dict[str, Any], info: EngineInfo) -> dict[str, Any]:
    found = checks["routers"]
    shape = (len(info.groups), len(info.layers), info.num_experts)
    maps = {name: np.array(found[name], dtype=float) for name in ("trained", "random")}
    if any(one.shape != shape or not np.isfinite(one).all() for one in maps.values()):
        raise ValueError("a map that does not fit these experts")
    even = 1 / info.num_experts
    far = {name: float(np.abs(one - even).mean()) for name, one in maps.items()}
    each = f"trained {far['trained']:.4f}, random {far['random']:.4f}"
    told = f"(mean distance from 1/{info.num_experts}: {each})"
    if max(far.values()) <= ALIKE * min(far.values()):
        kind, said = (
            "open",
            f"Both maps depart from even about as far {told}: a pattern alone is no evidence.",
        )
    elif far["trained"] > far["random"]:
        kind, said = "good", f"The trained map departs further from even than the random one {told}."
    else:
        kind, said = "bad", f"The random map departs further from even than the trained one {told}."
    question = f", question “{text(found['question'])}”" if found.get("question") else ""
    return {
        "title": "Would a random router draw the same map?",
        "how": "For each group first the trained routers, then routers drawn at random with the same scales, "
        "in the same colours: if the two look alike, a pretty map means nothing.",
        "said": f"mean weight per layer and expert over prompt tokens of one row ({text(found['row'])}, task "
        f"{text(found['task'])}{question}), mean over projections, a group's experts sum to 1, "
        f"uniform is 1/{info.num_experts} = {even:.4g}",
        "groups": list(info.groups),
        "even": even,
        "maps": {name: one.tolist() for name, one in maps.items()},
        "verdicts": [{"text": said, "kind": kind}],
        "table": {
            "head": ["group", "layer", "expert", "trained", "random"],
            "rows": [
                [group, str(layer), str(e), *(float(one[g, n, e]) for one in maps.values())]
                for g, group in enumerate(info.groups)
                for n, layer in enumerate(info.layers)
                for e in range(info.num_experts)
            ],
        },
    }


def _over(checks: dict[str, Any], what: str) -> str:
    answers, experts = count(checks["n"]), count(checks["experts"])
    return f"{what}, mean over {answers} answers, {experts} experts, 95 % bootstrap intervals"
