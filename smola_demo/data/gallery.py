"""Rows over our own pictures: the example gallery and fresh drawings, for what ships with a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from smola_demo.data import GENERATORS
from smola_demo.data.row import Row, RowError

GALLERY = Path(__file__).resolve().parents[2] / "assets"
SOURCE = "examples"


def gallery_rows(folder: Path = GALLERY) -> list[Row]:
    """The examples of `folder`/examples.json as rows without accepted answers. Raises RowError if none."""
    try:
        entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RowError(f"{folder / 'examples.json'} cannot be read: {error}") from None
    return [
        Row(folder / e["image"], e["task"], e.get("question"), (), SOURCE, f"{SOURCE}/{e['image']}")
        for e in entries
        if (folder / e["image"]).is_file()
    ]


def drawn_rows(pictures: int, first_seed: int = 0) -> list[Row]:
    """One row each on `pictures` development drawings of every generator; their questions go round."""
    found = []
    for generate in GENERATORS.values():
        for i in range(pictures):
            rows = generate(first_seed + i, "dev").rows()
            found.append(rows[i % len(rows)])
    return found
