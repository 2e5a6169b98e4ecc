"""Questions on drawn tables, whose answers are read or worked out from the cells.

Reading a cell is a `document` question, comparing cells is `chart` as on a chart, counting is `count`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from smola_demo.data.row import QA
from smola_demo.data.shape_names import article, casual, either, yes_no
from smola_demo.data.vocabulary import readings

if TYPE_CHECKING:
    import random

    from smola_demo.data.table_content import Column, TableData

_LOOK_UP = (
    "What is the {said} of {row}?|What is the {said} for {row}?|What {said} is given for {row}?"
    "|What does the table say about the {said} of {row}?|{row}: what is the {said}?"
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")


def _printed_first(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((cell, *readings(cell))))


def _start(question: str) -> str:
    return question[0].upper() + question[1:]


def _cancelled(data: TableData) -> set[int]:
    """The rows that do not take place: such a flight leaves at no time, whatever is printed."""
    return {i for column in data.columns for i, cell in enumerate(column.cells) if cell == "cancelled"}


def _look_up(rng: random.Random, data: TableData) -> QA:
    column, i = rng.choice(data.columns), rng.randrange(len(data.labels))
    row = data.labels[i]
    takes_place = not column.values or i not in _cancelled(data)
    if "ask" in column.phrases and rng.random() < 0.65 and takes_place:
        question = either(rng, column.phrases["ask"]).format(row=row)
    else:
        question = either(rng, _LOOK_UP).format(said=column.said, row=data.naming.format(row=row))
    return QA("document", _start(question), _printed_first(column.cells[i]))


def _reverse(rng: random.Random, data: TableData) -> QA | None:
    """The row that has a cell, where only one has it."""
    column = rng.choice(data.columns)
    once = [cell for cell, n in Counter(column.cells).items() if n == 1]
    if not once:
        return None
    cell = rng.choice(once)
    phrases = (
        f"Which {data.noun} has {cell} under {column.head}?|Which {data.noun} has the {column.said} {cell}?"
        f"|The {column.said} {cell} belongs to which {data.noun}?"
    )
    if sum(cell in c.cells for c in data.columns) == 1 and cell not in data.labels:
        phrases += f"|Which {data.noun} is in the row with {cell}?|To which {data.noun} does {cell} belong?"
    question = either(rng, phrases)
    return QA("document", question, readings(data.labels[column.cells.index(cell)]))


def _measured(rng: random.Random, data: TableData) -> Column | None:
    """A column of numbers that can be compared."""
    columns = [column for column in data.columns if column.values and column.counted]
    return rng.choice(columns) if columns else None


def _extreme(rng: random.Random, data: TableData) -> QA | None:
    column = _measured(rng, data)
    if column is None:
        return None
    most = rng.random() < 0.5
    best = (max if most else min)(range(len(column.values)), key=column.values.__getitem__)
    word = either(
        rng,
        ("latest" if most else "earliest")
        if ":" in column.cells[0]
        else ("highest|largest" if most else "lowest|smallest"),
    )
    if rng.random() < 0.3:
        return QA("chart", f"What is the {word} {column.said}?", readings(column.cells[best]))
    phrase = "" if _cancelled(data) else column.phrases.get("most" if most else "least", "")
    if not phrase or rng.random() < 0.35:
        phrase = f"Which {data.noun} has the {word} {column.said}?"
    return QA("chart", either(rng, phrase), (data.labels[best],))


def _compare(rng: random.Random, data: TableData) -> QA | None:
    column = _measured(rng, data)
    if column is None:
        return None
    i, j = rng.sample(range(len(data.labels)), 2)
    if (column.values[i] > column.values[j]) != (rng.random() < 0.5):  # yes is as common as no
        i, j = j, i
    a, b = data.labels[i], data.labels[j]
    more = column.values[i] > column.values[j]
    if "more" in column.phrases and rng.random() < 0.6:
        return QA("chart", either(rng, column.phrases["more"]).format(a=a, b=b), yes_no(more))
    high, low = ("later", "earlier") if ":" in column.cells[0] else ("higher", "lower")
    if rng.random() < 0.5:
        word, truth = rng.choice(((high, more), (low, not more)))
        named = data.naming.format(row=a), data.naming.format(row=b)
        return QA(
            "chart", f"Is the {column.said} of {named[0]} {word} than that of {named[1]}?", yes_no(truth)
        )
    word = either(rng, f"{high}|{low}")
    pair = rng.sample((a, b), 2)
    winner = a if more == (word == high) else b
    return QA("chart", f"Which has the {word} {column.said}, {pair[0]} or {pair[1]}?", (winner,))


def _sum(rng: random.Random, data: TableData) -> QA | None:
    """The sum of, or the difference between, two whole numbers."""
    column = _measured(rng, data)
    if column is None or not all(cell.isdigit() for cell in column.cells):
        return None
    i, j = rng.sample(range(len(data.labels)), 2)
    a, b = (data.naming.format(row=data.labels[n]) for n in (i, j))
    if rng.random() < 0.6:
        number = abs(column.values[i] - column.values[j])
        return QA(
            "chart", f"What is the difference in {column.said} between {a} and {b}?", (f"{number:.0f}",)
        )
    return QA(
        "chart",
        f"What is the {column.said} of {a} and {b} together?",
        (f"{column.values[i] + column.values[j]:.0f}",),
    )


def _count_rows(rng: random.Random, data: TableData) -> QA:
    phrases = (
        "How many {0} are there?|How many {0} are listed?|How many {0} are in the table?"
        "|How many rows does the table have, without the header?|How many {0} does the table show?"
    )
    if rng.random() < 0.25:
        question = either(rng, "How many columns are there?|How many columns does the table have?")
        return QA("count", question, (str(len(data.columns) + 1),))
    return QA("count", either(rng, phrases).format(data.nouns), (str(len(data.labels)),))


def _count_some(rng: random.Random, data: TableData) -> QA | None:
    """How many rows lie above or below a number, or have a word."""
    column = rng.choice([c for c in data.columns if c.counted] or [None])
    if column is None:
        return None
    if not column.values:
        cell = rng.choice(column.cells)
        question = f"How many {data.nouns} have {cell} under {column.head}?"
        return QA("count", question, (str(column.cells.count(cell)),))
    order = sorted(zip(column.values, column.cells, strict=True))
    place = rng.randrange(len(order))
    high, low = ("later than", "earlier than") if ":" in column.cells[0] else ("over", "under")
    above = rng.random() < 0.5
    number = len(order) - 1 - place if above else place
    question = (
        f"How many {data.nouns} have {article(column.said)} {high if above else low} {order[place][1]}?"
    )
    return QA("count", question, (str(number),))


def _header(rng: random.Random, data: TableData) -> QA:
    heads = [data.key, *(column.head for column in data.columns)]
    i = rng.randrange(len(heads))
    place = "last" if i == len(heads) - 1 and rng.random() < 0.5 else _ORDINALS[i]
    phrases = (
        "What is the heading of the {0} column?|What is the {0} column called?"
        "|What does the header of the {0} column say?"
    )
    return QA("document", either(rng, phrases).format(place), (heads[i],))


def _place(rng: random.Random, data: TableData) -> QA:
    i = rng.randrange(len(data.labels))
    place = "last" if i == len(data.labels) - 1 else _ORDINALS[i]
    phrases = "Which {1} is listed {0}?|Which {1} does the table list {0}?|What is the {0} {1} listed?"
    return QA("document", either(rng, phrases).format(place, data.noun), readings(data.labels[i]))


def _title(rng: random.Random, data: TableData) -> QA | None:
    if not data.title:
        return None
    phrases = (
        "What is the title of the table?|What is the title?|What is this table about?"
        "|What is the heading above the table?"
    )
    return QA("document", either(rng, phrases), (data.title,))


_ASKERS = (
    _look_up,
    _look_up,
    _look_up,
    _reverse,
    _extreme,
    _extreme,
    _compare,
    _sum,
    _count_rows,
    _count_some,
    _header,
    _place,
    _title,
)


def ask(rng: random.Random, data: TableData) -> tuple[QA, ...]:
    """Up to nine questions on one table, none twice, in random order."""
    found = [qa for asker in rng.sample(_ASKERS, len(_ASKERS)) if (qa := asker(rng, data))]
    unique = {qa.question: qa for qa in found if qa.question}
    worded = [QA(qa.task, casual(rng, question), qa.answers) for question, qa in unique.items()]
    return tuple(worded[:9])
