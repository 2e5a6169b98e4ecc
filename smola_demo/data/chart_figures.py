"""Made-up figures for charts: what is shown, how it is spoken of, and values that can be read off."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smola_demo.data.shape_names import either
from smola_demo.data.vocabulary import made_up

if TYPE_CHECKING:
    import random

# The first title of a topic → one category, several, and the word before the name of one.
_NOUNS = {
    "Sales by month": ("month", "months", "in"),
    "Revenue": ("year", "years", "in"),
    "Favorite fruit": ("fruit", "fruits", "for"),
    "Support by country": ("country", "countries", "in"),
    "Hours of work": ("day", "days", "on"),
    "Top concerns": ("problem", "problems", "for"),
    "News sources": ("source", "sources", "for"),
    "Pets at home": ("animal", "animals", "for"),
    "Views by age": ("age group", "age groups", "for"),
    "Views by party": ("group", "groups", "for"),
    "Religious groups": ("group", "groups", "for"),
    "Sports we play": ("sport", "sports", "for"),
    "Budget": ("item", "items", "for"),
}
# What a chart with this title measures: things that are counted, and amounts.
_COUNTED = {
    "Sales by month": "sales",
    "Visitors": "visitors",
    "Orders": "orders",
    "Members": "members",
    "Exports": "exports",
    "New cars": "new cars",
    "Hours of work": "hours",
    "Visitors by day": "visitors",
    "Calls": "calls",
    "Votes": "votes",
    "Internet users": "internet users",
    "Club members": "members",
    "Tickets": "tickets",
}
_AMOUNTS = {
    "Rainfall (mm)": "rainfall",
    "Revenue": "revenue",
    "Profit": "profit",
    "Trust in media": "trust in media",
    "Internet use": "internet use",
    "Job approval": "job approval",
    "Budget": "budget",
    "Spending": "spending",
}
# Titles of what there cannot be too much of, so that more of it is better.
_GAINS = {
    "Sales by month",
    "Visitors",
    "Orders",
    "Revenue",
    "Members",
    "Profit",
    "Exports",
    "New cars",
    "Visitors by day",
}
_JUDGING = re.compile("best|better")
# What tells that a phrase is about the value of a category, not about its name, which may be a number itself.
_ABOUT_VALUES = re.compile(r"value|What number|\{place\}|\{counted\}|\{amount\}|best|better")
_MOST = {"bar": 7, "hbar": 8, "dots": 8, "grouped": 4, "line": 7, "pie": 5}


@dataclass(frozen=True)
class ChartData:
    """What a chart shows: values[series][label], all positive, no two in a series alike.

    printed  whether every value stands on the chart
    noun     what a category is called, and `nouns` several; `place` goes before the name of one
    ordered  whether the categories follow each other in time or by size
    """

    kind: str
    title: str
    labels: tuple[str, ...]
    series: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    printed: bool = True
    noun: str = "category"
    nouns: str = "categories"
    place: str = "for"
    ordered: bool = False

    @property
    def scale(self) -> tuple[float, float]:
        """(step, end) of the value axis, which has three or four steps."""
        return _scale(max(value for values in self.values for value in values))

    @property
    def marks(self) -> tuple[float, ...]:
        """The values marked on the axis, from 0 to its end."""
        step, end = self.scale
        return tuple(step * i for i in range(round(end / step) + 1))

    @property
    def counted(self) -> str:
        """What is counted, if the title says so: "visitors"; a pie shows only shares of it."""
        return "" if self.kind == "pie" else _COUNTED.get(self.title, "")

    @property
    def amount(self) -> str:
        """What is measured, if the title says so: "profit"."""
        return "" if self.kind == "pie" else _AMOUNTS.get(self.title, "")

    @property
    def gain(self) -> bool:
        """Whether the title says that more is better: of rain or hours of work it is not."""
        return self.title in _GAINS


@dataclass(frozen=True)
class View:
    """A chart and the one of its series that is asked about: its name, and its values by category."""

    data: ChartData
    series: str
    named: dict[str, float]

    @property
    def of(self) -> str:
        """Which series is meant, after a noun; nothing where there is but one."""
        return f" of {self.series}" if self.series else ""

    @property
    def timed(self) -> bool:
        """Whether the categories are months, years or days."""
        return self.data.ordered and self.data.place != "for"

    @property
    def whole(self) -> bool:
        """Whether exact whole numbers are printed, which can be added up."""
        return self.data.printed and all(value == int(value) for value in self.named.values())

    def ranked(self) -> list[str]:
        """Its categories, the one with the highest value first."""
        return sorted(self.named, key=self.named.__getitem__, reverse=True)

    @property
    def traits(self) -> set[str]:
        """What special wordings may rest on: the kind of chart, its categories, and what it measures."""
        data = self.data
        found = {"lines" if data.kind == "line" and self.series else data.kind}
        held = {"timed": self.timed, "counted": data.counted, "amount": data.amount}
        return found | {
            name for name, value in held.items() if value and (name == "timed" or not self.series)
        }

    def say(self, rng: random.Random, phrases: str | dict[str, str], **words: str) -> str:
        """One of the phrases with its gaps filled; of years and ages, one that cannot mean these themselves.

        What is best is said only where more is better.

        phrases  separated by bars; or such by trait, where in half of all cases those of a trait of the chart
                 take the place of those for "any"
        """
        if isinstance(phrases, dict):
            special = [text for trait, text in phrases.items() if trait in self.traits]
            phrases = rng.choice(special) if special and rng.random() < 0.5 else phrases["any"]
        data = self.data
        if not data.gain:
            phrases = "|".join(phrase for phrase in phrases.split("|") if not _JUDGING.search(phrase))
        if any(label[0].isdigit() for label in data.labels):
            told = [phrase for phrase in phrases.split("|") if _ABOUT_VALUES.search(phrase)]
            phrases = "|".join(told) or phrases
        shape = {"pie": "slice", "bar": "bar", "hbar": "bar"}.get(data.kind, "category")
        thing = rng.choice((data.noun, data.noun, "category", shape))
        known = {"noun": data.noun, "nouns": data.nouns, "place": data.place, "thing": thing}
        known |= {"s": self.series, "of": self.of, "for_s": f" for {self.series}" if self.series else ""}
        known |= {"counted": data.counted, "amount": data.amount}
        return either(rng, phrases).format(**known | words)


def number(value: float) -> str:
    """A value as it is printed: no trailing zeros, at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _scale(highest: float) -> tuple[float, float]:
    raw = highest / 4
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    return step, step * math.ceil(highest / step - 1e-9)


def invent(rng: random.Random, kind: str, printed: bool, most: int = 8) -> ChartData:
    """A chart of this kind: topic, two to `most` categories, one to three series.

    printed  whether values are to stand on it; several lines would hide each other's and never have them
    """
    topic = rng.choice(made_up()["chart_topics"])
    pool = topic["labels"]
    fewest = 2 if kind in ("bar", "hbar", "pie") else 3
    count = rng.randint(fewest, max(fewest, min(_MOST[kind], most, len(pool))))
    first = rng.randint(0, len(pool) - count)
    labels = tuple(pool[first : first + count] if topic["ordered"] else rng.sample(pool, count))
    several = kind == "grouped" or (kind == "line" and rng.random() < 0.3)
    printed = printed and not (kind == "line" and several)
    fresh = [names for names in made_up()["chart_series"] if not set(names) & set(pool)]
    series = tuple(rng.choice(fresh)) if several else ("",)
    if kind == "pie":
        values: tuple[tuple[float, ...], ...] = (_shares(rng, count),)
    elif printed:
        values = tuple(_any(rng, count, topic["span"]) for _ in series)
    else:
        values = _readable(rng, count, len(series), topic["span"][1], apart=kind == "line")
    if kind in ("hbar", "dots") and not topic["ordered"] and rng.random() < 0.6:
        values = (tuple(sorted(values[0], reverse=True)),)
    title = rng.choice(topic["titles"]) if rng.random() < 0.85 else ""
    nouns = _NOUNS.get(topic["titles"][0], ("category", "categories", "for"))
    return ChartData(kind, title, labels, series, values, printed or kind == "pie", *nouns, topic["ordered"])


def _any(rng: random.Random, count: int, span: tuple[int, int]) -> tuple[float, ...]:
    """`count` different values of a span, now and then with tenths."""
    low, high = span
    tenths = high < 100 and rng.random() < 0.15
    slots = rng.sample(range(low, high, max(1, (high - low) // 40)), count)
    return tuple(value + rng.randint(1, 9) / 10 if tenths else float(value) for value in slots)


def _readable(
    rng: random.Random, count: int, series: int, high: float, *, apart: bool
) -> tuple[tuple[float, ...], ...]:
    """Values to be told by eye: whole quarters or fifths of the axis' step, none below a fifth of its end.

    apart  no two series have the same value in a category, where one point would hide the other
    """
    scale = _scale(high * rng.uniform(0.45, 1))
    step, end = scale
    grain = step / 4 if step % 4 == 0 else step / 5
    slots = [grain * i for i in range(math.ceil(end / 5 / grain), round(end / grain) + 1)]
    while True:
        values = tuple(tuple(float(slot) for slot in rng.sample(slots, count)) for _ in range(series))
        columns = list(zip(*values, strict=True))
        distinct = all(len(set(column)) == series for column in columns)
        if _scale(max(map(max, values))) == scale and (distinct or not apart):
            return values


def _shares(rng: random.Random, count: int) -> tuple[float, ...]:
    """Whole percentages that sum to 100, all different, none below 8, where its number has no room."""
    while True:
        cuts = sorted(rng.sample(range(8, 93), count - 1))
        shares = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        if min(shares) >= 8 and len(set(shares)) == count:
            return tuple(float(share) for share in shares)
