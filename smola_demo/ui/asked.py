"""What was asked, in the page's own words: a task's name, and one line on picture, task and question."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from smola_demo.tasks import TASKS

_OTHER_WORDS = {"vqa": "Short question", "read": "Read text", "ask": "Ask freely"}
TASK_NAMES = {name: _OTHER_WORDS.get(name, name.capitalize()) for name in TASKS}


def task_asked(task: Any, question: Any) -> str:
    """A task and its question, if it takes one: "Count: How many?"; an unknown task by its own name."""
    name, known = str(task), TASKS.get(str(task))
    said = str(question or "").strip()
    told = f": {said}" if said and (known is None or known.needs_question) else ""
    return TASK_NAMES.get(name, name) + told


def asked_of(picture: Any, task: Any, question: Any) -> str:
    """One line on a request as it comes from the page: "stars.png, Count: How many?"."""
    path = picture.get("orig_name") or picture.get("path") if isinstance(picture, dict) else picture
    return f"{PurePath(str(path or 'picture')).name}, {task_asked(task, question)}"
