"""The gallery of examples, of which missing ones are left out, and the pictures that users hand in."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from gradio import utils

from smola_demo.data.images import ImageError, open_image
from smola_demo.tasks import TASKS
from smola_demo.ui.view import file_url

if TYPE_CHECKING:
    from PIL import Image

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@dataclass(frozen=True)
class Example:
    """One picture to try, with a task and a question that suit it."""

    image: Path
    task: str
    question: str
    title: str
    source: str


def read_examples(folder: Path = ASSETS) -> list[Example]:
    """The examples that assets/examples.json lists and that are really there; empty when there is no list."""
    try:
        entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("task") not in TASKS:
            continue
        image = folder / str(entry.get("image", ""))
        if image.is_file() and image.resolve().is_relative_to(folder.resolve()):
            words = {key: str(entry.get(key) or "") for key in ("question", "title", "source")}
            found.append(Example(image, entry["task"], **words))
    return found


def example_picks(examples: list[Example]) -> dict[str, Any]:
    """The gallery as the value of a picks view."""
    items = []
    for example in examples:
        about = f"{example.title} · {example.task}" + (f" · {example.source}" if example.source else "")
        items.append(
            {"text": example.title or example.task, "title": about, "image": file_url(example.image)}
        )
    return {"label": "Examples to try", "items": items}


def picture_name(payload: Any) -> str:
    """What a picture is called on the visitor's side, from an image component's raw value."""
    path = payload.get("orig_name") or payload.get("path") if isinstance(payload, dict) else payload
    return PurePath(str(path or "")).name


def uploaded(payload: dict[str, Any] | None) -> Image.Image:
    """The picture behind an image component's raw value, decoded by `open_image` and by nothing before it.

    Raises ImageError when there is none or when it cannot be used.
    """
    if not payload or not (payload.get("path") or payload.get("url")):
        raise ImageError("Choose or upload a picture first.")
    if payload.get("path"):
        if not _came_in(payload["path"]):
            raise ImageError("The picture did not arrive: upload it again.")
        return open_image(payload["path"])
    head, _, data = str(payload["url"]).partition(",")
    if not head.startswith("data:"):
        raise ImageError("The picture did not arrive: upload it again.")
    try:
        return open_image(base64.b64decode(data, validate=True))
    except binascii.Error as error:
        raise ImageError("The picture did not arrive whole: upload it again.") from error


def _came_in(path: Any) -> bool:
    """Whether a file was uploaded or is one the page serves; of others a visitor hears nothing."""
    try:
        return utils.is_in_or_equal(path, utils.get_upload_folder()) or utils.is_static_file(path)
    except (TypeError, ValueError, OSError):  # no path at all
        return False
