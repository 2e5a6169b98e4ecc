"""What was asked, in the page's own words: a task's name, a picture's, and one line on a request."""

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


def picture_name(payload: Any) -> str:
    """What a picture is called on the visitor's side, from an image component's raw value."""
    path = payload.get("orig_name") or payload.get("path") if isinstance(payload, dict) else payload
    return PurePath(str(path or "")).name


def asked_of(picture: Any, task: Any, question: Any) -> str:
    """One line on a request as it comes from the page: "stars.png, Count: How many?"."""
    return f"{picture_name(picture) or 'picture'}, {task_asked(task, question)}"
