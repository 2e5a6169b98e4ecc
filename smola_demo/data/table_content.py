"""What stands in drawn tables: a topic, its rows, and columns of prices, times, numbers and words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from smola_demo.data.vocabulary import made_up, tables

if TYPE_CHECKING:
    import random

MOST_ROWS = 9


@dataclass(frozen=True)
class Column:
    """One column beside the first.

    head      what is printed above it, `said` what a question calls it
    cells     what is printed, one a row
    values    the numbers behind the cells, none twice (times in minutes); empty for words
    phrases   how people ask about it, by what they ask: "ask", "most", "least", "more"; bars between wordings
    counted   whether its values can be counted or compared (a room number cannot)
    """

    head: str
    said: str
    cells: tuple[str, ...]
    values: tuple[float, ...]
    phrases: dict[str, str]
    counted: bool


@dataclass(frozen=True)
class TableData:
    """A table: title (or ""), what a row is, the heading and the cells of the first column, and the others.

    naming   how a row is named in a sentence; {row} is its first cell
    """

    title: str
    noun: str
    nouns: str
    naming: str
    key: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]

    def narrower(self) -> TableData:
        """The table without its last column."""
        return replace(self, columns=self.columns[:-1])


def _pool(pool: str | list[str]) -> list[str]:
    if isinstance(pool, list):
        return pool
    return tables()[pool] if pool in tables() else made_up()[pool]


def _column(rng: random.Random, told: dict[str, Any], count: int, before: tuple[float, ...]) -> Column:
    """A column of `count` cells; `before` are the times of the column before it, for "later" ones."""
    kind = told["kind"]
    values: tuple[float, ...] = ()
    if kind == "pool":
        cells = tuple(rng.choice(_pool(told["pool"])) for _ in range(count))
    else:
        low, high = told["span"]
        if kind in ("time", "later"):
            low, high = -(-low // 5), high // 5
        whole = rng.sample(range(low, high + 1), count)
        if kind == "later":
            values = tuple(start + 5.0 * extra for start, extra in zip(before, whole, strict=True))
            while len(set(values)) < count:  # two trains may not arrive at once: which is last must be clear
                whole = rng.sample(range(low, high + 1), count)
                values = tuple(start + 5.0 * extra for start, extra in zip(before, whole, strict=True))
        elif kind == "time":
            values = tuple(5.0 * n for n in whole)
        elif kind == "money":
            ends = rng.choice(((0, 50, 99, 25), (0,), (95, 99, 49)))
            values = tuple(n + rng.choice(ends) / 100 for n in whole)
        else:
            values = tuple(n + (rng.randint(0, 9) / 10 if kind == "decimal" else 0.0) for n in whole)
        sign = rng.choice(("$", "", "")) if kind == "money" else ""
        cells = tuple(sign + _printed(kind, value) for value in values)
    phrases = {key: told[key] for key in ("ask", "most", "least", "more") if key in told}
    return Column(rng.choice(told["head"]), told["said"], cells, values, phrases, told.get("count", True))


def _printed(kind: str, value: float) -> str:
    if kind in ("time", "later"):
        return f"{int(value) // 60}:{int(value) % 60:02d}"
    if kind == "money":
        return f"{value:.2f}"
    return f"{value:.1f}" if kind == "decimal" else f"{value:.0f}{'%' if kind == 'percent' else ''}"


def invent(rng: random.Random) -> TableData:
    """A table of 2 to 9 rows with one to four columns beside the first."""
    topic = rng.choice(tables()["topics"])
    pool = _pool(topic["pool"])
    count = rng.randint(2, min(MOST_ROWS, len(pool)))
    first = rng.randint(0, len(pool) - count)
    labels = tuple(pool[first : first + count] if topic.get("ordered") else rng.sample(pool, count))
    columns: list[Column] = []
    for told in topic["columns"][: rng.randint(1, len(topic["columns"]))]:
        columns.append(_column(rng, told, count, columns[-1].values if columns else ()))
    if columns[0].values and not topic.get("ordered") and rng.random() < 0.4:  # tables are often sorted
        order = sorted(range(count), key=columns[0].values.__getitem__, reverse=rng.random() < 0.7)
        labels = tuple(labels[i] for i in order)
        columns = [
            replace(
                c,
                cells=tuple(c.cells[i] for i in order),
                values=tuple(c.values[i] for i in order if c.values),
            )
            for c in columns
        ]
    title = rng.choice(topic["titles"]) if rng.random() < 0.75 else ""
    nouns = topic.get("nouns", f"{topic['noun']}{'es' if topic['noun'].endswith('sh') else 's'}")
    return TableData(
        title, topic["noun"], nouns, topic["naming"], rng.choice(topic["key"]), labels, tuple(columns)
    )
