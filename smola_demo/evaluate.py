"""Judge an engine on suites of rows: one metric per task with its interval, and what went wrong.

A row whose picture cannot be opened counts as a wrong answer and is listed: failing raises no score.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smola_demo.data.images import ImageError
from smola_demo.data.row import Row, read_rows
from smola_demo.metrics import difference, score
from smola_demo.results import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from smola_demo.engine import Engine

BATCH_ROWS = 16
SAMPLES_PER_TASK = 5


@dataclass(frozen=True)
class Prediction:
    """One judged row and its answer; `failure` says why there is none."""

    row: Row
    answer: str
    failure: str = ""


def read_suites(paths: Sequence[str | Path], limit: int | None = None, seed: int = 0) -> list[Row]:
    """The rows of one or more suites; `limit` keeps that many of each, drawn at random with `seed`.

    Raises RowError when a file cannot be read.
    """
    chosen: list[Row] = []
    for path in paths:
        rows = read_rows(path)
        if limit is not None and limit < len(rows):
            rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), limit))]
        chosen += rows
    return chosen


def evaluate(
    engine: Engine,
    rows: Sequence[Row],
    ablation: str = "",
    progress: Callable[[int], Any] | None = None,
    against: str | None = None,
) -> dict[str, Any]:
    """Answer all rows greedily and judge them.

    Returns {tasks: {task: {metric, value, ci95, n, extra, samples}}, mean, seconds, failed}: values are
    fractions (CIDEr-D: 1.0 is what papers print as 100), `mean` is over tasks, `samples` are judged rows.
    `against` names a second ablation ("none" takes all experts out): the same rows are answered under it too,
    and each task gets "against": its value, the difference and the paired 95 % interval of that.
    `progress` is called with the number of rows done since the last call. Raises as Engine.answer_many does.
    """
    start = time.perf_counter()
    predictions = predict(engine, rows, ablation, progress)
    others: list[Prediction] = []
    if against is not None:
        others = predict(engine, rows, all_experts(engine) if against == "none" else against, progress)
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(row.task for row in rows):
        own = [p for p in predictions if p.row.task == task]
        said, accepted = [p.answer for p in own], [p.row.answers for p in own]
        tasks[task] = score(task, said, accepted)
        if against is not None:
            other = difference(task, said, [p.answer for p in others if p.row.task == task], accepted)
            tasks[task]["against"] = {"ablation": against, **other}
        tasks[task]["samples"] = [
            _sample(p) for p in random.Random(0).sample(own, min(SAMPLES_PER_TASK, len(own)))
        ]
    return {
        "tasks": tasks,
        "mean": sum(t["value"] for t in tasks.values()) / len(tasks),
        "seconds": time.perf_counter() - start,
        "failed": [
            {"row": p.row.id, "image": p.row.image_name, "reason": p.failure}
            for p in predictions
            if p.failure
        ],
    }


def predict(
    engine: Engine, rows: Sequence[Row], ablation: str = "", progress: Callable[[int], Any] | None = None
) -> list[Prediction]:
    """Every row's answer, in the rows' order. Batches hold one task and questions of similar length."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].task, len(rows[i].question or "")))
    done: dict[int, Prediction] = {}
    for first in range(0, len(order), BATCH_ROWS):
        chunk = order[first : first + BATCH_ROWS]
        requests: dict[int, Request] = {}
        for i in chunk:
            try:
                requests[i] = Request(rows[i].open(), rows[i].task, rows[i].question, ablation)
            except ImageError as error:
                done[i] = Prediction(rows[i], "", str(error))
        if requests:
            answers = engine.answer_many(list(requests.values()))
            done |= {i: Prediction(rows[i], text) for i, text in zip(requests, answers, strict=True)}
        if progress:
            progress(len(chunk))
    return [done[i] for i in range(len(rows))]


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` of the rows, taken in turn from each task, evenly over each task's rows."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    wanted = {task: count // len(by_task) + (i < count % len(by_task)) for i, task in enumerate(by_task)}
    return [
        own[at * len(own) // wanted[task]]
        for task, own in by_task.items()
        for at in range(min(wanted[task], len(own)))
    ]


def all_experts(engine: Engine) -> str:
    """The spec that takes every expert out."""
    return ";".join(f"{group}:*" for group in engine.info().groups)


def write_metrics(result: dict[str, Any], folder: Path, facts: dict[str, Any]) -> Path:
    """Write metrics.json (the result, and what was judged) into `folder`; a reader never sees half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "metrics.json.partial"
    partial.write_text(json.dumps(facts | result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return partial.replace(folder / "metrics.json")


def _sample(prediction: Prediction) -> dict[str, Any]:
    row = prediction.row
    return {
        "row": row.id,
        "question": row.question,
        "answer": prediction.answer,
        "accepted": list(row.answers),
    }
