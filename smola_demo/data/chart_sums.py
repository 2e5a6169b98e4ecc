"""Questions on what a drawn chart holds as a whole: how many, of which kind, called what, and its sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smola_demo.data.chart_figures import number
from smola_demo.data.row import QA
from smola_demo.data.shape_names import yes_no

if TYPE_CHECKING:
    import random

    from smola_demo.data.chart_figures import View

_BARS = ("bar chart", "bar graph", "bar", "bars", "bar plot", "bar diagram")
_UPRIGHT = ("column chart", "vertical bar chart", "vertical bar graph")
# The held-out kinds have no name here: nothing in training could tell it.
_KINDS = {
    "bar": (*_BARS, *_UPRIGHT),
    "hbar": (*_BARS, "horizontal bar chart", "horizontal bar graph"),
    "grouped": (*_BARS, *_UPRIGHT, "grouped bar chart", "grouped bar graph", "clustered bar chart"),
    "line": ("line chart", "line graph", "line", "lines", "line plot", "line diagram"),
    "pie": ("pie chart", "pie graph", "pie", "pie diagram", "circle chart", "circle graph"),
}


def how_many(rng: random.Random, view: View) -> QA:
    """How many bars, lines, categories … there are."""
    data = view.data
    n, several = len(data.labels), len(data.series)
    things = {data.nouns if several == 1 else "categories": n, "categories": n}
    if data.kind == "line":
        things |= {"lines": several} if several > 1 else {"lines": 1, "points": n}
    elif data.kind == "pie":
        things |= {"slices": n, "pieces": n}
    elif data.kind != "dots":
        things["bars"] = n * several
    if several > 1:
        things["names in the legend"] = several
    thing = rng.choice(sorted(things))
    phrases = "How many {things} are there?|How many {things} do you see?|Count the {things}."
    if "legend" not in thing:
        phrases += (
            "|How many {things} are in the chart?|How many {things} are shown?"
            "|How many {things} does the chart have?"
            "|What is the number of {things}?|How many {things} can be seen in this chart?"
        )
    return QA("chart", view.say(rng, phrases, things=thing), (str(things[thing]),))


def how_many_above(rng: random.Random, view: View) -> QA | None:
    """How many values lie above or below a mark of the axis on which none lies."""
    free = [mark for mark in view.data.marks[1:-1] if mark not in view.named.values()]
    if view.series or not free:
        return None
    mark, above = rng.choice(free), rng.random() < 0.6
    count = sum((value > mark) == above for value in view.named.values())
    shape = {"pie": "slices", "bar": "bars", "hbar": "bars"}.get(view.data.kind, "categories")
    phrases = (
        "How many {things} are {above} {v}?|How many {things} have a value {above} {v}?"
        "|How many {things} are {more} than {v}?"
        "|How many {things} have {more} than {v}?|How many {things} are {high} than {v}?"
        "|How many values are {above} {v}?"
    )
    words = (
        {"above": rng.choice(("above", "over")), "more": "more", "high": "higher"}
        if above
        else {"above": rng.choice(("below", "under")), "more": "less", "high": "lower"}
    )
    things = rng.choice((view.data.nouns, view.data.nouns, shape))
    return QA("chart", view.say(rng, phrases, things=things, v=number(mark), **words), (str(count),))


def kind(rng: random.Random, view: View) -> QA | None:
    """The kind of the chart, or whether it is of one."""
    if view.data.kind not in _KINDS:
        return None
    names = _KINDS[view.data.kind]
    if rng.random() < 0.25:
        others = sorted({"bar", "line", "pie"} - {names[0].split()[0]})
        truth = rng.random() < 0.5
        asked = names[0].split()[0] if truth else rng.choice(others)
        return QA("chart", view.say(rng, "Is this a {a} chart?|Is it a {a} chart?", a=asked), yes_no(truth))
    phrases = (
        "What kind of chart is this?|What type of chart is shown?|What kind of graph is this?"
        "|What sort of chart is it?"
        "|Which type of chart is this?|What type of graph do you see?|What chart type is this?"
        "|Name the type of chart."
    )
    return QA("chart", view.say(rng, phrases), names)


def title(rng: random.Random, view: View) -> QA | None:
    """What stands above the chart."""
    if not view.data.title:
        return None
    phrases = (
        "What is the title of this chart?|What is the title?|What is this chart about?"
        "|What does the chart show?"
        "|What is the chart called?|What is the heading of the chart?|What does the title say?"
        "|What is the topic of this chart?"
        "|Read the title.|What is this graph about?"
    )
    return QA("chart", view.say(rng, phrases), (view.data.title,))


def difference(rng: random.Random, view: View) -> QA | None:
    """How far two printed whole numbers are apart."""
    if not view.whole:
        return None
    pair = rng.sample(list(view.named), 2)
    a, b = sorted(pair, key=view.named.__getitem__, reverse=True)
    if rng.random() < 0.15:
        a, *_, b = view.ranked()
        phrases = (
            "What is the difference between the highest and the lowest value{of}?"
            "|How much higher is the highest value{of} than the lowest?"
            "|How far apart are the highest and the lowest value{of}?"
        )
    elif view.series:
        phrases = (
            "What is the difference{of} between {a} and {b}?"
            "|How much higher is {s} {place} {a} than {place} {b}?"
            "|By how much is {s} higher {place} {a} than {place} {b}?"
            "|How much more is {s} {place} {a} than {place} {b}?"
            "|How much lower is {s} {place} {b} than {place} {a}?|How far apart are {a} and {b} for {s}?"
        )
    else:
        phrases = (
            "What is the difference between {p} and {q}?|How much more is {a} than {b}?"
            "|How much higher is {a} than {b}?"
            "|By how much is {a} higher than {b}?|What is {a} minus {b}?|How far apart are {p} and {q}?"
            "|How much lower is {b} than {a}?|How much less is {b} than {a}?"
            "|How many more does {a} have than {b}?"
            "|What is the difference between the values for {p} and {q}?"
            "|How much higher is the value for {a} than for {b}?"
            "|By how much is the value of {b} below that of {a}?"
        )
    counted = (
        "How many more {counted} did {a} have than {b}?|How many fewer {counted} did {b} have than {a}?"
        "|How many more {counted} were there {place} {a} than {place} {b}?"
    )
    by_trait = (
        {"any": phrases} if view.series or "the highest" in phrases else {"any": phrases, "counted": counted}
    )
    question = view.say(rng, by_trait, a=a, b=b, p=pair[0], q=pair[1])
    return QA("chart", question, (number(view.named[a] - view.named[b]),))


def total(rng: random.Random, view: View) -> QA | None:
    """What two or all printed whole numbers are together, or on average if that is exact to a half."""
    if not view.whole:
        return None
    values, way = list(view.named.values()), rng.random()
    if way < 0.35 and view.data.kind != "pie" and 2 * sum(values) % len(values) == 0:
        phrases = (
            "What is the average{of}?|What is the average value{of}?|What is the mean{of}?"
            "|What is the mean value{of}?"
            "|How much is it{for_s} on average?|What's the average of all values{of}?"
        )
        return QA("chart", view.say(rng, phrases), (number(sum(values) / len(values)),))
    if way < 0.65 and view.data.kind != "pie":
        phrases = (
            "What is the total{of}?|What is the sum of all values{of}?|What do all values{of} add up to?"
            "|How much is it{for_s} in total?|What is the total of all {nouns}{for_s}?"
            "|How much is everything{for_s} together?"
        )
        if view.data.counted and not view.series:
            phrases += "|How many {counted} are there in total?|How many {counted} is that in total?"
        return QA("chart", view.say(rng, phrases), (number(sum(values)),))
    a, b = rng.sample(list(view.named), 2)
    phrases = (
        "What is the sum of {a} and {b}{for_s}?|How much are {a} and {b} together{for_s}?"
        "|What do {a} and {b} add up to{for_s}?"
        "|What is {a} plus {b}{for_s}?|What is the total of {a} and {b}{for_s}?"
        "|{a} and {b}: how much together{for_s}?"
        "|What do the values{of} for {a} and {b} add up to?"
        "|What is the sum of the values{of} for {a} and {b}?"
    )
    return QA("chart", view.say(rng, phrases, a=a, b=b), (number(view.named[a] + view.named[b]),))
