"""What `evaluate` leaves on disk: metrics.json for people and pages, and every row's score beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smola_demo.data.row import Row

METRICS_NAME, SCORES_NAME = "metrics.json", "scores.json"


class MetricFileError(ValueError):
    """Results on disk that cannot be read or do not belong together; the message says which and why."""


@dataclass(frozen=True)
class Judged:
    """One evaluation read back.

    metrics  the object of metrics.json
    scores   task → {"rows": what they are, as a digest, "each": {row id: score}, "pictures": the number of
             each one's picture, in files of today}; None where not written
    """

    path: Path
    metrics: dict[str, Any]
    scores: dict[str, Any] | None


def digest(rows: Iterable[Row]) -> str:
    """A short fingerprint of what is judged: ids, pictures' file names, questions and accepted answers."""
    hashed = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        told = [row.id, Path(row.image_name).name, row.question, list(row.answers)]
        hashed.update(json.dumps(told, ensure_ascii=False).encode() + b"\n")
    return hashed.hexdigest()[:16]


def write_metrics(result: dict[str, Any], folder: Path, facts: dict[str, Any]) -> Path:
    """Write scores.json, then metrics.json (what was judged, and the result but for its scores).

    A reader never sees half of a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores, rest = result["scores"], {key: value for key, value in result.items() if key != "scores"}
    _replace(folder / SCORES_NAME, json.dumps(scores, ensure_ascii=False, separators=(",", ":")))
    return _replace(folder / METRICS_NAME, json.dumps(facts | rest, indent=2, ensure_ascii=False))


def read_metrics(path: str | Path) -> Judged:
    """An evaluation by its metrics.json or its folder. Raises MetricFileError."""
    path = Path(path)
    path = path / METRICS_NAME if path.is_dir() else path
    if not path.is_file():
        raise MetricFileError(f"there is no {path}: write it with evaluate --out")
    metrics, beside = _read(path), path.with_name(SCORES_NAME)
    if not isinstance(metrics.get("tasks"), dict) or not metrics["tasks"]:
        raise MetricFileError(f"{path} names no tasks: write it again with evaluate --out")
    if not _tells_enough(metrics):
        raise MetricFileError(f"{path} lacks a metric, a number or an interval: evaluate again")
    scores = _read(beside) if beside.is_file() else None
    if scores is not None:
        _same_run(metrics, scores, beside)
    return Judged(path, metrics, scores)


def _tells_enough(metrics: dict[str, Any]) -> bool:
    """Whether the mean, and each task's metric, value, interval and rows are there, of the kinds they are."""
    try:
        tasks = list(metrics["tasks"].values())
        numbers = [metrics["mean"], *(n for task in tasks for n in (task["value"], task["n"], *task["ci95"]))]
        texts = [task["metric"] for task in tasks]
    except (KeyError, TypeError):
        return False
    return all(isinstance(n, int | float) for n in numbers) and all(isinstance(text, str) for text in texts)


def _same_run(metrics: dict[str, Any], scores: dict[str, Any], path: Path) -> None:
    try:
        means = {task: float(np.mean(list(found["each"].values()))) for task, found in scores.items()}
        values = {task: float(found["value"]) for task, found in metrics["tasks"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MetricFileError(f"{path} or the file beside it is damaged: evaluate again") from None
    if means.keys() != values.keys() or any(abs(means[task] - values[task]) > 1e-5 for task in means):
        raise MetricFileError(f"{path} is not of the same run as {METRICS_NAME} beside it: evaluate again")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MetricFileError(f"{path} does not hold a JSON object: evaluate again")
    return found


def _replace(path: Path, text: str) -> Path:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    return partial.replace(path)
