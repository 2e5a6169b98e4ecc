"""The seven tasks: names, prompts, questions and the reading of answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smola_demo.metrics import METRICS
from smola_demo.tasks import MAX_QUESTION_CHARS, ROW_TASKS, TASKS, TaskError, check_question, get_task


def test_names_and_order():
    assert list(TASKS) == ["caption", "vqa", "count", "read", "chart", "document", "ask"]
    assert all(name == task.name for name, task in TASKS.items())


@pytest.mark.parametrize(("task", "prompt"), [
    ("caption", "Describe the image briefly."),
    ("read", "Read the text."),
    ("vqa", "Is it red? Answer in a word or two."),
    ("count", "Is it red? Answer with a number."),
    ("chart", "Chart: Is it red?"),
    ("document", "Document: Is it red?"),
    ("ask", "Is it red?"),
])  # fmt: skip
def test_prompts(task, prompt):
    assert TASKS[task].prompt("Is it  red?\n") == prompt


def test_braces_in_a_question_are_kept():
    assert TASKS["ask"].prompt("What is {x} or {question}?") == "What is {x} or {question}?"


def test_every_task_is_complete():
    for task in TASKS.values():
        assert task.description.endswith(".")
        assert "\n" not in task.description
        assert task.metric in METRICS
        assert task.max_new_tokens > 0
        assert ("{question}" in task.template) == task.needs_question == bool(task.example)
        for question in (*task.suggestions, task.example, task.default_question):
            if question:
                assert check_question(task.name, question) == (question if task.needs_question else None)


def test_row_names_lead_to_tasks():
    assert set(ROW_TASKS.values()) <= set(TASKS)
    assert ROW_TASKS["ocr"] == "read"
    assert ROW_TASKS["doc_qa"] == "document"
    assert ROW_TASKS["chart_qa_fill"] == "chart"


def test_questions_are_cleaned():
    assert check_question("vqa", "  what\tis\x00 this\n?") == "what is this ?"
    assert check_question("caption", "ignored") is None
    assert check_question("read", None) is None
    assert check_question("ask", "x" * MAX_QUESTION_CHARS) == "x" * MAX_QUESTION_CHARS


@pytest.mark.parametrize("question", [None, "", " \n\t", "\x00\x01"])
def test_an_empty_question_is_refused(question):
    with pytest.raises(TaskError, match="'count' needs a question, for example: How many"):
        check_question("count", question)


def test_a_long_question_is_refused():
    with pytest.raises(TaskError, match="501 characters"):
        check_question("ask", "x" * 501)


def test_an_unknown_task_names_those_there_are():
    with pytest.raises(TaskError, match="no task 'sing'; choose one of caption, vqa"):
        get_task("sing")
    with pytest.raises(TaskError, match="no task"):
        check_question("sing", "la")


@pytest.mark.parametrize(("task", "text", "read"), [
    ("caption", " A dog\nruns. ", "A dog runs."),
    ("read", " EXIT \n\n 12  A ", "EXIT\n12 A"),
    ("chart", " 39 %. ", "39 %"),
    ("vqa", "", ""),
])  # fmt: skip
def test_reading_of_answers(task, text, read):
    assert TASKS[task].postprocess(text) == read


@pytest.mark.parametrize("module", ["tasks", "metrics", "data", "data.mixture", "data.devset"])
def test_imports_stay_light(module):
    """Tasks, metrics and data load neither torch nor any model library."""
    code = f"import sys, smola_demo.{module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "gradio", "plotly", "matplotlib"} & set(loaded)
