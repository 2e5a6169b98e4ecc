"""Judge an engine on suites of rows: one metric per task with its interval, and what went wrong.

A row whose picture cannot be opened, or whose question cannot be asked, counts as a wrong answer and is
listed: failing raises no score.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smola_demo.baselines import most_frequent
from smola_demo.data.images import ImageError
from smola_demo.data.row import Row, RowError, read_rows
from smola_demo.metric_files import digest
from smola_demo.metrics import difference, places, score, score_rows
from smola_demo.processes import share_out
from smola_demo.results import Request
from smola_demo.tasks import TaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smola_demo.engine import Engine

BATCH_ROWS = 16
SAMPLES_PER_TASK = 5
WRONG = 0.5  # an answer that scores less is told as a failure


@dataclass(frozen=True)
class Prediction:
    """One judged row and its answer; `failure` says why there is none."""

    row: Row
    answer: str
    failure: str = ""


def read_suites(paths: Sequence[str | Path], limit: int | None = None, seed: int = 0) -> list[Row]:
    """The rows of one or more suites; `limit` keeps that many of each, drawn at random with `seed`.

    Raises RowError when a file cannot be read, or two files have one name and so name their rows alike.
    """
    stems = [Path(path).stem for path in paths]
    for stem in stems:
        if stems.count(stem) > 1:
            raise RowError(f"Two suites are called {stem}: rename one, so that their rows can be told apart.")
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
    baselines: bool = False,
    training: Sequence[Row] = (),
) -> dict[str, Any]:
    """Answer all rows greedily and judge them.

    Returns {tasks: {task: {metric, value, ci95, n, extra, samples, failures}}, mean, seconds, failed,
    scores}: values are fractions (CIDEr-D: 1.0 is what papers print as 100), `mean` is over tasks, `samples`
    are judged rows drawn at random, `failures` wrong answers, the lowest scores first; `scores` has one value
    a row, as `metric_files` keeps them.
    `against` names a second ablation ("none" takes all experts out): the same rows are answered under it too,
    and each task gets "against": its value, the difference and the paired 95 % interval of that.
    `baselines` adds to each task the commonest answer (of `training`, or leave-one-out) and the model's own
    answers without the picture. `progress` is called with the number of rows this process has done
    since the last call.
    Raises as Engine.answer_many does.
    """
    start = time.perf_counter()
    predictions = predict(engine, rows, ablation, progress)
    others: list[Prediction] = []
    if against is not None:
        others = predict(engine, rows, all_experts(engine) if against == "none" else against, progress)
    blind = predict(engine, rows, ablation, progress, pictures=False) if baselines else []
    tasks: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for task in dict.fromkeys(row.task for row in rows):
        own = [p for p in predictions if p.row.task == task]
        judged = [p.row for p in own]
        said, accepted = [p.answer for p in own], [row.answers for row in judged]
        pictures = [row.image_name for row in judged]
        tasks[task] = score(task, said, accepted, pictures)
        if against is not None:
            other = difference(task, said, _answers(others, task), accepted, pictures)
            tasks[task]["against"] = {"ablation": against, **other}
        if baselines:
            commonest, source = most_frequent(task, judged, training)
            tasks[task]["baselines"] = {
                "most_frequent": {"answers": source, **_beaten(task, said, commonest, accepted, pictures)},
                "question_only": _beaten(task, said, _answers(blind, task), accepted, pictures),
            }
        each = score_rows(task, said, accepted).values.tolist()
        tasks[task]["samples"] = [
            _sample(p) for p in random.Random(0).sample(own, min(SAMPLES_PER_TASK, len(own)))
        ]
        tasks[task]["failures"] = _failures(own, each)
        scores[task] = {
            "rows": digest(judged),
            "pictures": places(pictures),
            "each": {row.id: round(value, 6) for row, value in zip(judged, each, strict=True)},
        }
    return {
        "tasks": tasks,
        "mean": sum(t["value"] for t in tasks.values()) / len(tasks),
        "seconds": time.perf_counter() - start,
        "failed": [
            {"row": p.row.id, "image": p.row.image_name, "reason": p.failure}
            for p in predictions
            if p.failure
        ],
        "scores": scores,
    }


def predict(
    engine: Engine,
    rows: Sequence[Row],
    ablation: str = "",
    progress: Callable[[int], Any] | None = None,
    pictures: bool = True,
) -> list[Prediction]:
    """Every row's answer, in the rows' order; without `pictures`, to the prompt alone.

    Batches hold one task and questions of similar length; processes of one launch share them.
    """

    def answer(chunk: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Index of a row → its answer, and why there is none."""
        requests: dict[int, Request] = {}
        said: dict[int, tuple[str, str]] = {}
        for i in chunk:
            try:
                picture = rows[i].open() if pictures else None
                requests[i] = Request(picture, rows[i].task, rows[i].question, ablation)
            except ImageError as error:
                said[i] = ("", str(error))
        said |= _answered(engine, requests)
        if progress:
            progress(len(chunk))
        return said

    order = sorted(range(len(rows)), key=lambda i: (rows[i].task, len(rows[i].question or "")))
    chunks = [order[first : first + BATCH_ROWS] for first in range(0, len(order), BATCH_ROWS)]
    found = {i: said for part in share_out(chunks, answer) for i, said in part.items()}
    return [Prediction(row, *found[i]) for i, row in enumerate(rows)]


def _answered(engine: Engine, requests: dict[int, Request]) -> dict[int, tuple[str, str]]:
    """Each request's answer, and why there is none: a backbone may not take what a file may hold."""
    try:
        answers = engine.answer_many(list(requests.values())) if requests else []
    except (ImageError, TaskError) as error:
        if len(requests) == 1:
            return dict.fromkeys(requests, ("", str(error)))
        alone = [_answered(engine, {i: request}) for i, request in requests.items()]
        return {i: said for one in alone for i, said in one.items()}
    return {i: (text, "") for i, text in zip(requests, answers, strict=True)}


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` of the rows (all, if there are fewer), from each task alike and evenly over each task's rows.

    What a task has too few rows for, the others give.
    """
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    taken: dict[str, int] = {}
    for place, task in enumerate(sorted(by_task, key=lambda task: len(by_task[task]))):
        left, others = count - sum(taken.values()), len(by_task) - place
        taken[task] = min(len(by_task[task]), -(-left // others))
    return [own[at * len(own) // taken[task]] for task, own in by_task.items() for at in range(taken[task])]


def all_experts(engine: Engine) -> str:
    """The spec that takes every expert out."""
    return ";".join(f"{group}:*" for group in engine.info().groups)


def _answers(predictions: Sequence[Prediction], task: str) -> list[str]:
    return [p.answer for p in predictions if p.row.task == task]


def _beaten(
    task: str,
    said: Sequence[str],
    baseline: Sequence[str],
    accepted: Sequence[Sequence[str]],
    pictures: Sequence[str],
) -> dict[str, Any]:
    """A baseline's value and interval, and how much better the model is on the same rows."""
    own = score(task, baseline, accepted, pictures)
    gain = difference(task, said, baseline, accepted, pictures)
    return {
        "value": own["value"],
        "ci95": own["ci95"],
        "gain": {"value": gain["difference"], "ci95": gain["ci95"]},
    }


def _failures(predictions: Sequence[Prediction], scores: Sequence[float]) -> list[dict[str, Any]]:
    """The worst wrong answers, equally bad ones in random order; `failed` has those that never came."""
    wrong = [
        (p, value) for p, value in zip(predictions, scores, strict=True) if value < WRONG and not p.failure
    ]
    random.Random(0).shuffle(wrong)
    worst = sorted(wrong, key=lambda pair: pair[1])[:SAMPLES_PER_TASK]
    return [{**_sample(p), "score": round(value, 6)} for p, value in worst]


def _sample(prediction: Prediction) -> dict[str, Any]:
    row = prediction.row
    return {
        "row": row.id,
        "question": row.question,
        "answer": prediction.answer,
        "accepted": list(row.answers),
    }
