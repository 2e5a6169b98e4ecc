"""What drawn pictures are worded with: English words, made-up shops, people, goods, topics and tables."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@lru_cache(maxsize=2)
def word_list(split: str) -> tuple[str, ...]:
    """English words in lower case; those of the dev split, as long in the mean, are never trained on."""
    name = "held_out_words.txt" if split == "dev" else "words.txt"
    return tuple((_FOLDER / name).read_text(encoding="utf-8").split())


@lru_cache(maxsize=1)
def made_up() -> dict[str, list[Any]]:
    """Lists of names by what they name: "shop_names", "goods", "chart_topics" …"""
    return json.loads((_FOLDER / "made_up.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def tables() -> dict[str, list[Any]]:
    """Topics of tables, and lists of names for tables only; a topic may also name lists of `made_up`."""
    return json.loads((_FOLDER / "tables.json").read_text(encoding="utf-8"))


def readings(printed: str) -> tuple[str, ...]:
    """What answers for a printed amount or time: without its sign, as it is, and 09:05 also as 9:05."""
    found = [re.sub(r"^(RM |[$£€])|%$", "", printed), printed]
    if time := re.fullmatch(r"(0?)(\d:\d\d)", printed):
        found.append(time[2] if time[1] else f"0{printed}")
    return tuple(dict.fromkeys(found))
