"""Suites on disk for `evaluate --suite`: drawn scenes, and the development share of a file or a hub's set."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from smola_demo.config import HUB, DataSource
from smola_demo.data import ASKS, generators_of, scenes
from smola_demo.data.hub import read_hub
from smola_demo.data.photo_questions import derive
from smola_demo.data.row import QA, SKIPPED_KINDS, Row, RowError, read_rows, split_by_image

LICENCE = "Apache-2.0, drawn by smola_demo"
ROWS_PER_PICTURE = 2
BARREN = 1000  # drawings in turn without a row that was asked for, after which there are none

Advance = Callable[[int], Any]


def make_suite(
    folder: str | Path,
    names: Sequence[str] = (),
    n: int = 200,
    split: str = "dev",
    progress: Advance | None = None,
    tasks: Sequence[str] = (),
    longest: int | None = None,
) -> list[Path]:
    """Draw `n` rows of each generator into FOLDER/NAME.jsonl, pictures in FOLDER/images; returns the files.

    At most two rows share a picture. `tasks` keeps rows of these tasks and, without `names`, the generators
    that draw any; `longest` keeps rows whose preferred answer has at most so many characters. `progress` is
    called with 1 after each row. The same call writes
    the same bytes on a machine with the same fonts. Raises RowError for a number below 1, before it draws for
    a generator that knows none of the tasks, or where a thousand drawings in turn give no such row, and
    ValueError for an unknown generator or split.
    """
    if n < 1:
        raise RowError(f"A suite needs at least one row, not {n}.")
    names = names or generators_of(tasks)
    for name in names:
        if tasks and not set(tasks) & set(ASKS.get(name, tasks)):
            raise RowError(f"The generator '{name}' draws no row{_which(tasks, longest)}.")
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    files = []
    for name in names:
        rows: list[dict[str, Any]] = []
        barren = 0
        for scene in scenes(name, split):
            fitting = [qa for qa in scene.qa if _fits(qa, tasks, longest)]
            barren = 0 if fitting else barren + 1
            if barren == BARREN:
                raise RowError(f"The generator '{name}' draws no row{_which(tasks, longest)}.")
            if not fitting:
                continue
            asked = random.Random(scene.id).sample(
                fitting, min(ROWS_PER_PICTURE, len(fitting), n - len(rows))
            )
            image = f"images/{scene.id.replace('/', '-')}.png"
            scene.image.save(folder / image)
            for qa in asked:
                rows.append(_line(image, qa.task, qa.question, qa.answers, scene.source, LICENCE))
                if progress:
                    progress(1)
            if len(rows) >= n:
                break
        files.append(_write(folder / f"{name}.jsonl", rows))
    return files


def held_out_suite(
    source: str | Path | DataSource,
    target: str | Path,
    limit: int | None = None,
    tasks: Sequence[str] = (),
    longest: int | None = None,
    seed: int = 0,
    derived: bool = False,
) -> Path:
    """Write the development share of a file of rows, or of a hub's set, as a suite.

    It points to a file's own pictures; a set's are written beside it. `limit` keeps that many rows, drawn at
    random with `seed`; `tasks` and `longest` are `make_suite`'s; `derived` takes, instead of its rows, the
    questions that its captions make certain.
    Raises RowError when the source cannot be read or nothing is left.
    """
    source = source if isinstance(source, DataSource) else DataSource(str(source))
    _, dev = split_by_image(read_hub(source) if source.name.startswith(HUB) else read_rows(source.name))
    dev = derive(dev) if derived else dev
    kept = [row for row in dev if row.kind not in SKIPPED_KINDS and _fits(row, tasks, longest)]
    if not kept:
        raise RowError(f"{source.name} has no development row{_which(tasks, longest)}.")
    if limit is not None and limit < len(kept):
        chosen = sorted(random.Random(seed).sample(range(len(kept)), limit))
        kept = [kept[i] for i in chosen]
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = (_line(_place(r, target), r.task, r.question, r.answers, r.source, "") for r in kept)
    return _write(target, lines)


def _place(row: Row, target: Path) -> str:
    """Where the suite finds the row's picture; one that is no file of its own is written beside it."""
    if isinstance(row.image, str | Path):
        return str(Path(row.image).resolve())
    image = f"images/{target.stem}-{row.image_name.rsplit('/', 1)[-1]}.png"
    if not (target.parent / image).is_file():
        (target.parent / "images").mkdir(exist_ok=True)
        row.open().save(target.parent / image)
    return image


def _fits(row: Row | QA, tasks: Sequence[str], longest: int | None) -> bool:
    if tasks and row.task not in tasks:
        return False
    return longest is None or (bool(row.answers) and len(row.answers[0]) <= longest)


def _which(tasks: Sequence[str], longest: int | None) -> str:
    short = f" with an answer of at most {longest} characters" if longest else ""
    return (f" of {', '.join(tasks)}" if tasks else "") + short


def _line(
    image: str, task: str, question: str | None, answers: Sequence[str], source: str, licence: str
) -> dict[str, Any]:
    row = {"image": image, "task": task, "question": question, "answers": list(answers), "source": source}
    return row | ({"licence": licence} if licence else {})


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path
