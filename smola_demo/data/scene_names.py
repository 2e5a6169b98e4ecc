"""A solid as questions see it: its attributes, the words for them, and names that single it out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from smola_demo.data.shape_names import color_answers, either, passes

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

# What a solid can be, by attribute, in the order in which attributes are said.
VALUES = {
    "size": ("large", "small"),
    "color": ("red", "green", "blue", "yellow", "purple", "pink", "brown", "gray", "cyan"),
    "material": ("matte", "shiny"),
    "form": ("sphere", "cube", "cylinder", "cone"),
}
# What people say for each value but a colour; answers take all of them, questions one.
WORDS = {
    "large": "large|big",
    "small": "small|tiny",
    "shiny": "shiny|metal",
    "matte": "matte|rubber",
    "sphere": "sphere|ball",
    "cube": "cube|block",
}


@dataclass(frozen=True)
class Seen:
    """A solid as questions see it; `across` in picture widths from the left, `inwards` in world units."""

    form: str
    color: str
    material: str
    size: str
    across: float
    inwards: float

    def fits(self, wanted: dict[str, str]) -> bool:
        """Whether it has all these values, by attribute."""
        return all(getattr(self, attribute) == value for attribute, value in wanted.items())

    def passes(self, wanted: dict[str, str]) -> bool:
        """Whether somebody may say so of it: cyan may be called blue."""
        return all(passes(getattr(self, attribute), value) for attribute, value in wanted.items())


def number(seen: Sequence[Seen], wanted: dict[str, str]) -> int | None:
    """How many solids have all these values; None where another one passes for such a one."""
    fitting = sum(s.fits(wanted) for s in seen)
    return fitting if fitting == sum(s.passes(wanted) for s in seen) else None


def answers(value: str) -> tuple[str, ...]:
    """All that may be answered for a value, the usual word first."""
    return tuple(WORDS[value].split("|")) if value in WORDS else color_answers(value)


def said(rng: random.Random, wanted: dict[str, str]) -> str:
    """A noun with these attributes: "small red ball", "shiny thing"."""
    words = [either(rng, WORDS[value]) if a in ("size", "material") else value for a, value in wanted.items()]
    if wanted.get("form") in WORDS and rng.random() < 0.25:
        words[-1] = WORDS[wanted["form"]].split("|")[1]
    return " ".join(words if "form" in wanted else [*words, either(rng, "object|thing")])


def usable(seen: Sequence[Seen]) -> list[str]:
    """Attributes that may be asked about: one size alone has nothing to be small or large beside."""
    return [a for a in VALUES if a != "size" or len({s.size for s in seen}) > 1]


def some_of(rng: random.Random, like: Seen, attributes: Sequence[str]) -> dict[str, str]:
    """One to three of these attributes with the values of a solid."""
    chosen = rng.sample(attributes, rng.choice((1, 1, 2, 2, 3)) if len(attributes) > 2 else 1)
    return {a: getattr(like, a) for a in VALUES if a in chosen}


def naming(rng: random.Random, one: Seen, seen: Sequence[Seen], but: str = "") -> str | None:
    """Words for this solid alone, as few as do, without the attribute `but`; None where there are none."""
    attributes = [a for a in usable(seen) if a != but]
    for few in (1, 2, 3):
        choices = list(combinations(attributes, few))
        rng.shuffle(choices)
        for chosen in choices:
            wanted = {a: getattr(one, a) for a in chosen}
            if number(seen, wanted) == 1:
                return said(rng, wanted)
    return None
