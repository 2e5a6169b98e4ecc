"""Rows, scenes and their splits: the shapes in which pictures and questions travel.

A Row is one question on one picture. A Scene is one drawn picture with all its questions.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from smola_demo.data.images import open_image
from smola_demo.tasks import ROW_TASKS, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Rows of this kind need an article that the model is not given; they would teach it to make things up.
SKIPPED_KINDS = frozenset({"chart_qa_open"})


Picture = str | Path | Image.Image | Callable[[], bytes]


class RowError(ValueError):
    """A data file that cannot be used; the message names file, line and fault."""


class QA(NamedTuple):
    """One question on a picture with every accepted answer, the preferred one first."""

    task: str
    question: str | None
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Encoded:
    """A picture of a data set: what reads its bytes, their number, and their SHA-256 in hexadecimal."""

    read: Callable[[], bytes]
    size: int
    digest: str

    def __call__(self) -> bytes:
        """Its bytes."""
        return self.read()


def encoded(read: Callable[[], bytes]) -> Encoded:
    """The picture whose bytes this reads; they are read once to know them."""
    data = read()
    return Encoded(read, len(data), hashlib.sha256(data).hexdigest())


def open_picture(picture: Picture) -> Image.Image:
    """The picture, RGB. Raises ImageError when it cannot be read."""
    return open_image(picture() if callable(picture) else picture)


@dataclass(frozen=True)
class Row:
    """One question on one picture.

    image     path, a picture in memory, or what gives its bytes; nothing is read before `open`
    task      one of ours (`smola_demo.tasks`)
    answers   all accepted answers, never empty
    source    where the row comes from, for model cards
    id        stable name of the row
    kind      the task name as the file gives it, which may be finer than ours ("chart_title")
    """

    image: Picture
    task: str
    question: str | None
    answers: tuple[str, ...]
    source: str
    id: str
    kind: str = ""

    def open(self) -> Image.Image:
        """The picture, RGB. Raises ImageError when it cannot be read."""
        return open_picture(self.image)

    @property
    def image_name(self) -> str:
        """A name that rows on the same picture share."""
        return str(self.image) if isinstance(self.image, str | Path) else self.id.rsplit("#", 1)[0]


class Mark(NamedTuple):
    """What lies at one place of a drawn picture.

    words  as they stand in a sentence (" red", " star"), or one letter
    x, y   its middle, as fractions of the picture's width and height
    """

    words: tuple[str, ...]
    x: float
    y: float


@dataclass(frozen=True)
class Scene:
    """One drawn picture with its questions; `traits` name the layout and fonts it was drawn with.

    marks   what lies where, text in reading order; empty for pictures that do not tell
    """

    image: Image.Image
    qa: tuple[QA, ...]
    source: str
    id: str
    traits: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()

    def rows(self) -> list[Row]:
        """The scene as rows, one a question."""
        return [
            Row(self.image, qa.task, qa.question, qa.answers, self.source, f"{self.id}#{i}", qa.task)
            for i, qa in enumerate(self.qa)
        ]


def read_rows(path: str | Path) -> list[Row]:
    """Read a JSONL file of rows; image paths in it are relative to the file.

    Task names may be ours or those of ROW_TASKS. Raises RowError naming the file, the line and the fault.
    """
    path = Path(path)
    rows: list[Row] = []
    try:
        # Not splitlines: a text may hold other separators of lines, which JSON lets stand as they are.
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise RowError(f"{path} is not UTF-8 text: it must hold one JSON object a line.") from error
    except (OSError, ValueError) as error:
        raise RowError(f"There is no data file {path}: check the path, or leave this source out.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_row(line, path, number))
    if not rows:
        raise RowError(f"{path} holds no rows: it must hold one JSON object a line.")
    return rows


def _row(line: str, path: Path, number: int) -> Row:
    where = f"{path}:{number}"
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise RowError(f"{where} is not valid JSON: {error.msg} at character {error.pos}.") from error
    except (ValueError, RecursionError) as error:
        raise RowError(f"{where} holds JSON that is too deep or too long to read.") from error
    if not isinstance(values, dict):
        raise RowError(f"{where} must be a JSON object, not {type(values).__name__}.")
    image, kind, question, answers = (values.get(key) for key in ("image", "task", "question", "answers"))
    if not isinstance(image, str) or not image:
        raise RowError(f'{where} needs "image", the path of a picture relative to the file.')
    if not isinstance(kind, str) or (kind not in TASKS and kind not in ROW_TASKS):
        raise RowError(
            f"{where} has the task {reprlib.repr(kind)}; "
            f'"task" must be one of {", ".join([*TASKS, *ROW_TASKS])}.'
        )
    if question is not None and not isinstance(question, str):
        raise RowError(f'{where} has a "question" that is neither text nor null.')
    task = kind if kind in TASKS else ROW_TASKS[kind]
    if TASKS[task].needs_question and not (question or "").strip():
        raise RowError(f'{where} has no "question", and the task {kind!r} needs one.')
    if (
        not isinstance(answers, list)
        or not answers
        or not all(isinstance(a, str) and a.strip() for a in answers)
    ):
        raise RowError(f'{where} needs "answers", a list of at least one text, none of them empty.')
    source = values.get("source") if isinstance(values.get("source"), str) else path.stem
    return Row(
        path.parent / image, task, question, tuple(answers), str(source), f"{path.stem}:{number}", kind
    )


def held_out(image: str | Path, dev_share: float = 0.1, salt: str = "dev") -> bool:
    """Whether a picture belongs to the development share, decided by its file name alone.

    A trailing "_NN" is left out of the decision, so that crops of one document stay on one side.
    """
    name = re.sub(r"_\d{1,2}$", "", Path(image).stem)
    digest = hashlib.sha256(f"{salt}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < dev_share * 2**64


def split_by_image(
    rows: Iterable[Row], dev_share: float = 0.1, salt: str = "dev"
) -> tuple[list[Row], list[Row]]:
    """(train, dev): rows of one picture always land on the same side, in every run and on every machine.

    A picture that holds the same bytes as a held-out one, under another name, is on neither.
    """
    return split_together([rows], dev_share, salt)[0]


def split_together(
    sources: Sequence[Iterable[Row]], dev_share: float = 0.1, salt: str = "dev"
) -> list[tuple[list[Row], list[Row]]]:
    """(train, dev) of each source, as `split_by_image`: what one of them holds out, none has in train."""
    halves: list[tuple[list[Row], list[Row]]] = [([], []) for _ in sources]
    for half, rows in zip(halves, sources, strict=True):
        for row in rows:
            half[held_out(row.image_name, dev_share, salt)].append(row)
    copies = _copies([row for train, _ in halves for row in train], [row for _, dev in halves for row in dev])
    return [([row for row in train if row.image_name not in copies], dev) for train, dev in halves]


def _copies(rows: Iterable[Row], originals: Iterable[Row]) -> set[str]:
    """Names of the pictures that hold the same bytes as one of the originals."""
    found: set[str] = set()
    ours, theirs = _by_size(rows), _by_size(originals)
    for size in ours.keys() & theirs.keys():  # files of any other size are not read
        digests = {_digest(picture) for picture in theirs[size].values()}
        found |= {name for name, picture in ours[size].items() if _digest(picture) in digests}
    return found


def _by_size(rows: Iterable[Row]) -> dict[int, dict[str, Path | Encoded]]:
    """Size in bytes → pictures by name; without those that are no file and not encoded."""
    found: dict[int, dict[str, Path | Encoded]] = {}
    for name, image in {row.image_name: row.image for row in rows}.items():
        if isinstance(image, Encoded):
            found.setdefault(image.size, {})[name] = image
        elif isinstance(image, str | Path) and (path := Path(image)).is_file():
            found.setdefault(path.stat().st_size, {})[name] = path
    return found


def _digest(picture: Path | Encoded) -> str:
    if isinstance(picture, Encoded):
        return picture.digest
    return hashlib.sha256(picture.read_bytes()).hexdigest()


def group_by_image(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that share a picture, together, in order of first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.image_name, []).append(row)
    return list(groups.values())
