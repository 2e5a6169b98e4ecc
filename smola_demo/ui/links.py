"""Links that open the page on an example: what their parameters mean. The browser builds them.

A link names things by their own names, so it holds after a restart of the server:
?example=cat&task=vqa&question=What+is+it%3F&ablation=visual:3@8-15&layer=12&expert=visual:3
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smola_demo.ablation_spec import AblationSpec
from smola_demo.config import GROUPS
from smola_demo.tasks import TASKS, check_question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smola_demo.ui.examples import Example

NAMES = ("example", "task", "question", "ablation", "layer", "expert")
MAX_SPEC_CHARS = 300


@dataclass(frozen=True)
class Link:
    """What a link asked for, as far as it exists. `ignored` names the parameters that do not.

    example  index among the examples · layer and expert are for the explorer, which reads them in the browser
    """

    example: int | None = None
    task: str | None = None
    question: str | None = None
    ablation: str | None = None
    ignored: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """One sentence on what was ignored; empty when nothing was."""
        if not self.ignored:
            return ""
        return f"This link is not quite right: what it says about {' and '.join(self.ignored)} was ignored."


def example_names(examples: Sequence[Example]) -> list[str]:
    """Each example's name in a link: its file's name without the ending."""
    return [example.image.stem for example in examples]


def read_link(given: Mapping[str, str], examples: Sequence[Example]) -> Link:
    """The link of a page's query parameters. Unknown and malformed values are ignored and named."""
    wanted = {name: str(given[name]).strip() for name in NAMES if str(given.get(name) or "").strip()}
    good: dict[str, str] = {name: text for name, text in wanted.items() if _fits(name, text, examples)}
    index = example_names(examples).index(good["example"]) if "example" in good else None
    task = good.get("task") or (examples[index].task if index is not None else None)
    if "question" in good and (task is None or not TASKS[task].needs_question):
        del good["question"]
    ignored = tuple(name for name in wanted if name not in good)
    question = good.get("question")
    if question is None and index is not None and task == examples[index].task:
        question = examples[index].question
    return Link(index, task, question, good.get("ablation"), ignored)


def _fits(name: str, text: str, examples: Sequence[Example]) -> bool:
    """Whether a value can mean something. Whether the loaded experts have it is found out when it is used."""
    if name == "example":
        return text in example_names(examples)
    if name == "task":
        return text in TASKS
    if name == "layer":
        return re.fullmatch(r"[0-9]{1,4}", text) is not None
    if name == "expert":
        group, _, number = text.partition(":")
        return group in GROUPS and re.fullmatch(r"[0-9]{1,4}", number) is not None
    try:
        if name == "question":
            check_question("ask", text)
        elif len(text) > MAX_SPEC_CHARS or not AblationSpec.parse(text):
            return False
    except ValueError:
        return False
    return True
