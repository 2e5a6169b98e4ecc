"""Made-up figures for charts, and questions whose answers are computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smola_demo.data.row import QA
from smola_demo.data.vocabulary import made_up

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


@dataclass(frozen=True)
class ChartData:
    """What a chart shows: values[series][label], all positive, no two in a series alike."""

    kind: str
    title: str
    labels: tuple[str, ...]
    series: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


def number(value: float) -> str:
    """A value as it is printed: no trailing zeros, at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _distinct(rng: random.Random, count: int, span: tuple[int, int], printed: bool) -> tuple[float, ...]:
    """`count` different values, far enough apart to see the order; round ones where none is printed."""
    low, high = span
    if not printed:
        step = 50 if high > 500 else 10 if high > 100 else 5 if high > 50 else 2
        return tuple(float(step * slot) for slot in rng.sample(range(1, high // step + 1), count))
    gap = max(1, (high - low) // 40)
    tenths = high < 100 and rng.random() < 0.15
    slots = rng.sample(range(low, high, gap), count)
    return tuple(value + rng.randint(1, 9) / 10 if tenths else float(value) for value in slots)


def invent(rng: random.Random, kind: str, printed: bool) -> ChartData:
    """A chart of this kind: topic, two to eight categories, one to three series.

    `printed` says whether values stand on the chart; where they do not, they are round enough to read off.
    """
    topic = rng.choice(made_up()["chart_topics"])
    pool, span = topic["labels"], topic["span"]
    most = {"bar": 7, "hbar": 8, "dots": 8, "grouped": 4, "line": 7, "pie": 5}[kind]
    count = rng.randint(2 if kind in ("bar", "hbar", "pie") else 3, min(most, len(pool)))
    first = rng.randint(0, len(pool) - count)
    labels = tuple(pool[first : first + count] if topic["ordered"] else rng.sample(pool, count))
    several = kind == "grouped" or (kind == "line" and rng.random() < 0.3)
    printed = printed and not (kind == "line" and several)
    fresh = [names for names in made_up()["chart_series"] if not set(names) & set(pool)]
    series = tuple(rng.choice(fresh)) if several else ("",)
    values = (
        (_shares(rng, count),)
        if kind == "pie"
        else tuple(_distinct(rng, count, span, printed) for _ in series)
    )
    if kind in ("hbar", "dots") and not topic["ordered"] and rng.random() < 0.6:
        values = (tuple(sorted(values[0], reverse=True)),)
    title = rng.choice(topic["titles"]) if rng.random() < 0.85 else ""
    return ChartData(kind, title, labels, series, values)


def _shares(rng: random.Random, count: int) -> tuple[float, ...]:
    """Whole percentages that sum to 100, all different, none below 6."""
    while True:
        cuts = sorted(rng.sample(range(6, 95), count - 1))
        shares = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        if min(shares) >= 6 and len(set(shares)) == count:
            return tuple(float(share) for share in shares)


def ask(rng: random.Random, data: ChartData, printed: bool) -> tuple[QA, ...]:
    """Up to eight questions. `printed` says whether exact values can be read off the chart."""
    series = rng.randrange(len(data.series))
    of = f" of {data.series[series]}" if data.series[series] else ""
    named = dict(zip(data.labels, data.values[series], strict=True))
    found = [_extreme(rng, data, named, of, highest=highest) for highest in (True, False)]
    found += [
        _value(rng, named, data.series[series], label)
        for label in rng.sample(data.labels, min(3, len(named)))
    ]
    found += [_compare(rng, named, of), _how_many(rng, data), _kind(rng, data)]
    if data.title:
        phrases = (
            "What is the title of this chart?",
            "What is the title?",
            "What is this chart about?",
            "What does the chart show?",
        )
        found.append(QA("chart", rng.choice(phrases), (data.title,)))
    if printed and all(value == int(value) for value in named.values()):
        found.append(_arithmetic(rng, named, of))
    if len(data.series) > 1:
        found.append(_between_series(rng, data))
    rng.shuffle(found)
    return tuple({qa.question: qa for qa in found}.values())[:8]


def _extreme(rng: random.Random, data: ChartData, named: dict[str, float], of: str, *, highest: bool) -> QA:
    label = (max if highest else min)(named, key=lambda name: named[name])
    word = rng.choice(("highest", "largest") if highest else ("lowest", "smallest"))
    if rng.random() < 0.3:
        return QA("chart", f"What is the {word} value{of}?", (number(named[label]),))
    thing = {"pie": "slice", "bar": "bar", "hbar": "bar"}.get(data.kind, "category")
    thing = "category" if rng.random() < 0.7 else thing
    return QA(
        "chart",
        rng.choice((f"Which {thing} has the {word} value{of}?", f"What has the {word} value{of}?")),
        (label,),
    )


def _value(rng: random.Random, named: dict[str, float], series: str, label: str) -> QA:
    value = number(named[label])
    what = f"{series} in {label}" if series else label
    phrases = (
        f"What is the value for {what}?",
        f"What is the value of {what}?",
        f"What is the value for {what}?",
        f"How much is {what}?",
    )
    return QA("chart", rng.choice(phrases), (value,))


def _compare(rng: random.Random, named: dict[str, float], of: str) -> QA:
    a, b = rng.sample(list(named), 2)
    if rng.random() < 0.5:
        word, truth = rng.choice((("higher", named[a] > named[b]), ("lower", named[a] < named[b])))
        return QA("chart", f"Is the value{of} for {a} {word} than for {b}?", ("yes" if truth else "no",))
    larger = rng.random() < 0.6
    winner = a if (named[a] > named[b]) == larger else b
    return QA("chart", f"Which is {'higher' if larger else 'lower'}{of}, {a} or {b}?", (winner,))


def _how_many(rng: random.Random, data: ChartData) -> QA:
    things: Sequence[str] = {"pie": ("slices", "categories"), "line": ("points", "categories")}.get(
        data.kind, ("bars", "categories")
    )
    thing = rng.choice(things)
    if data.kind == "dots":
        thing = "categories"
    count = len(data.labels) * (len(data.series) if thing in ("bars", "points") else 1)
    phrases = (
        f"How many {thing} are there?",
        f"How many {thing} are in the chart?",
        f"How many {thing} are shown?",
    )
    return QA("chart", rng.choice(phrases), (str(count),))


_KINDS = {
    "bar": ("bar chart", "vertical bar chart", "bar"),
    "hbar": ("bar chart", "horizontal bar chart", "bar"),
    "grouped": ("bar chart", "grouped bar chart", "bar"),
    "line": ("line chart", "line graph", "line"),
    "pie": ("pie chart", "pie"),
    "dots": ("dot plot", "dot chart", "lollipop chart"),
}


def _kind(rng: random.Random, data: ChartData) -> QA:
    return QA(
        "chart",
        rng.choice(("What kind of chart is this?", "What type of chart is shown?")),
        _KINDS[data.kind],
    )


def _arithmetic(rng: random.Random, named: dict[str, float], of: str) -> QA:
    a, b = rng.sample(list(named), 2)
    if rng.random() < 0.7:
        return QA(
            "chart", f"What is the difference{of} between {a} and {b}?", (number(abs(named[a] - named[b])),)
        )
    return QA("chart", f"What is the sum{of} of {a} and {b}?", (number(named[a] + named[b]),))


def _between_series(rng: random.Random, data: ChartData) -> QA:
    index = rng.randrange(len(data.labels))
    scores = {name: values[index] for name, values in zip(data.series, data.values, strict=True)}
    names = list(scores)
    a, b = names[0], names[1]
    if scores[a] == scores[b]:
        return QA("chart", "How many groups are in the legend?", (str(len(names)),))
    return QA(
        "chart",
        f"Which is higher for {data.labels[index]}, {a} or {b}?",
        (a if scores[a] > scores[b] else b,),
    )
