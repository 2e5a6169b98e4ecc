"""Questions on where drawn shapes are, which is larger, and what there is more of.

Each is asked only where a person would not hesitate about the answer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from smola_demo.data.row import QA
from smola_demo.data.shape_names import NUMBERS, color_word, either, once, plural, yes_no

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from smola_demo.data.shape_names import Shape

_CLEAR = 22  # pixels of a 256-pixel picture between two centres that nobody overlooks
_FAR = {
    "left": "furthest to the left|leftmost",
    "right": "furthest to the right|rightmost",
    "top": "highest|at the top of the image",
    "bottom": "lowest|at the bottom of the image",
}


def _side(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """The outermost object on one side."""
    if len(shapes) < 2:
        return None
    side = either(rng, "left|right|top|bottom")
    axis = (lambda s: s.x) if side in ("left", "right") else (lambda s: s.y)
    order = sorted(shapes, key=axis, reverse=side in ("right", "bottom"))
    if abs(axis(order[0]) - axis(order[1])) < _CLEAR:
        return None
    near = f"{'at' if side in ('top', 'bottom') else 'on'} the {side}"
    place = either(rng, _FAR[side]) if len(shapes) > 2 else near
    if rng.random() < 0.5:
        return QA("vqa", f"What shape is {place}?", (order[0].form, order[0].kind))
    noun = f"{place} shape" if place.endswith("most") else f"shape that is {place}"
    if place == near:
        noun = f"shape {place}"
    return QA("vqa", f"What {color_word(rng)} is the {noun}?", (order[0].color,))


def _relation(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """A closed question on two objects: left, right, above, below, bigger, smaller."""
    kinds = once([s.kind for s in shapes])
    if len(kinds) < 2:
        return None
    a, b = (next(s for s in shapes if s.kind == kind) for kind in rng.sample(kinds, 2))
    forms = Counter(s.form for s in shapes)
    name_a, name_b = ((s.form if forms[s.form] == 1 and rng.random() < 0.5 else s.kind) for s in (a, b))
    found: list[tuple[str, bool]] = []
    big, small = (a, b) if a.radius > b.radius else (b, a)
    if _clearly_larger(big, small, 1.35):
        found += [("bigger than", a is big), ("smaller than", a is small)]
    if abs(a.x - b.x) > _CLEAR:
        found += [("to the left of", a.x < b.x), ("to the right of", a.x > b.x)]
    if abs(a.y - b.y) > _CLEAR:
        found += [("above", a.y < b.y), ("below", a.y > b.y)]
    if not found:
        return None
    words, truth = rng.choice(found)
    return QA("vqa", f"Is the {name_a} {words} the {name_b}?", yes_no(truth))


def _clearly_larger(a: Shape, b: Shape, times: float) -> bool:
    """Whether a is so many times as long as b at least, and no less wide: a long thin one is not large."""
    return a.radius >= times * b.radius and _half_width(a) >= _half_width(b)


def _half_width(shape: Shape) -> float:
    """Half the short side, as `radius` is half the long one."""
    return shape.radius * min(shape.stretch, 1 / shape.stretch)


def _beside(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """What is beside the other of two objects."""
    if len(shapes) != 2 or shapes[0].kind == shapes[1].kind:
        return None
    a, b = rng.sample(list(shapes), 2)
    if abs(a.x - b.x) > max(_CLEAR, abs(a.y - b.y)):
        where = "to the left of" if a.x < b.x else "to the right of"
    elif abs(a.y - b.y) > _CLEAR:
        where = "above" if a.y < b.y else "below"
    else:
        return None
    return QA(
        "vqa",
        either(rng, f"What is {where} the {b.kind}?|What shape is {where} the {b.kind}?"),
        (a.form, a.kind),
    )


def _where(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    forms = once([s.form for s in shapes])
    if not forms:
        return None
    form = rng.choice(forms)
    shape = next(s for s in shapes if s.form == form)
    across = "left" if shape.x < 95 else "right" if shape.x > 161 else ""
    down = "top" if shape.y < 95 else "bottom" if shape.y > 161 else ""
    answer = " ".join(word for word in (down, across) if word) or "center"
    noun = either(rng, f"shape|{form}") if len(shapes) == 1 else form
    answers = (answer, "middle", "centre") if answer == "center" else (answer,)
    return QA("vqa", either(rng, f"Where is the {noun}?|Where in the image is the {noun}?"), answers)


def _alike(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    if len(shapes) < 2:
        return None
    if rng.random() < 0.5:
        same = len({s.color for s in shapes}) == 1
        return QA("vqa", f"Are all the shapes the same {color_word(rng)}?", yes_no(same))
    return QA("vqa", "Do all the objects have the same shape?", yes_no(len({s.form for s in shapes}) == 1))


def _more(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """More than a number, or more of one kind than of another."""
    if len(shapes) < 2:
        return None
    by = Counter(s.form for s in shapes)
    if len(set(by.values())) > 1 and rng.random() < 0.5:
        a, b = rng.sample(sorted(by), 2)
        return QA("vqa", f"Are there more {plural(a)} than {plural(b)}?", yes_no(by[a] > by[b]))
    truth = rng.random() < 0.5
    limit = max(1, len(shapes) - rng.randint(1, 2)) if truth else min(10, len(shapes) + rng.randint(0, 1))
    if limit == 1:
        return QA("vqa", "Is there more than one shape?", yes_no(len(shapes) > 1))
    return QA("vqa", f"Are there more than {NUMBERS[limit]} shapes?", yes_no(len(shapes) > limit))


def _commonest(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    thing = either(rng, f"shape|{color_word(rng)}")
    top = Counter(s.form if thing == "shape" else s.color for s in shapes).most_common(2)
    if len(top) < 2 or top[0][1] == top[1][1]:
        return None
    return QA("vqa", f"What is the most common {thing}?", (top[0][0],))


def _extreme(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """The largest or smallest object, where it stands out."""
    if len(shapes) < 2:
        return None
    big = rng.random() < 0.5
    order = sorted(shapes, key=lambda s: s.radius, reverse=big)
    if not all(_clearly_larger(*((order[0], s) if big else (s, order[0])), 1.25) for s in order[1:]):
        return None
    word = either(rng, "largest|biggest") if big else "smallest"
    if rng.random() < 0.5:
        return QA("vqa", f"What {color_word(rng)} is the {word} shape?", (order[0].color,))
    return QA("vqa", f"What shape is the {word} object?", (order[0].form, order[0].kind))


ASKERS = (_side, _relation, _beside, _where, _alike, _more, _commonest, _extreme)
