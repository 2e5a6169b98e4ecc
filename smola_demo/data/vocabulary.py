"""What drawn pictures are worded with: English words, made-up shops, people, goods, topics and tables."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@lru_cache(maxsize=1)
def word_list() -> tuple[str, ...]:
    """Common English words in lower case."""
    return tuple((_FOLDER / "words.txt").read_text(encoding="utf-8").split())


@lru_cache(maxsize=1)
def made_up() -> dict[str, list[Any]]:
    """Lists of names by what they name: "shop_names", "goods", "chart_topics" …"""
    return json.loads((_FOLDER / "made_up.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def tables() -> dict[str, list[Any]]:
    """Topics of tables, and lists of names for tables only; a topic may also name lists of `made_up`."""
    return json.loads((_FOLDER / "tables.json").read_text(encoding="utf-8"))
