"""Drawn charts and forms: their answers against the figures they were drawn from."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from smola_demo.data import chart_questions, charts, fonts, form_content


def chart_answer(question: str, named: dict[str, float]) -> str | None:
    """The answer worked out from the question's text and the figures alone."""
    show = "{:g}".format
    if match := re.fullmatch(r"(?:What is the value (?:for|of)|How much is) (.+)\?", question):
        return show(named[match[1]])
    if match := re.fullmatch(
        r"(?:Which \w+|What) has the (highest|largest|lowest|smallest) value\?", question
    ):
        return (max if match[1] in ("highest", "largest") else min)(named, key=named.__getitem__)
    if match := re.fullmatch(r"What is the (highest|largest|lowest|smallest) value\?", question):
        return show((max if match[1] in ("highest", "largest") else min)(named.values()))
    if match := re.fullmatch(r"Is the value for (.+) (higher|lower) than for (.+)\?", question):
        return "yes" if (named[match[1]] > named[match[3]]) == (match[2] == "higher") else "no"
    if match := re.fullmatch(r"Which is (higher|lower), (.+) or (.+)\?", question):
        return (max if match[1] == "higher" else min)(match[2], match[3], key=named.__getitem__)
    if match := re.fullmatch(r"What is the (difference between|sum of) (.+) and (.+)\?", question):
        a, b = named[match[2]], named[match[3]]
        return show(abs(a - b) if match[1].startswith("diff") else a + b)
    if re.match(r"How many ", question):
        return str(len(named))
    return None


@pytest.mark.parametrize("kind", ["bar", "hbar", "pie", "line", "dots"])
def test_chart_answers_against_the_figures(kind):
    checked = 0
    for seed in range(80):
        rng = random.Random(seed)
        data = chart_questions.invent(rng, kind, printed=seed % 2 == 0)
        assert len(set(data.labels)) == len(data.labels)
        assert all(len(set(values)) == len(values) == len(data.labels) for values in data.values)
        assert kind != "pie" or sum(data.values[0]) == 100
        if len(data.series) > 1:
            continue
        for qa in chart_questions.ask(rng, data, printed=True):
            expected = chart_answer(qa.question, dict(zip(data.labels, data.values[0], strict=True)))
            if expected is not None:
                assert qa.answers[0] == expected, (seed, qa)
                checked += 1
    assert checked > 150


def test_values_that_are_not_printed_can_be_read_off_the_axis():
    for seed in range(100):
        values = chart_questions.invent(random.Random(seed), "bar", printed=False).values[0]
        assert all(value % 2 == 0 or value % 5 == 0 for value in values)


def test_bars_are_as_long_as_their_values():
    """Two bars of the same colour: the ratio of their painted pixels is the ratio of their values."""
    data = chart_questions.ChartData("hbar", "", ("A", "B"), ("",), ((60.0, 20.0),))
    style = charts.Style(
        fonts.BUILT_IN, 12, (255, 255, 255), (0, 0, 0), (200, 200, 200), ((0, 0, 255),), False, False
    )
    image = charts.Image.new("RGB", (256, 256), style.paper)
    rng = random.Random(0)
    rng.random = lambda: 0.0  # one colour for all bars
    charts._sideways(rng, charts.Pen(image), data, style, (4, 10, 250, 250))
    blue = (np.asarray(image) == (0, 0, 255)).all(axis=2).sum(axis=1)
    assert blue[:125].max() / blue[135:].max() == pytest.approx(3.0, rel=0.05)


def test_receipts_add_up():
    for seed in range(100):
        data = form_content.invent_receipt(random.Random(seed))
        amounts = [
            (entry.left.lower(), float(entry.right.split()[-1].strip("$")))
            for entry in data.lines
            if entry.right
        ]
        totals = [value for name, value in amounts if name.startswith(("total", "amount"))]
        others = [
            value for name, value in amounts if not name.startswith(("total", "amount", "cash", "change"))
        ]
        asked = dict(data.asked)
        assert totals == [pytest.approx(sum(others))]
        assert float(asked["total"]) == totals[0]
        assert "cash" not in asked or float(asked["cash"]) - float(asked["change"]) == pytest.approx(
            totals[0]
        )


def test_document_answers_stand_on_the_page():
    for seed in range(100):
        receipt = form_content.invent_receipt(random.Random(seed))
        page = "\n".join(entry.text for entry in receipt.lines)
        for what, answer in receipt.asked:
            assert answer in page or (what == "address" and all(part in page for part in answer.split(", ")))
        form = form_content.invent_form(random.Random(seed))
        shown = {form.title, *(value for _, value in form.fields)}
        assert all(answer in shown for _, answer in form.asked)
