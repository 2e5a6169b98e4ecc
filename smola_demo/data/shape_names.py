"""A drawn shape as questions see it: its names, where it is, and the grammar to speak of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from smola_demo.data import ground

FORMS = (
    "circle", "square", "triangle", "rectangle", "star", "diamond",
    "pentagon", "hexagon", "oval", "cross", "heart", "arrow",
)  # fmt: skip
COLOR_NAMES = (
    "red", "green", "blue", "yellow", "orange", "purple",
    "pink", "brown", "black", "white", "gray", "teal",
)  # fmt: skip
# What people also call a colour or a form, which answers take too.
_COLORS_ALSO = {
    "gray": ("grey",),
    "teal": ("turquoise", "cyan", "blue green", "aqua"),
    "cyan": ("turquoise", "teal", "light blue", "aqua"),
    "purple": ("violet",),
}
_FORMS_ALSO = {"oval": ("ellipse",), "diamond": ("rhombus",), "cross": ("plus", "plus sign")}
# What a form or colour may pass for as well, so that nobody is asked to deny it, nor to count without it.
_PASSES_FOR = {
    "square": ("rectangle",),
    "circle": ("oval",),
    "teal": ("green", "blue"),
    "cyan": ("green", "blue"),
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Shape:
    """One object: its names and where it is; x, y and radius in pixels of a 256-pixel picture."""

    form: str
    color: str
    rgb: ground.RGB
    x: float
    y: float
    radius: float
    angle: float
    stretch: float

    @property
    def kind(self) -> str:
        """Colour and form: "red circle"."""
        return f"{self.color} {self.form}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """Its kind in all the words that people have for it, the usual ones first."""
        both = product(color_answers(self.color), form_answers(self.form))
        return tuple(f"{color} {form}" for color, form in both)

    @property
    def called(self) -> tuple[str, ...]:
        """All that answers what shape it is: its form, alone or with its colour."""
        return (*form_answers(self.form), *self.kinds)


def color_answers(name: str) -> tuple[str, ...]:
    """All that may be answered for a colour, its usual name first."""
    return (name, *_COLORS_ALSO.get(name, ()))


def form_answers(name: str) -> tuple[str, ...]:
    """All that may be answered for a form, its usual name first."""
    return (name, *_FORMS_ALSO.get(name, ()))


def article(noun: str) -> str:
    """The noun with its indefinite article: "a square", "an orange oval"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """The noun for several: "crosses", "red circles"."""
    return noun + ("es" if noun.endswith("s") else "s")


def yes_no(truth: bool) -> tuple[str, ...]:
    """The answer to a closed question."""
    return ("yes",) if truth else ("no",)


def once(values: Sequence[str]) -> list[str]:
    """The values that occur exactly once, in order."""
    return [value for value, n in Counter(values).items() if n == 1]


def passes(one: str, name: str) -> bool:
    """Whether what is called `one` may be called `name` too, word by word: a teal square a green square."""
    pairs = zip(one.split(), name.split(), strict=True)
    return all(word == said or said in _PASSES_FOR.get(word, ()) for word, said in pairs)


def among(values: Sequence[str], *names: str) -> int | None:
    """How many of the values are one of the names; None where another one passes for one of them."""
    if any(passes(value, name) for value in set(values).difference(names) for name in names):
        return None
    return sum(value in names for value in values)


def single(values: Sequence[str]) -> list[str]:
    """The values that occur exactly once and that no other one passes for, in order."""
    return [value for value in once(values) if among(values, value)]


def apart(values: Sequence[str]) -> bool:
    """Whether none of the values passes for another of them."""
    return all(among(values, value) for value in set(values))


def different(values: Sequence[str]) -> int | None:
    """How many different ones there are; None where people would differ."""
    # Of two objects in teal one may look green and the other blue.
    unsure = any(n > 1 and len(_PASSES_FOR.get(value, ())) > 1 for value, n in Counter(values).items())
    return len(set(values)) if apart(values) and not unsure else None


def either(rng: random.Random, phrases: str) -> str:
    """One of several phrases, which are separated by bars."""
    return rng.choice(phrases.split("|"))


def color_word(rng: random.Random) -> str:
    """The word as Americans write it, color, or the British, colour."""
    return "colour" if rng.random() < 0.3 else "color"


def other(rng: random.Random, names: Sequence[str], *but: str) -> str:
    """One of the names that is none of `but`."""
    return rng.choice([name for name in names if name not in but])


def denied(rng: random.Random, names: Sequence[str], *there: str) -> str:
    """One of the names that is none of `there`, and that none of them passes for where that leaves any."""
    left = [name for name in names if not any(passes(one, name) for one in there)]
    return rng.choice(left) if left else other(rng, names, *there)


def casual(rng: random.Random, question: str) -> str:
    """Now and then as people type it: without a capital, some of these without a question mark."""
    if rng.random() > 0.15:
        return question
    small = question[0].lower() + question[1:]
    return small.rstrip("?.") if rng.random() < 0.4 else small
