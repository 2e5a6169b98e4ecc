"""Several models side by side on the same rows, written from their metrics files, never by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo.metric_files import Judged, read_metrics
from smola_demo.metrics import bootstrap_ci, mean_ci

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class TableError(ValueError):
    """Results that cannot stand in one table; the message says why."""


def read_models(named: Sequence[str], folder: Path | None = None) -> dict[str, Judged]:
    """NAME=PATH texts, paths relative to `folder`; results of one name, as of specialists, are joined.

    Raises TableError or MetricFileError.
    """
    models: dict[str, Judged] = {}
    for text in named:
        name, mark, path = text.partition("=")
        if not mark or not name or not path or "|" in name:
            raise TableError(f"a model is named NAME=path/metrics.json, not '{text}'")
        found = read_metrics((folder or Path()) / path)
        models[name] = _joined(name, models[name], found) if name in models else found
    if not models:
        raise TableError("a table needs at least one model: NAME=path/metrics.json")
    return models


def side_by_side(models: Mapping[str, Judged]) -> dict[str, Any]:
    """{"models", "tasks", "mean", "paired"}: JSON-able.

    tasks   task → {"metric", "n", "models": {name: {"value", "ci95"}}}; one model alone also has "held": what
            its own evaluation held it against → {"value"}, and "gain" over it, paired, for other experts
    mean    name → {"value", "ci95"}, the interval from resampling pictures within tasks; None without
            scores.json
    paired  name → {task or "mean": {"value", "ci95"}}: what it has beyond the first model, each row under
            both; empty for one model, or where a scores.json is missing

    Raises TableError when the files judge different rows.
    """
    first, *others = models.items()
    for other in others:
        _check_same_rows(first, other)
    tasks = {
        task: {
            "metric": found["metric"],
            "n": found["n"],
            "models": {name: _value(judged.metrics["tasks"][task]) for name, judged in models.items()},
        }
        for task, found in first[1].metrics["tasks"].items()
    }
    if not others:
        for task, found in first[1].metrics["tasks"].items():
            tasks[task]["held"] = _held(found)
    rows = {name: _rows(judged, first[1]) for name, judged in models.items()}
    pictures = _pictures(first[1])
    mean = {
        name: {
            "value": judged.metrics["mean"],
            "ci95": _mean_ci(rows[name], pictures) if rows[name] else None,
        }
        for name, judged in models.items()
    }
    base = rows[first[0]]
    paired = {
        name: _gains({task: rows[name][task] - base[task] for task in base}, pictures)
        for name, _ in others
        if base and rows[name]
    }
    return {"models": list(models), "tasks": tasks, "mean": mean, "paired": paired}


def as_markdown(found: dict[str, Any]) -> str:
    """The values, and under them the paired differences if there are any."""
    names, tasks = found["models"], found["tasks"]
    each = [line.get("held", {}) for line in tasks.values()]
    held = [name for name in each[0] if all(name in one for one in each)]
    gained = [name for name in held if "gain" in each[0][name]]
    gains = [f"beyond {name}, paired" for name in gained]
    lines = markdown_head(["task", "metric", "rows", *held, *names, *gains])
    for task, line in tasks.items():
        cells = [f"{line['held'][name]['value']:.3f}" for name in held]
        cells += [markdown_cell(line["models"][name]) for name in names]
        cells += [markdown_cell(line["held"][name]["gain"], "+") for name in gained]
        lines.append(markdown_line([task, line["metric"], line["n"], *cells]))
    means = [markdown_cell(found["mean"][name]) for name in names]
    lines.append(markdown_line(["mean", "", "", *[""] * len(held), *means, *[""] * len(gained)]))
    if found["paired"]:
        paired = found["paired"]
        lines += ["", *markdown_head([f"beyond {names[0]}, paired", *paired])]
        for task in (*tasks, "mean"):
            lines.append(markdown_line([task, *(markdown_cell(gain[task], "+") for gain in paired.values())]))
    return "\n".join(lines)


def by_suite(models: Mapping[str, Judged]) -> list[dict[str, Any]]:
    """Each task's rows suite by suite: {"task", "suite", "metric", "n", "models": {name: {"value", "ci95"}}}.

    A row is named SUITE:NUMBER, as `evaluate` does. The value of CIDEr-D counts words' rarity over all of the
    task's suites. Raises TableError where a scores.json is missing, or as `side_by_side`.
    """
    first, *others = models.items()
    for other in others:
        _check_same_rows(first, other)
    rows = {name: _rows(judged, first[1]) for name, judged in models.items()}
    if first[1].scores is None or not all(rows.values()):
        raise TableError("results suite by suite need the scores.json that evaluate --out writes")
    lines: list[dict[str, Any]] = []
    for task, told in first[1].scores.items():
        of = np.array([row.rpartition(":")[0] for row in told["each"]])
        for suite in dict.fromkeys(of.tolist()):
            own = {name: found[task][of == suite] for name, found in rows.items()}
            shown = _pictures(first[1])[task][of == suite]
            values = {
                name: {"value": float(each.mean()), "ci95": list(bootstrap_ci(each, pictures=shown.tolist()))}
                for name, each in own.items()
            }
            metric = first[1].metrics["tasks"][task]["metric"]
            line = {"task": task, "suite": suite, "metric": metric, "n": int((of == suite).sum())}
            lines.append(line | {"models": values})
    return lines


def suites_as_markdown(lines: Sequence[dict[str, Any]]) -> str:
    """What `by_suite` returns, a line each."""
    table = markdown_head(["task", "suite", "metric", "rows", *lines[0]["models"]])
    for line in lines:
        told = [line[key] for key in ("task", "suite", "metric", "n")]
        table.append(markdown_line([*told, *map(markdown_cell, line["models"].values())]))
    return "\n".join(table)


def markdown_cell(found: dict[str, Any], sign: str = "") -> str:
    """A {"value", "ci95"} in three digits, its interval in brackets; `sign` "+" shows the sign of either."""
    numbers = [found["value"], *(found["ci95"] or ())]
    value, *ends = (format(number, f"{sign}.3f") for number in numbers)
    return f"{value} [{', '.join(ends)}]" if ends else value


def markdown_head(cells: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [markdown_line(cells), "|" + "---|" * len(cells)]


def markdown_line(cells: Sequence[object]) -> str:
    """One line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def _joined(name: str, one: Judged, other: Judged) -> Judged:
    """Two results as one; its mean is over the tasks of both."""
    if both := one.metrics["tasks"].keys() & other.metrics["tasks"].keys():
        raise TableError(
            f"two models are called {name} and judge the task {min(both)}: give each a name of its own"
        )
    tasks = one.metrics["tasks"] | other.metrics["tasks"]
    mean = float(np.mean([found["value"] for found in tasks.values()]))
    scores = None if one.scores is None or other.scores is None else one.scores | other.scores
    return Judged(one.path, {"tasks": tasks, "mean": mean}, scores)


def _check_same_rows(first: tuple[str, Judged], other: tuple[str, Judged]) -> None:
    """Raises TableError; where a scores.json is missing, tasks, metrics and numbers of rows must do."""
    (name, a), (name_b, b) = first, other
    told, told_b = a.metrics["tasks"], b.metrics["tasks"]
    if told.keys() != told_b.keys():
        raise TableError(
            f"{name} is judged on {', '.join(told)}, {name_b} on {', '.join(told_b)}: "
            "judge both on the same suites"
        )
    for task in told:
        same = all(told[task][key] == told_b[task][key] for key in ("metric", "n"))
        if a.scores and b.scores:
            same = same and a.scores[task]["rows"] == b.scores[task]["rows"]
        if not same:
            raise TableError(
                f"{name} and {name_b} are judged on different rows of the task {task}: "
                "judge both on the same suites"
            )


def _rows(judged: Judged, first: Judged) -> dict[str, np.ndarray]:
    """task → (n,) scores in the order of the first model's rows; empty without scores.json."""
    if judged.scores is None:
        return {}
    order = (first.scores or judged.scores).items()
    return {task: np.array([judged.scores[task]["each"][row] for row in one["each"]]) for task, one in order}


def _pictures(judged: Judged) -> dict[str, np.ndarray]:
    """task → (n,) number of each row's picture; of a file that does not tell, every row has its own."""
    told = (judged.scores or {}).items()
    return {task: np.array(one.get("pictures", range(len(one["each"])))) for task, one in told}


def _mean_ci(values: dict[str, np.ndarray], pictures: dict[str, np.ndarray]) -> list[float]:
    return list(mean_ci(list(values.values()), pictures=[pictures[task].tolist() for task in values]))


def _gains(gains: dict[str, np.ndarray], pictures: dict[str, np.ndarray]) -> dict[str, Any]:
    each = {
        task: {
            "value": float(values.mean()),
            "ci95": list(bootstrap_ci(values, pictures=pictures[task].tolist())),
        }
        for task, values in gains.items()
    }
    mean = float(np.mean([gain["value"] for gain in each.values()]))
    return {**each, "mean": {"value": mean, "ci95": _mean_ci(gains, pictures)}}


def _held(found: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate` itself held a task's answers against, by a name for people."""
    held = {}
    if other := found.get("against"):
        name = "no experts" if other["ablation"] == "none" else f"without {other['ablation']}"
        held[name] = {"value": other["value"], "gain": {"value": other["difference"], "ci95": other["ci95"]}}
    for name, one in found.get("baselines", {}).items():
        held[name.replace("_", " ")] = {"value": one["value"]}
    return held


def _value(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("value", "ci95")}
