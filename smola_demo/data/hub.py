"""Rows of a data set on the Hugging Face hub, or of a folder in its form, read by the library `datasets`.

A source is named "hub:owner/name" or "hub:owner/name/configuration", or "hub:" and a path that begins with a
dot or a slash. Every picture is read once, so that equal pictures fall on one side of the split.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from smola_demo.config import HUB
from smola_demo.data.row import Row, RowError, encoded
from smola_demo.tasks import TASKS

if TYPE_CHECKING:
    from smola_demo.config import DataSource


def read_hub(source: DataSource) -> list[Row]:
    """All rows of the source's split, with its one task. Raises RowError with one sentence."""
    pictures = _load(source)
    image, question, answers = source.columns
    (task,) = source.tasks
    asks = TASKS[task].needs_question
    wanted = [image, *([question] if asks else []), answers]
    missing = [column for column in wanted if column not in pictures.column_names]
    if missing:
        raise RowError(
            f"{source.name} has no column '{missing[0]}'; it has {', '.join(pictures.column_names)}: "
            'name three in "columns", those of picture, question and answers.'
        )
    texts = pictures.select_columns(wanted[1:])
    found: list[Row] = []
    for i, row in enumerate(texts):
        asked = _question(row[question], source, i) if asks else None
        said = _answers(row[answers], source, i)
        picture = encoded(partial(_picture, pictures, source, i))
        name = f"{source.name}/{picture.digest[:16]}#{i}"
        found.append(Row(picture, task, asked, said, source.name, name, task))
    return found


def _load(source: DataSource) -> Any:
    """The split as the library holds it, its pictures left encoded."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]  optional
    except ImportError:
        raise RowError(
            f"{source.name} is read by the library datasets, which is not installed: pip install datasets"
        ) from None
    path = source.name.removeprefix(HUB)
    place = [path] if path.startswith((".", "/")) else ["/".join(path.split("/")[:2]), *path.split("/")[2:]]
    try:
        loaded = datasets.load_dataset(*place, split=source.split)
        if source.columns[0] not in loaded.column_names:
            return loaded  # the caller says which there are
        return loaded.cast_column(source.columns[0], datasets.Image(decode=False))
    except Exception as error:  # noqa: BLE001  network, format, names: the library raises what its parts raise
        raise RowError(f"{source.name}, split '{source.split}', cannot be read: {error}") from None


def _picture(pictures: Any, source: DataSource, index: int) -> bytes:
    held = pictures[index][source.columns[0]] or {}
    if held.get("bytes") is not None:
        return held["bytes"]
    if not held.get("path"):
        raise RowError(f"{source.name}, row {index}: '{source.columns[0]}' must be a picture, not empty.")
    with open(held["path"], "rb") as file:  # noqa: PTH123  as the library names it
        return file.read()


def _question(value: Any, source: DataSource, index: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RowError(
            f"{source.name}, row {index}: '{source.columns[1]}' must be a question, not {value!r}."
        )
    return value


def _answers(value: Any, source: DataSource, index: int) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(a, str) and a.strip() for a in found):
        raise RowError(
            f"{source.name}, row {index}: '{source.columns[2]}' must be an answer or a list of them, "
            f"not {value!r}."
        )
    return tuple(found)
