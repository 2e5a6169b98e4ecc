"""Drawn tables: their answers against the cells, read again from the question's text alone."""

from __future__ import annotations

import random
import re

import pytest

from smola_demo.data import fonts, table_questions, tables
from smola_demo.data.table_content import Column, TableData, invent
from smola_demo.data.vocabulary import made_up
from smola_demo.data.vocabulary import tables as vocabulary

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")


def amount(cell: str) -> float:
    """A cell as a number; times of day in minutes."""
    if ":" in cell:
        hours, minutes = cell.split(":")
        return 60 * int(hours) + int(minutes)
    return float(cell.strip("$%"))


def answer(question: str, data: TableData) -> str | None:
    """The answer found in the printed table, or None for a wording that is not read here."""
    by_said = {column.said: column for column in data.columns}
    by_head = {column.head: column for column in data.columns}
    heads = [data.key, *(column.head for column in data.columns)]
    said, row = f"({'|'.join(map(re.escape, by_said))})", f"({'|'.join(map(re.escape, data.labels))})"

    def cell(column: Column, label: str) -> str:
        return column.cells[data.labels.index(label)]

    if match := re.fullmatch(rf"What is the {said} (?:of|for) (?:\D*? )?{row}\?", question):
        return cell(by_said[match[1]], match[2])
    if match := re.fullmatch(rf"Which has the (\w+) {said}, {row} or {row}\?", question):
        best = max if match[1] in ("higher", "later") else min
        return best((match[3], match[4]), key=lambda label: amount(cell(by_said[match[2]], label)))
    if match := re.fullmatch(rf"Which \w+ has the (\w+) {said}\?", question):
        best = max if match[1] in ("highest", "largest", "latest", "most") else min
        return best(data.labels, key=lambda label: amount(cell(by_said[match[2]], label)))
    if match := re.fullmatch(
        rf"How many \w+ have an? {said} (over|under|later than|earlier than) (.+)\?", question
    ):
        above = match[2] in ("over", "later than")
        numbers = [amount(text) for text in by_said[match[1]].cells]
        return str(sum((n > amount(match[3])) if above else (n < amount(match[3])) for n in numbers))
    if match := re.fullmatch(r"How many \w+ have (.+) under (.+)\?", question):
        return str(by_head[match[2]].cells.count(match[1]))
    if match := re.fullmatch(
        r"How many (?!columns)\w+ (?:are (?:there|listed|in the table)|does the table show)\?", question
    ):
        return str(len(data.labels))
    if re.fullmatch(r"How many columns.*", question):
        return str(len(heads))
    if match := re.search(r"(\w+) column (?:called)?", question):
        return heads[-1] if match[1] == "last" else heads[ORDINALS.index(match[1])]
    if match := re.fullmatch(r"Which \w+ is (?:listed|in the) (\w+)(?: row)?\?", question):
        return data.labels[-1] if match[1] == "last" else data.labels[ORDINALS.index(match[1])]
    if match := re.fullmatch(r"Which \w+ has (.+) under (.+)\?", question):
        return data.labels[by_head[match[2]].cells.index(match[1])]
    return None


def test_answers_against_the_cells():
    read = 0
    for seed in range(300):
        rng = random.Random(seed)
        data = invent(rng)
        for _, question, answers in table_questions.ask(rng, data):
            asked = question[0].upper() + question[1:]
            expected = answer(asked if asked.endswith("?") else asked + "?", data)
            if expected is not None:
                assert expected.strip("$%") in {text.strip("$%") for text in answers}, (seed, question)
                read += 1
    assert read > 900


def test_rows_and_numbers_can_be_told_apart():
    for seed in range(300):
        data = invent(random.Random(seed))
        assert len(set(data.labels)) == len(data.labels) <= 9
        for column in data.columns:
            assert len(column.cells) == len(data.labels)
            assert len(set(column.values)) == len(column.values)
            assert [amount(cell) for cell in column.cells if column.values] == pytest.approx(column.values)


def test_trains_arrive_after_they_leave():
    seen = 0
    for seed in range(400):
        columns = {column.said: column for column in invent(random.Random(seed)).columns}
        if "arrival time" in columns:
            pairs = zip(columns["departure time"].values, columns["arrival time"].values, strict=True)
            assert all(leaves < arrives < 24 * 60 for leaves, arrives in pairs)
            seen += 1
    assert seen > 5


def test_topics_name_what_there_is():
    told = vocabulary()
    for topic in told["topics"]:
        pools = [topic["pool"], *(column["pool"] for column in topic["columns"] if column["kind"] == "pool")]
        assert all(isinstance(pool, list) or pool in told or pool in made_up() for pool in pools)
        for column in topic["columns"]:
            assert all("{row}" in phrase for phrase in column.get("ask", "{row}").split("|"))
            assert all("{a}" in p and "{b}" in p for p in column.get("more", "{a}{b}").split("|"))
            assert column["kind"] == "pool" or column["span"][1] - column["span"][0] >= 9


def test_a_wide_table_is_made_to_fit():
    told = Column("Description of it", "description", ("a very long cell of many words",) * 2, (), {}, True)
    data = TableData("", "item", "items", "{row}", "Item", ("One", "Two"), (told, told, told))
    style = tables.Style(
        "plain", fonts.BUILT_IN, (255,) * 3, (0,) * 3, (200,) * 3, (0, 0, 90), "band", 10, ("l", "r")
    )
    fitted, size = tables._fitted(random.Random(0), data, style)
    assert sum(tables._widths(fitted, style.font(size), style.gap)) <= tables.WIDEST
    assert 1 <= len(fitted.columns) < 3


def test_yes_is_as_common_as_no_and_numbers_vary():
    asked = [qa for seed in range(200) for qa in tables.generate(seed).qa]
    closed = [qa.answers[0] for qa in asked if qa.answers[0] in ("yes", "no")]
    assert 0.4 < closed.count("yes") / len(closed) < 0.6
    assert {int(qa.answers[0]) for qa in asked if qa.task == "count"} >= set(range(10))
