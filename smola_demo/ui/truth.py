"""The value of the "Is it true?" view: metrics.json beside the loaded experts, each figure with what it says.

A section is {"name", "title", "verdicts", …}; the sentences on scores and effects follow from the 95 %
intervals, whichever way they fall; the one on the routers compares two maps of one row by a fixed ratio.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smola_demo.ui.loading import sentence
from smola_demo.ui.shipped import (
    ShippedError,
    check_made_for,
    count,
    damaged,
    missing_value,
    model_options,
    not_computed,
    nothing_to_read,
    number,
    read_shipped,
    text,
)
from smola_demo.ui.truth_checks import Interval, check_sections, interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from smola_demo.results import EngineInfo

NAME = "metrics.json"
SUITES = ("shapes", "words", "charts", "forms")
METRICS = {
    "cider_d": "CIDEr-D (1.0 is 100)",
    "vqa_accuracy": "accuracy",
    "count_accuracy": "accuracy",
    "anls": "ANLS",
    "relaxed_accuracy": "relaxed accuracy",
    "exact": "exact match",
}
NOT_COMPARED = "The same rows without experts are not computed for this checkpoint yet."
NO_STEPS = (
    "The file does not say after how many training steps it was measured: it may describe an earlier state."
)


def truth_value(info: EngineInfo | None) -> dict[str, Any]:
    """The view's value: "shown" with its sections, or "missing" with a sentence and the commands to run."""
    if info is None or nothing_to_read(info):
        return missing_value(nothing_to_read(info))
    try:
        found = read_shipped(info, NAME)
        if found is None:
            return missing_value(not_computed("These checks are", info), commands(info))
        check_made_for(info, NAME, found)
        if found.get("ablation"):
            raise ShippedError(f"{NAME} was measured with {found['ablation']} taken out, not on all experts")
    except ShippedError as error:
        return missing_value(f"{sentence(error)} Compute it again:", commands(info))
    made = [("tasks", _tasks), ("looking", _looking)]
    sections = [_section(found, key, make, info) for key, make in made]
    if isinstance(found.get("checks"), dict):
        sections += check_sections(found["checks"], info, lambda why: _again(damaged("checks", why)))
    else:
        sections.append({"name": "checks", **missing_value(not_computed("Checks of the maps are", info))})
    return {
        "state": "shown",
        "name": info.experts,
        "made": _made(found, info),
        "note": "" if "steps" in found else NO_STEPS,
        "commands": commands(info) if any("message" in s and s["message"] for s in sections) else [],
        "layers": list(info.layers),
        "sections": sections,
    }


def commands(info: EngineInfo) -> list[str]:
    """What to run for all of it."""
    suites = " ".join(f"--suite suites/{name}.jsonl" for name in SUITES)
    asked = info.experts_option or info.experts
    out = shlex.quote(asked if Path(asked).is_dir() else f"checkpoints/{asked}")
    judge = f"python -m smola_demo evaluate {suites} {model_options(info)} --out {out}"
    return ["python -m smola_demo data suites", f"{judge} --against none --look --checks 60"]


def _made(found: dict[str, Any], info: EngineInfo) -> str:
    steps = f"after {found['steps']:,} steps " if isinstance(found.get("steps"), int) else ""
    return f"Measured for {info.experts} {steps}on {info.backbone}, {found.get('compute', info.precision)}."


def _again(error: ShippedError) -> str:
    return f"{sentence(error)} Compute it again."


def _section(
    found: dict[str, Any], key: str, make: Callable[[dict[str, Any]], dict[str, Any]], info: EngineInfo
) -> dict[str, Any]:
    """One part of the file; what is missing or damaged there leaves the others as they are."""
    what = {"tasks": "Scores are", "looking": "Whether it looks is"}[key]
    if not found.get(key):
        return {"name": key, **missing_value(not_computed(what, info))}
    try:
        return {"name": key, "state": "shown", **make(found[key])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        return {"name": key, **missing_value(_again(damaged(f"{NAME}, {key},", why)))}


def _tasks(found: dict[str, Any]) -> dict[str, Any]:
    rows, table, verdicts = [], [], []
    head = ["task", "verdict", "difference", "from", "to", "with experts", "from", "to", "without", "rows"]
    compared = all("against" in task for task in found.values())
    for name, task in found.items():
        own = interval(task)
        line = [
            name,
            "not compared yet",
            None,
            None,
            None,
            own.value,
            own.low,
            own.high,
            None,
            count(task["n"]),
        ]
        metric = METRICS.get(text(task["metric"]), task["metric"])
        if "against" in task:
            other = task["against"]
            gain = interval({"value": other["difference"], "ci95": other["ci95"]})
            said = gain.says("better", "no clear difference", "worse")
            line[1:5] = [said, gain.value, gain.low, gain.high]
            line[8] = number(other["value"])
            rows.append(gain.row(f"{name}, {metric}", said))
            verdicts.append({"text": f"{name}: {said}", "kind": gain.says("good", "open", "bad")})
        table.append([*line, metric])
    without = {task["against"]["ablation"] for task in found.values() if "against" in task}
    label = "experts" if without <= {"none"} else ", ".join(sorted(map(text, without)))
    return {
        "title": "Do the experts help?",
        "how": "Each point is the score with experts minus the score without, on the same rows; the line is "
        "its 95 % interval. A line that crosses zero shows no clear difference.",
        "said": f"paired bootstrap over pictures, greedy answers, with all experts and without {label}",
        "axis": "score with experts minus score without",
        "reference": "no difference",
        "rows": rows,
        "verdicts": verdicts,
        "summary": _count(rows),
        "table": {"head": [*head, "metric"], "rows": table},
        "message": "" if compared else NOT_COMPARED,
    }


def _count(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    better, worse = ([r for r in rows if r["says"] == kind] for kind in ("better", "worse"))
    return f"Clearly better on {len(better)} of {len(rows)} tasks, clearly worse on {len(worse)}."


def _looking(found: dict[str, Any]) -> dict[str, Any]:
    rows, table, verdicts = [], [], []
    for source, seen in found.items():
        gain: Interval = interval({"value": seen["gain"], "ci95": seen["ci95"]})
        said = gain.says(
            "it looks: its own picture makes the right answer likelier",
            "no sign that it looks",
            "its own picture makes the right answer less likely than another one",
        )
        rows.append(gain.row(source, said))
        verdicts.append({"text": f"{source}: {said}", "kind": gain.says("good", "open", "bad")})
        own, other = number(seen["own"]), number(seen["other"])
        table.append([source, said, own, other, gain.value, gain.low, gain.high, count(seen["n"])])
    return {
        "title": "Does it look at the picture?",
        "how": "The right answer is scored with its own picture and with another row's; each point is how "
        "much less likely the other picture makes it. At zero the picture does not matter.",
        "said": "loss of the preferred answer with another picture minus loss with its own, mean over rows",
        "axis": "gain of the right picture, nats per answer token",
        "reference": "does not look",
        "rows": rows,
        "verdicts": verdicts,
        "table": {
            "head": ["source", "verdict", "own picture", "another", "gain", "from", "to", "rows"],
            "rows": table,
        },
        "message": "",
    }
