"""A sweep on the page: what each expert is worth to one answer, beside random removals. Values only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smola_demo.plots.palette import scales
from smola_demo.results import Progress, Sweep
from smola_demo.ui.comparison import close

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from smola_demo.results import Effect, EngineInfo

BY = (
    ("all experts", "expert"),
    ("one expert, layer by layer", "layer"),
    ("one expert, projection by projection", "projection"),
)
PLACES = tuple(by for _, by in BY)


def name_of(effect: Effect) -> str:
    """The label of one row: "visual 3", "layer 12" or "q_proj"."""
    if effect.where == "all":
        return f"{effect.group} {effect.expert}"
    return effect.where.removeprefix("projection ")


def sharers(group: str, groups: tuple[str, ...]) -> int | None:
    """How many groups share this one's tokens, when that is the same for all of them; else None."""
    both = "multimodal" in groups
    if group == "multimodal":
        return 2 if {"visual", "text"} <= set(groups) else 1 if len(groups) == 1 else None
    return 2 if both else 1


def outside(sweep: Sweep) -> list[bool]:
    """Which effects lie outside the range of the random removals; all but 0 when there are none."""
    chance = [removal.delta_logprob for removal in sweep.random]
    low, high = min(chance, default=0.0), max(chance, default=0.0)
    return [not low <= effect.delta_logprob <= high for effect in sweep.effects]


def verdict(sweep: Sweep, by: str) -> str:
    """One sentence: how many effects lie outside the random range, and which costs the answer most."""
    if not sweep.effects:
        return "There is nothing to take out."
    if all(effect.delta_logprob == 0 for effect in sweep.effects):
        return "Taking them out changes nothing at all: these experts add nothing to this answer."
    worst = min(sweep.effects, key=lambda effect: effect.delta_logprob)
    count = _counted(sweep, by)
    if worst.delta_logprob >= 0:
        return f"{count}; none makes the answer less likely when taken out."
    return f"{count}; {name_of(worst)} costs the answer most: {-worst.delta_logprob:.3f} nats."


def _counted(sweep: Sweep, by: str) -> str:
    out, total, drawn = sum(outside(sweep)), len(sweep.effects), len(sweep.random)
    if not drawn:
        return f"{total} {by}s, with no random removals to hold them against"
    lucky = 2 * total / (drawn + 1)  # one more draw is the least or the largest of all with 2 in drawn + 1
    about = f"about {lucky:.0f}" if lucky >= 1 else "less than one"
    return (
        f"{out} of {total} {by}s lie outside the range of {drawn} random removals of the same size; "
        f"{about} would by luck"
    )


def ranking_value(sweep: Sweep, by: str, info: EngineInfo) -> dict[str, Any]:
    """Value of the ranking view for a finished sweep. Experts are sorted by effect, layers stay in order."""
    rows = [
        {
            "name": name_of(effect),
            "group": effect.group,
            "expert": effect.expert,
            "spec": effect.spec,
            "delta": round(effect.delta_logprob, 6),
            "js": round(effect.js, 7),
            "weight": round(effect.weight, 6),
            "share": round(effect.contribution, 6),
            "changed": effect.answer_changed,
            "answer": effect.answer,
            "outside": out,
        }
        for effect, out in zip(sweep.effects, outside(sweep), strict=True)
    ]
    if by == "expert":
        rows.sort(key=lambda row: row["delta"])
    chance = [round(removal.delta_logprob, 6) for removal in sweep.random]
    pieces = sweep.random[0].pieces if sweep.random else 0
    shares = {group: sharers(group, info.groups) for group in info.groups}
    return {
        "state": "done",
        "by": by,
        "verdict": verdict(sweep, by),
        "answer": sweep.baseline.text,
        "seconds": round(sweep.seconds, 1),
        "rows": rows,
        "random": chance,
        "colours": scales(info.groups)["colour"],
        "uniform": {
            "weight": 1 / info.num_experts,
            "share": {g: 1 / (info.num_experts * n) for g, n in shares.items() if n},
        },
        "said": _said(sweep, by, info, pieces),
    }


def _said(sweep: Sweep, by: str, info: EngineInfo, pieces: int) -> str:
    """Layer set, phase, normalisation, and what the reference is."""
    layers = f"layers {info.layers[0]} to {info.layers[-1]}" if info.layers else "no layers"
    subject = {
        "expert": f"Each expert removed from all of {layers}",
        "layer": f"{_one(sweep)} removed from one layer at a time ({layers})",
        "projection": f"{_one(sweep)} removed from one projection at a time, in all of {layers}",
    }[by]
    piece = "one expert on one projection of one layer" if by == "projection" else "one expert in one layer"
    several = f"{pieces} pieces (a piece: {piece})" if pieces > 1 else f"one piece ({piece})"
    return (
        f"{subject}; Δ log-probability of the untouched answer, summed over its "
        f"{len(sweep.baseline.tokens)} tokens, in nats. Grey: {len(sweep.random)} random removals of "
        f"{several}, drawn over all experts and layers, seed {sweep.seed}. Weight and contribution: mean "
        "over the prompt and answer tokens the expert serves; a group's weights sum to 1, all contributions "
        "sum to 1."
    )


def _one(sweep: Sweep) -> str:
    return f"Expert {sweep.effects[0].group}:{sweep.effects[0].expert}" if sweep.effects else "Expert"


def stream_ranking(
    items: Iterator[Progress | Sweep], by: str, info: EngineInfo, stopped: threading.Event
) -> Iterator[dict[str, Any]]:
    """Items of the engine → values of the ranking view; closes them when `stopped` is set."""
    try:
        for item in items:
            if isinstance(item, Sweep):
                yield ranking_value(item, by, info)
                return
            if stopped.is_set():
                yield {"state": "stopped", "message": f"Stopped after {item.done} of {item.total}."}
                return
            said = f"{item.what[0].upper()}{item.what[1:]}: {item.done} of {item.total}"
            yield {"state": "running", "verdict": said, "done": item.done, "total": item.total}
    finally:
        close(items)


def picked_place(data: Any, info: EngineInfo | None) -> tuple[str, str] | None:
    """(spec, expert) of a chosen bar, or None when the page sent what is not there."""
    if info is None or not isinstance(data, dict):
        return None
    group, expert, spec = data.get("group"), data.get("expert"), data.get("spec")
    if group not in info.groups or not isinstance(expert, int) or not 0 <= expert < info.num_experts:
        return None
    name = f"{group}:{expert}"
    if (
        not isinstance(spec, str)
        or len(spec) > 60
        or not (spec == name or spec.startswith((f"{name}@", f"{name}/")))
    ):
        return None
    return spec, name
