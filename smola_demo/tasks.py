"""The seven things one can ask about an image: prompt, reading of the answer, metric, examples.

Knows words only: no model, no image, no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_QUESTION_CHARS = 500


class TaskError(ValueError):
    """A task or a question that cannot be asked; the message is one sentence for the user."""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _short(text: str) -> str:
    return _one_line(text).rstrip(" .")


def _lines(text: str) -> str:
    """Lines keep their breaks, because a receipt or a sign is read line by line."""
    return "\n".join(line for line in (_one_line(part) for part in text.splitlines()) if line)


@dataclass(frozen=True)
class Task:
    """One task: what it is, how its prompt is made, how its answer is read and judged.

    template          prompt text; "{question}" is replaced by the user's question
    default_question  put in when the user asks nothing; empty where the task needs none
    metric            name of a metric in `smola_demo.metrics`
    max_new_tokens    longest answer, in tokens
    example           a question that shows what the task is for
    suggestions       questions to click on
    """

    name: str
    description: str
    template: str
    metric: str
    max_new_tokens: int
    default_question: str = ""
    needs_question: bool = True
    example: str = ""
    suggestions: tuple[str, ...] = ()
    postprocess: Callable[[str], str] = _one_line

    def prompt(self, question: str | None = None) -> str:
        """The prompt text for one question; a task without questions ignores it."""
        return self.template.replace("{question}", _one_line(question or "") or self.default_question)


_ALL = (
    Task(
        name="caption",
        description="Say in one sentence what the picture shows.",
        template="Describe the image briefly.",
        metric="cider_d",
        max_new_tokens=32,
        needs_question=False,
    ),
    Task(
        name="vqa",
        description="Answer a question about the picture in a word or two.",
        template="{question} Answer in a word or two.",
        metric="vqa_accuracy",
        max_new_tokens=12,
        default_question="What is in the image?",
        example="What color is the car?",
        suggestions=(
            "What is in the image?",
            "What color is it?",
            "Is there a person?",
            "What is on the left?",
        ),
    ),
    Task(
        name="count",
        description="Count the things that the question names.",
        template="{question} Answer with a number.",
        metric="count_accuracy",
        max_new_tokens=6,
        default_question="How many objects are there?",
        example="How many red circles are there?",
        suggestions=(
            "How many objects are there?",
            "How many people are there?",
            "How many chairs are there?",
        ),
    ),
    Task(
        name="read",
        description="Read the text in the picture.",
        template="Read the text.",
        metric="anls",
        max_new_tokens=96,
        needs_question=False,
        postprocess=_lines,
    ),
    Task(
        name="chart",
        description="Answer a question about a chart.",
        template="Chart: {question}",
        metric="relaxed_accuracy",
        max_new_tokens=24,
        default_question="What is the title of this chart?",
        example="Which category has the highest value?",
        suggestions=(
            "What is the title of this chart?",
            "Which category has the highest value?",
            "Which category has the lowest value?",
            "How many bars are there?",
        ),
        postprocess=_short,
    ),
    Task(
        name="document",
        description="Find something in a receipt, a form or another document.",
        template="Document: {question}",
        metric="anls",
        max_new_tokens=64,
        default_question="What is the total amount?",
        example="What is the total amount on this receipt?",
        suggestions=(
            "What is the total amount on this receipt?",
            "When was this receipt issued?",
            "What is the name of the shop on this receipt?",
        ),
    ),
    Task(
        name="ask",
        description="Ask anything in your own words.",
        template="{question}",
        metric="exact",
        max_new_tokens=64,
        default_question="What do you see?",
        example="What do you see?",
        suggestions=("What do you see?", "Where could this be?", "What is happening here?"),
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}

# Names that rows of data files use, each with the task of ours that it trains and tests.
ROW_TASKS: dict[str, str] = {
    "caption": "caption",
    "vqa": "vqa",
    "count": "count",
    "ocr": "read",
    "doc_qa": "document",
    "chart_qa_value": "chart",
    "chart_qa_fill": "chart",
    "chart_title": "chart",
    "chart_qa_open": "chart",
}


def get_task(name: str) -> Task:
    """The task of this name. Raises TaskError naming the tasks that exist."""
    if not isinstance(name, str) or name not in TASKS:  # anything may come from outside
        raise TaskError(f"There is no task '{str(name)[:40]}'; choose one of {', '.join(TASKS)}.")
    return TASKS[name]


def check_question(task: str, question: str | None) -> str | None:
    """The question as it will be asked: one line, or None where the task takes none.

    Raises TaskError when a needed question is empty or the question is too long.
    """
    wanted = get_task(task)
    if not wanted.needs_question:
        return None
    if not isinstance(question or "", str):
        raise TaskError("The question must be text.")
    # Half of a character, as JSON can spell it, is no text to a tokenizer.
    text = _one_line(re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", " ", question or ""))
    if not text:
        raise TaskError(f"The task '{task}' needs a question, for example: {wanted.example}")
    if len(text) > MAX_QUESTION_CHARS:
        raise TaskError(
            f"The question has {len(text)} characters; shorten it to {MAX_QUESTION_CHARS} or fewer."
        )
    return text
