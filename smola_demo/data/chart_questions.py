"""Questions on drawn charts, whose answers are worked out from the figures.

Nothing is asked that the picture does not show for certain: sums only where every value is printed, and
values that are not printed only because they are drawn to be read off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smola_demo.data import chart_sums
from smola_demo.data.chart_figures import View, number
from smola_demo.data.row import QA
from smola_demo.data.shape_names import casual, either, yes_no

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from smola_demo.data.chart_figures import ChartData

_EXTREME = {
    "any": "Which {thing} has the {word} value{of}?|What has the {word} value{of}?"
    "|Which {thing} is {word}{for_s}?"
    "|Which {noun} has the {word} number{for_s}?|Name the {noun} with the {word} value{of}."
    "|For which {noun} is the value{of} {word}?|Which {thing} shows the {word} value{of}?",
    "bar": "Which bar is the {tallest}?|What is the {tallest} bar?|Which {noun} has the {tallest} bar?",
    "hbar": "Which bar is the {longest}?|What is the {longest} bar?|Which {noun} has the {longest} bar?",
    "pie": "Which slice is the {word}?|What is the {word} slice?|Which {noun} has the {word} share?",
    "line": "Where is the line {highest}?|At which {noun} is the line {highest}?",
    "timed": "Which {noun} was {best}{for_s}?|When was the value{of} {word}?"
    "|Which was the {best} {noun}{for_s}?",
    "counted": "Which {noun} had the {most} {counted}?|What had the {most} {counted}?",
    "amount": "Which {noun} had the {word} {amount}?|For which {noun} is the {amount} {word}?",
}
_EXTREME_VALUE = (
    "What is the {word} value{of}?|What's the {word} value{of}?"
    "|How much is the {word} value{of}?|Give me the {word} value{of}."
    "|What is the {end} value{of}?"
    "|What is the {end}{of}?"
)
_SECOND = (
    "Which {thing} has the {word} value{of}?|Which {thing} is {word}{for_s}?|What is {word}{for_s}?"
    "|Which is the {word} {noun}{for_s}?|Name the {noun} with the {word} value{of}."
    "|What has the {word} value{of}?"
)
_VALUE = {
    "any": "What is the value for {x}?|What is the value of {x}?|How much is {x}?|What value does {x} have?"
    "|How high is {x}?|What number does {x} have?|{x}: how much?|What is {x} at?|Give me the value for {x}.",
    "bar": "How tall is the bar for {x}?|How high is the bar for {x}?|What is the height of the {x} bar?",
    "hbar": "How long is the bar for {x}?|What is the length of the {x} bar?|How far does the {x} bar go?",
    "pie": "What percentage is {x}?|What share does {x} have?|How big is the slice for {x}?"
    "|What percent is {x}?",
    "line": "How high is the line {place} {x}?|What is the value of the point for {x}?",
    "timed": "What was the value {place} {x}?|How much was it {place} {x}?|How high was it {place} {x}?",
    "counted": "How many {counted} {place} {x}?|How many {counted} were there {place} {x}?"
    "|How many {counted} did {x} have?",
    "amount": "What was the {amount} {place} {x}?|How high was the {amount} {place} {x}?"
    "|What is the {amount} {place} {x}?",
}
_VALUE_OF_SERIES = {
    "any": "What is the value of {s} {place} {x}?|What is the {s} value for {x}?"
    "|How much is {s} {place} {x}?"
    "|What is {s} {place} {x}?|{x}, {s}: how much?|What value does {s} have {place} {x}?"
    "|How high is {s} {place} {x}?|What number does {s} have {place} {x}?",
    "grouped": "How tall is the bar of {s} {place} {x}?|How high is the bar of {s} {place} {x}?",
    "lines": "How high is the line of {s} {place} {x}?|What is the value of the {s} line {place} {x}?",
    "timed": "What was the value of {s} {place} {x}?|How much was {s} {place} {x}?",
}
_REVERSE = (
    "Which {thing} has the value {v}{for_s}?|Which {noun} is at {v}{for_s}?|What has a value of {v}{for_s}?"
    "|For which {noun} is the value{of} {v}?|Which {noun} has {v}{for_s}?|Which {thing} shows {v}{for_s}?"
)
_IS_HIGHER = {
    "any": "Is the value for {a} {higher} than for {b}?|Is {a} {higher} than {b}?|Is {a} {more} than {b}?"
    "|Does {a} have a {higher} value than {b}?|Does {a} have {more} than {b}?"
    "|Is the value of {a} {higher} than that of {b}?",
    "bar": "Is the bar for {a} {taller} than the one for {b}?|Is the {a} bar {taller} than the {b} bar?",
    "hbar": "Is the bar for {a} {longer} than the one for {b}?|Is the {a} bar {longer} than the {b} bar?",
    "timed": "Was it {higher} {place} {a} than {place} {b}?|Was {a} {higher} than {b}?",
    "counted": "Did {a} have {fewer} {counted} than {b}?"
    "|Were there {fewer} {counted} {place} {a} than {place} {b}?",
    "amount": "Was the {amount} {higher} {place} {a} than {place} {b}?"
    "|Is the {amount} {higher} {place} {a} than {place} {b}?",
}
_IS_SERIES_HIGHER = (
    "Is the value{of} for {a} {higher} than for {b}?|Is {s} {higher} {place} {a} than {place} {b}?"
    "|Does {s} have a {higher} value {place} {a} than {place} {b}?"
    "|Is {s} {place} {a} {higher} than {place} {b}?|Is there a {higher} value{of} for {a} than for {b}?"
    "|Was {s} {higher} {place} {a} than {place} {b}?"
)
_WHICH = {
    "any": "Which is {higher}{for_s}, {a} or {b}?|Which has the {higher} value{of}, {a} or {b}?"
    "|Which of {a} and {b} is {higher}{for_s}?|Which is {bigger}{for_s}, {a} or {b}?"
    "|{a} or {b}: which is {higher}{for_s}?|Which {noun} is {higher}{for_s}, {a} or {b}?"
    "|Which has {more}{for_s}, {a} or {b}?",
    "bar": "Which bar is {taller}, {a} or {b}?",
    "hbar": "Which bar is {longer}, {a} or {b}?",
    "timed": "When was it {higher}{for_s}, {place} {a} or {place} {b}?"
    "|Which {noun} was {better}{for_s}, {a} or {b}?",
    "counted": "Which {noun} had {fewer} {counted}, {a} or {b}?|Did {a} or {b} have {fewer} {counted}?",
}
_BETWEEN = (
    "Which is {higher} for {x}, {a} or {b}?|Which is {higher} {place} {x}, {a} or {b}?"
    "|{a} or {b}: which is {higher} {place} {x}?|Which has the {higher} value {place} {x}, {a} or {b}?"
    "|Which of {a} and {b} is {higher} {place} {x}?|Is {a} or {b} {higher} {place} {x}?"
)
_IS_BETWEEN = (
    "Is {a} {higher} than {b} {place} {x}?|Is the value of {a} {higher} than that of {b} {place} {x}?"
    "|Does {a} have a {higher} value than {b} {place} {x}?|{Place} {x}, is {a} {higher} than {b}?"
)


def _words(rng: random.Random, *, up: bool) -> dict[str, str]:
    """The comparatives of one direction, by that of the other or of both."""
    said = "higher more more taller longer better" if up else "lower less fewer shorter shorter worse"
    names = ("higher", "more", "fewer", "taller", "longer", "better")
    bigger = either(rng, "bigger|larger") if up else "smaller"
    return {"bigger": bigger, **dict(zip(names, said.split(), strict=True))}


def _highest(rng: random.Random, view: View) -> QA:
    return _extreme(rng, view, highest=True)


def _lowest(rng: random.Random, view: View) -> QA:
    return _extreme(rng, view, highest=False)


def _extreme(rng: random.Random, view: View, *, highest: bool) -> QA:
    label = view.ranked()[0 if highest else -1]
    word = either(rng, "highest|largest|biggest|greatest" if highest else "lowest|smallest")
    if rng.random() < 0.25:
        end = "maximum" if highest else "minimum"
        question = view.say(rng, _EXTREME_VALUE, word=word, end=end)
        return QA("chart", question, (number(view.named[label]),))
    names = "tallest longest highest best most" if highest else "shortest shortest lowest worst fewest"
    words = dict(zip(("tallest", "longest", "highest", "best", "most"), names.split(), strict=True))
    return QA("chart", view.say(rng, _EXTREME, word=word, **words), (label,))


def _second(rng: random.Random, view: View) -> QA | None:
    if len(view.named) < 3:
        return None
    top, place = rng.random() < 0.6, 2 if len(view.named) > 3 and rng.random() < 0.3 else 1
    label = view.ranked()[place if top else -1 - place]
    word = ("second ", "third ")[place - 1] + either(rng, "highest|largest" if top else "lowest|smallest")
    if rng.random() < 0.2:
        return QA("chart", f"What is the {word} value{view.of}?", (number(view.named[label]),))
    return QA("chart", view.say(rng, _SECOND, word=word), (label,))


def _value(rng: random.Random, view: View) -> QA:
    label = rng.choice(list(view.named))
    value = number(view.named[label])
    question = view.say(rng, _VALUE_OF_SERIES if view.series else _VALUE, x=label)
    return QA("chart", question, (value, f"{value}%") if view.data.kind == "pie" else (value,))


def _reverse(rng: random.Random, view: View) -> QA | None:
    """The category of a printed value; no series has one twice."""
    if not view.data.printed:
        return None
    label = rng.choice(list(view.named))
    sign = "%" if view.data.kind == "pie" and rng.random() < 0.5 else ""
    return QA("chart", view.say(rng, _REVERSE, v=number(view.named[label]) + sign), (label,))


def _is_higher(rng: random.Random, view: View) -> QA:
    a, b = rng.sample(list(view.named), 2)
    up = rng.random() < 0.5
    phrases = _IS_SERIES_HIGHER if view.series else _IS_HIGHER
    question = view.say(rng, phrases, a=a, b=b, **_words(rng, up=up))
    return QA("chart", question, yes_no((view.named[a] > view.named[b]) == up))


def _which(rng: random.Random, view: View) -> QA:
    a, b = rng.sample(list(view.named), 2)
    up = rng.random() < 0.6
    question = view.say(rng, _WHICH, a=a, b=b, **_words(rng, up=up))
    return QA("chart", question, (a if (view.named[a] > view.named[b]) == up else b,))


def _between_series(rng: random.Random, view: View) -> QA | None:
    """Which series is higher in one category, or whether one is."""
    data = view.data
    i = rng.randrange(len(data.labels))
    here = [(name, values[i]) for name, values in zip(data.series, data.values, strict=True)]
    if len(here) < 2:
        return None
    (a, high), (b, low) = rng.sample(here, 2)
    if high == low:
        return None
    up, closed = rng.random() < 0.5, rng.random() < 0.35
    words = {"a": a, "b": b, "x": data.labels[i], "Place": data.place.capitalize()}
    question = view.say(rng, _IS_BETWEEN if closed else _BETWEEN, **words, **_words(rng, up=up))
    return QA("chart", question, yes_no((high > low) == up) if closed else (a if (high > low) == up else b,))


_ASKERS: tuple[Callable[[random.Random, View], QA | None], ...] = (
    _highest,
    _lowest,
    _second,
    _value,
    _value,
    _value,
    _reverse,
    _is_higher,
    _which,
    _between_series,
    chart_sums.how_many,
    chart_sums.how_many_above,
    chart_sums.kind,
    chart_sums.title,
    chart_sums.difference,
    chart_sums.total,
)


def ask(rng: random.Random, data: ChartData) -> tuple[QA, ...]:
    """Up to nine questions on one chart and one of its series, none twice, in random order."""
    i = rng.randrange(len(data.series))
    view = View(data, data.series[i], dict(zip(data.labels, data.values[i], strict=True)))
    found = [qa for asker in rng.sample(_ASKERS, len(_ASKERS)) if (qa := asker(rng, view))]
    unique = {qa.question: qa for qa in found if qa.question}
    worded = [QA(qa.task, casual(rng, question), qa.answers) for question, qa in unique.items()]
    return tuple(worded[:9])
