"""The value of the Atlas view: an atlas made offline for the loaded experts, checked part by part."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from smola_demo.ui.loading import sentence
from smola_demo.ui.shipped import (
    ShippedError,
    check_made_for,
    damaged,
    missing_value,
    model_options,
    not_computed,
    nothing_to_read,
    number,
    read_shipped,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.results import EngineInfo

NAME = "atlas.json"
FORMAT, VERSION = "smola-atlas", 1  # as smola_demo.atlas writes them; that module needs torch
JPEG = "data:image/jpeg;base64,"
SERVES = {"visual": ("visual",), "text": ("text",), "multimodal": ("visual", "text")}


def atlas_value(info: EngineInfo | None) -> dict[str, Any]:
    """The view's value: "shown" with everything, or "missing" with a sentence and the command to run."""
    if info is None or nothing_to_read(info):
        return missing_value(nothing_to_read(info))
    command = [f"python -m smola_demo atlas {model_options(info)}"]
    try:
        found = read_shipped(info, NAME)
        if found is None:
            return missing_value(not_computed("The atlas is", info), command)
        return _checked(found, info)
    except ShippedError as error:
        return missing_value(f"{sentence(error)} Compute it again:", command)


def even_share(groups: Sequence[str], experts: int) -> dict[str, float | None]:
    """Contribution share of each expert of a group if all that serve a token gave the same.

    None where it differs between the tokens that a group serves.
    """
    serving = {kind: sum(kind in SERVES[group] for group in groups) for kind in ("visual", "text")}
    found: dict[str, float | None] = {}
    for group in groups:
        counts = {serving[kind] for kind in SERVES[group]}
        found[group] = 1 / (experts * counts.pop()) if len(counts) == 1 else None
    return found


def _checked(found: dict[str, Any], info: EngineInfo) -> dict[str, Any]:
    if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise ShippedError(f"{NAME} is no atlas of format version {VERSION}")
    try:
        made = found["made"]
        check_made_for(info, NAME, {key: made[key] for key in ("backbone", "experts", "steps", "sha256")})
        axes = (found["groups"], found["layers"], found["experts"])
        if axes != (list(info.groups), list(info.layers), info.num_experts):
            raise ShippedError(f"{NAME} was made for experts of another shape: it does not describe these")
        tasks = {text(task): int(number(n, 1)) for task, n in made["tasks"].items()}
        entries = [_entry(entry, tasks, info) for entry in found["entries"]]
        places = [(entry["group"], entry["expert"]) for entry in entries]
        if places != [(group, e) for group in info.groups for e in range(info.num_experts)]:
            raise ValueError("its entries are not the experts")
        return {
            "state": "shown",
            "made": _made(made, tasks),
            "name": info.experts,
            "rows": int(number(made["rows"], 1)),
            "tasks": tasks,
            "groups": axes[0],
            "layers": axes[1],
            "experts": info.num_experts,
            "uniform": 1 / info.num_experts,
            "even_share": even_share(info.groups, info.num_experts),
            "entries": entries,
        }
    except ShippedError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise damaged(NAME, why) from None


def _entry(entry: dict[str, Any], tasks: dict[str, int], info: EngineInfo) -> dict[str, Any]:
    if set(entry["tasks"]) != set(tasks) or not entry["layers"]:
        raise ValueError("an entry lacks a task or its layers")
    return {
        "group": entry["group"],
        "expert": entry["expert"],
        **_use(entry),
        "tasks": {task: _use(entry["tasks"][task]) for task in tasks},
        "layers": [_layer(layer, info) for layer in entry["layers"]],
    }


def _use(use: dict[str, Any]) -> dict[str, float]:
    return {
        "weight": number(use["weight"], 0, 1),
        "contribution": number(use["contribution"], 0, 1),
        "effect": number(use["effect"]),
    }


def _layer(layer: dict[str, Any], info: EngineInfo) -> dict[str, Any]:
    if layer["layer"] not in info.layers:
        raise ValueError(f"there is no layer {layer['layer']!r}")
    return {
        "layer": layer["layer"],
        "spread": number(layer["spread"], 0),
        "patches": [_patch(patch) for patch in layer["patches"]],
        "words": [
            {key: text(word[key]) for key in ("before", "text", "after", "task")}
            | {"weight": number(word["weight"], 0, 1)}
            for word in layer["words"]
        ],
    }


def _patch(patch: dict[str, Any]) -> dict[str, Any]:
    x0, y0, x1, y1 = (number(v, 0, 1) for v in patch["inner"])
    if not text(patch["image"]).startswith(JPEG) or not (x0 < x1 and y0 < y1):
        raise ValueError("a thumbnail that is none")
    return {
        "image": patch["image"],
        "inner": [x0, y0, x1, y1],
        "weight": number(patch["weight"], 0, 1),
        "row": text(patch["row"]),
        "task": text(patch["task"]),
    }


def _made(made: dict[str, Any], tasks: dict[str, int]) -> str:
    when = datetime.fromisoformat(text(made["when"])).strftime("%Y-%m-%d %H:%M %Z").strip()
    sources = ", ".join(f"{text(name)} {int(number(n))}" for name, n in made["sources"].items())
    counts = ", ".join(f"{task} {n}" for task, n in tasks.items())
    return (
        f"Computed {when} for {made['experts']} after {made['steps']:,} steps on {made['backbone']} "
        f"({text(made['precision'])}), over {made['rows']} rows: {counts}. Sources: {sources}."
    )
