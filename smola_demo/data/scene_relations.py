"""Questions on where solids stand and how they compare, asked only where a person would not hesitate."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

from smola_demo.data.row import QA
from smola_demo.data.scene_names import answers, naming, number, said, usable
from smola_demo.data.shape_names import apart, color_word, either, plural, yes_no

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from smola_demo.data.scene_names import Seen

_SIDEWAYS = 0.09  # of the picture's width between two middles that nobody overlooks
_INWARDS = 0.9  # world units
_FARTHEST = {
    "left": "leftmost object|object furthest to the left",
    "right": "rightmost object|object furthest to the right",
    "front": "object closest to the camera|object at the very front",
    "back": "object furthest from the camera|object at the very back",
}


def _order(rng: random.Random, seen: Sequence[Seen]) -> tuple[str, list[Seen], bool]:
    """(side, solids from that side on, whether the first stands out)."""
    side = either(rng, "left|right|front|back")
    key: Callable[[Seen], float] = (
        (lambda s: s.across) if side in ("left", "right") else (lambda s: s.inwards)
    )
    order = sorted(seen, key=key, reverse=side in ("right", "back"))
    gap = _SIDEWAYS if side in ("left", "right") else _INWARDS
    return side, order, len(order) > 1 and abs(key(order[0]) - key(order[1])) > gap


def _outermost(rng: random.Random, seen: Sequence[Seen]) -> QA | None:
    side, order, clear = _order(rng, seen)
    if not clear:
        return None
    noun = either(rng, _FARTHEST[side])
    if rng.random() < 0.5:
        return QA("vqa", f"What {color_word(rng)} is the {noun}?", answers(order[0].color))
    return QA("vqa", f"What shape is the {noun}?", answers(order[0].form))


def _relation(rng: random.Random, seen: Sequence[Seen]) -> QA | None:
    """A closed question on the places of two solids."""
    if len(seen) < 2:
        return None
    a, b = rng.sample(list(seen), 2)
    name_a, name_b = naming(rng, a, seen), naming(rng, b, seen)
    found: list[tuple[str, bool]] = []
    if abs(a.across - b.across) > _SIDEWAYS:
        found += [("to the left of|left of", a.across < b.across), ("to the right of", a.across > b.across)]
    if abs(a.inwards - b.inwards) > _INWARDS:
        found += [("in front of", a.inwards < b.inwards), ("behind", a.inwards > b.inwards)]
    if not found or name_a is None or name_b is None:
        return None
    words, truth = rng.choice(found)
    return QA("vqa", f"Is the {name_a} {either(rng, words)} the {name_b}?", yes_no(truth))


def _beside(rng: random.Random, seen: Sequence[Seen]) -> QA | None:
    """How many, or which one, on one side of a solid, where none stands level with it."""
    one = rng.choice(seen)
    others = [s for s in seen if s is not one]
    name = naming(rng, one, seen)
    if not others or name is None or min(abs(s.across - one.across) for s in others) < _SIDEWAYS:
        return None
    side = either(rng, "left|right")
    there = [s for s in others if (s.across < one.across) == (side == "left")]
    if len(there) == 1 and rng.random() < 0.7:
        asked = either(rng, "color|form")
        what = "shape" if asked == "form" else color_word(rng)
        return QA(
            "vqa",
            f"What {what} is the object to the {side} of the {name}?",
            answers(getattr(there[0], asked)),
        )
    return QA("count", f"How many objects are to the {side} of the {name}?", (str(len(there)),))


def _numbers(rng: random.Random, seen: Sequence[Seen]) -> QA | None:
    """More, fewer or as many of one value of an attribute as of another."""
    attribute = either(rng, "color|form|material")
    by = Counter(getattr(s, attribute) for s in seen)
    if len(by) < 2:
        return None
    values = rng.sample(sorted(by), 2)
    if any(number(seen, {attribute: value}) is None for value in values):
        return None
    a, b = (plural(said(rng, {attribute: value})) for value in values)
    more, fewer, same = (
        by[values[0]] > by[values[1]],
        by[values[0]] < by[values[1]],
        by[values[0]] == by[values[1]],
    )
    question, truth = rng.choice(
        (
            (f"Are there more {a} than {b}?", more),
            (f"Are there fewer {a} than {b}?", fewer),
            (f"Are there as many {a} as {b}?", same),
            (f"Is the number of {a} the same as the number of {b}?", same),
            (f"Is the number of {a} greater than the number of {b}?", more),
        )
    )
    return QA("vqa", question, yes_no(truth))


def _same(a: Seen, b: Seen, attribute: str) -> bool | None:
    """Whether two solids share an attribute; None where people would differ."""
    values = getattr(a, attribute), getattr(b, attribute)
    return values[0] == values[1] if apart(values) else None


def _alike(rng: random.Random, seen: Sequence[Seen]) -> QA | None:
    """Whether two solids share an attribute."""
    if len(seen) < 2:
        return None
    asked = rng.choice(usable(seen))
    same = rng.random() < 0.5
    pairs = [(a, b) for a, b in combinations(seen, 2) if _same(a, b, asked) is same]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    name_a, name_b = naming(rng, a, seen, but=asked), naming(rng, b, seen, but=asked)
    if name_a is None or name_b is None:
        return None
    word = {"color": color_word(rng), "form": "shape"}.get(asked, asked)
    phrases = f"Do the {name_a} and the {name_b} have the same {word}?"
    phrases += f"|Is the {name_a} the same {word} as the {name_b}?" if asked != "material" else ""
    return QA("vqa", either(rng, phrases), yes_no(same))


ASKERS = (_outermost, _relation, _relation, _beside, _numbers, _alike)
