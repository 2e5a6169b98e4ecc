"""Questions on two drawn shapes that their names tell apart: where one is beside the other, which is larger.

Each is asked only where a person would not hesitate about the answer.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

from smola_demo.data.row import QA
from smola_demo.data.shape_names import color_answers, color_word, either, form_answers, once, single, yes_no
from smola_demo.data.shape_outlines import area, sides

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from smola_demo.data.shape_names import Shape

CLEAR = 22  # pixels of a 256-pixel picture between two centres that nobody overlooks
_STEEP = 0.4  # of the distance the other way that an offset must have as well
_LARGER = 1.25  # times as long and as much area at least, so that a larger one is seen as such


def larger(a: Shape, b: Shape) -> bool:
    """Whether a is clearly longer and of more area than b, and no less wide: a long thin one is not large."""
    (long_a, short_a), (long_b, short_b) = sides(a), sides(b)
    return long_a >= _LARGER * long_b and short_a >= short_b and area(a) >= _LARGER * area(b)


def beyond(a: Shape, b: Shape) -> tuple[str, str]:
    """Where a is from b: ("left" or "right", "above" or "below"), either empty where it is not clear."""
    dx, dy = a.x - b.x, a.y - b.y
    across = "left" if dx < 0 else "right"
    down = "above" if dy < 0 else "below"
    return (
        across if abs(dx) > max(CLEAR, _STEEP * abs(dy)) else "",
        down if abs(dy) > max(CLEAR, _STEEP * abs(dx)) else "",
    )


def _named(rng: random.Random, shapes: Sequence[Shape]) -> list[tuple[Shape, str]]:
    """The objects that a form, a colour or both single out, each with such a name, in random order."""
    forms, colors = single([s.form for s in shapes]), single([s.color for s in shapes])
    kinds = single([s.kind for s in shapes])
    found = []
    for shape in shapes:
        names = [shape.kind, shape.kind] if shape.kind in kinds else []
        names += [shape.form] if shape.form in forms else []
        names += [f"{shape.color} {either(rng, 'shape|object')}"] if shape.color in colors else []
        if names:
            found.append((shape, rng.choice(names)))
    rng.shuffle(found)
    return found


def _relation(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """A closed question on two objects: left, right, above, below, bigger, smaller."""
    named = _named(rng, shapes)
    if len(named) < 2:
        return None
    (a, name_a), (b, name_b) = named[:2]
    across, down = beyond(a, b)
    found: list[tuple[str, bool]] = []
    if across:
        found += [(f"to the {side} of|{side} of", across == side) for side in ("left", "right")]
    if down:
        found += [("above", down == "above"), ("below|under", down == "below")]
    if larger(a, b) or larger(b, a):
        found += [("bigger than|larger than", larger(a, b)), ("smaller than", larger(b, a))]
    if not found:
        return None
    words, truth = rng.choice(found)
    return QA("vqa", f"Is the {name_a} {either(rng, words)} the {name_b}?", yes_no(truth))


def _choice(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """Which of two words is right for two objects, or which of the two is bigger."""
    named = _named(rng, shapes)
    if len(named) < 2:
        return None
    (a, name_a), (b, name_b) = named[:2]
    across, down = beyond(a, b)
    found: list[QA] = []
    if across:
        asked = either(rng, "Is the {} left or right of the {}?|Is the {} to the left or right of the {}?")
        words = (across, f"{across} of the {name_b}")
        words += tuple(f"to the {word}" for word in words)
        found.append(QA("vqa", asked.format(name_a, name_b), words))
    if down:
        question = f"Is the {name_a} above or below the {name_b}?"
        found.append(QA("vqa", question, (down, f"{down} the {name_b}")))
    for one, name, two in ((a, name_a, b), (b, name_b, a)):
        if larger(one, two):
            asked = either(rng, "Which is {}, the {} or the {}?|What is {}, the {} or the {}?")
            word = either(rng, "bigger|larger")
            found.append(QA("vqa", asked.format(word, name_a, name_b), _told_apart(one, name, two)))
        elif larger(two, one):
            asked = f"Which is smaller, the {name_a} or the {name_b}?"
            found.append(QA("vqa", asked, _told_apart(one, name, two)))
    return rng.choice(found) if found else None


def _told_apart(one: Shape, name: str, beside: Shape) -> tuple[str, ...]:
    """What one of two objects may be called: the name asked with first, then whatever the other is not."""
    words = [name, *one.kinds]
    words += form_answers(one.form) if one.form != beside.form else ()
    words += color_answers(one.color) if one.color != beside.color else ()
    return tuple(dict.fromkeys(words))


def _beside(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """What is on one side of an object, where one is and no other comes near to it."""
    for one, name in _named(rng, shapes)[:3]:
        others = [s for s in shapes if s is not one]
        axis = rng.randrange(2)
        sides_of = [beyond(s, one)[axis] for s in others]
        lone = [word for word in once(sides_of) if word]
        if not lone or "" in sides_of:
            continue
        word = rng.choice(lone)
        there = others[sides_of.index(word)]
        where = f"to the {word} of" if axis == 0 else word
        return _what(rng, there, f"{where} the {name}")
    return None


def _between(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """What is between two objects, where one is in the middle of the line and no other is near to it."""
    for (a, name_a), (b, name_b) in combinations(_named(rng, shapes), 2):
        span = math.hypot(b.x - a.x, b.y - a.y)
        ahead = ((b.x - a.x) / span, (b.y - a.y) / span)
        near, sure = [], []
        for s in (s for s in shapes if s is not a and s is not b):
            along = ((s.x - a.x) * ahead[0] + (s.y - a.y) * ahead[1]) / span
            off = abs((s.x - a.x) * ahead[1] - (s.y - a.y) * ahead[0])
            if 0 < along < 1 and off < s.radius + 2 * CLEAR:
                near.append(s)
            if 0.25 < along < 0.75 and off < 0.6 * s.radius:
                sure.append(s)
        if sure and near == sure and len(near) == 1:
            return _what(rng, sure[0], f"between the {name_a} and the {name_b}")
    return None


def _nearest(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """What is next to an object where there are two, or by far the closest where there are more."""
    named = _named(rng, shapes)
    if len(shapes) < 2 or not named:
        return None
    one, name = named[0]

    def away(s: Shape) -> float:
        return math.hypot(s.x - one.x, s.y - one.y)

    order = sorted((s for s in shapes if s is not one), key=away)
    if len(order) == 1:
        return _what(rng, order[0], f"next to the {name}")
    gaps = [away(s) - s.radius - one.radius for s in order]
    if away(order[0]) > 0.6 * away(order[1]) or gaps[0] > 0.6 * min(gaps[1:]):
        return None
    return _what(rng, order[0], f"{either(rng, 'closest|nearest')} to the {name}")


def _what(rng: random.Random, one: Shape, where: str) -> QA:
    """An open question on the object at a place: what it is, or its colour."""
    if rng.random() < 0.3:
        noun = either(rng, "shape|object")
        return QA("vqa", f"What {color_word(rng)} is the {noun} {where}?", color_answers(one.color))
    phrases = f"What is {where}?|What shape is {where}?|Which shape is {where}?"
    return QA("vqa", either(rng, phrases), one.called)


ASKERS = (_relation, _choice, _beside, _between, _nearest)


def compare(rng: random.Random, shapes: Sequence[Shape]) -> list[QA]:
    """All that can be asked of two objects, in random order, where no two objects are alike."""
    if len(once([s.kind for s in shapes])) < len(shapes) or len(shapes) < 2:
        return []
    askers = [*ASKERS, _relation, _choice]
    rng.shuffle(askers)
    return [qa for asker in askers if (qa := asker(rng, shapes))]
