"""Answers that cost no model: a system that does not beat them has learned the manner of answers alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from smola_demo.data.row import read_rows, split_by_image
from smola_demo.metrics import normal_form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.data.row import Row

TRAINING = "commonest accepted answer of the training rows"
OTHERS = "commonest accepted answer of the other judged rows (leave-one-out)"


def read_training(paths: Sequence[str | Path]) -> list[Row]:
    """The training side of files of rows: no picture of the development share. Raises RowError."""
    return [row for path in paths for row in split_by_image(read_rows(path))[0]]


def most_frequent(task: str, rows: Sequence[Row], training: Sequence[Row] = ()) -> tuple[list[str], str]:
    """The commonest accepted answer for every row of one task, in normal form, and where it comes from.

    Counted over the task's training rows on other pictures than the judged ones; where there are none, over
    the judged rows themselves, each row's own answers left out. An answer counts once a row; of equally
    common ones the first by alphabet is taken.
    """
    judged = {_place(row) for row in rows}
    learned = [row for row in training if row.task == task and _place(row) not in judged]
    counts = Counter(answer for row in learned or rows for answer in _accepted(task, row))
    ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))
    if learned:
        return [ranked[0]] * len(rows), TRAINING
    return [_without(_accepted(task, row), ranked, counts) for row in rows], OTHERS


def _place(row: Row) -> str:
    """A name that rows on the same picture share, however its path is spelled."""
    return str(Path(row.image).resolve()) if isinstance(row.image, str | Path) else row.image_name


def _accepted(task: str, row: Row) -> set[str]:
    return {normal_form(task, answer) for answer in row.answers}


def _without(own: set[str], ranked: Sequence[str], counts: Counter[str]) -> str:
    """The commonest once a row's own answers count one less; empty where no other row has any."""
    # One candidate more than the row has answers: among these is the commonest that the row does not have.
    left = {answer: counts[answer] - (answer in own) for answer in ranked[: len(own) + 1]}
    best = min(left, key=lambda answer: (-left[answer], answer))
    return best if left[best] else ""
