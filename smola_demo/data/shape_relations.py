"""Questions on where drawn shapes are, which stands out, and what there is more of.

Each is asked only where a person would not hesitate about the answer; `shape_pairs` has those on two objects.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from smola_demo.data import shape_pairs
from smola_demo.data.row import QA
from smola_demo.data.shape_names import (
    NUMBERS,
    among,
    apart,
    color_answers,
    color_word,
    different,
    either,
    form_answers,
    plural,
    single,
    yes_no,
)
from smola_demo.data.shape_outlines import area, sides
from smola_demo.data.shape_pairs import CLEAR, beyond, larger

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from smola_demo.data.shape_names import Shape

_SIDE = 256
_CUTS = (95, 161)  # between left, middle and right, and between top, middle and bottom
_MARGIN = 12  # pixels from a cut within which people would differ
_FAR = {
    "left": "furthest to the left|leftmost",
    "right": "furthest to the right|rightmost",
    "top": "highest|furthest up",
    "bottom": "lowest|furthest down",
}


def _side(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """The outermost object on one side."""
    if len(shapes) < 2:
        return None
    side = either(rng, "left|right|top|bottom")
    axis = (lambda s: s.x) if side in ("left", "right") else (lambda s: s.y)
    order = sorted(shapes, key=axis, reverse=side in ("right", "bottom"))
    first, second = (_SIDE - axis(s) if side in ("right", "bottom") else axis(s) for s in order[:2])
    if second - first < CLEAR:
        return None
    if len(shapes) == 2:
        alone = bool(beyond(*order)[side in ("top", "bottom")])
    else:  # nothing else in that half
        alone = first < _SIDE / 2 - CLEAR and second > _SIDE / 2
    near = f"{'at' if side in ('top', 'bottom') else 'on'} the {side}"
    if alone and rng.random() < 0.7:
        if rng.random() < 0.6:
            phrases = "What is {}?|What is {}?|What shape is {}?|Which shape is {}?|What do you see {}?"
            return QA("vqa", either(rng, phrases).format(near), order[0].called)
        noun = f"{either(rng, 'shape|object')} {near}"
    else:
        place = either(rng, _FAR[side])
        if rng.random() < 0.5:
            return QA("vqa", f"What shape is {place}?", order[0].called)
        noun = f"{place} shape" if place.endswith("most") else f"shape that is {place}"
    return QA("vqa", f"What {color_word(rng)} is the {noun}?", color_answers(order[0].color))


def _region(at: float) -> int | None:
    """0, 1 or 2: the first, middle or last third of the picture; None near a cut."""
    if any(abs(at - cut) < _MARGIN for cut in _CUTS):
        return None
    return sum(at > cut for cut in _CUTS)


_MIDDLE = tuple(f"{where}{word}" for where in ("", "in the ") for word in ("center", "centre", "middle"))
_EDGES = {
    side: (side, f"{near} the {side}", f"{side} side", f"{near} the {side} side")
    for side, near in (("left", "on"), ("right", "on"), ("top", "at"), ("bottom", "at"))
}


def _places(across: int, down: int) -> tuple[str, ...]:
    """All words for one of nine regions of the picture, the usual one first."""
    side, level = ("left", "", "right")[across], ("top", "", "bottom")[down]
    if not (side and level):
        return _EDGES[side or level] if side or level else _MIDDLE
    corners = [f"{word} {side}" for word in (level, {"top": "upper", "bottom": "lower"}[level])]
    corners += [f"{corner} corner" for corner in corners]
    return (*corners, *(f"{where} the {corner}" for where in ("in", "at") for corner in corners))


def _where(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    forms = single([s.form for s in shapes])
    if not forms:
        return None
    form = rng.choice(forms)
    shape = next(s for s in shapes if s.form == form)
    across, down = _region(shape.x), _region(shape.y)
    if across is None or down is None or sides(shape)[0] > _SIDE / 2:  # nor of one that fills the picture
        return None
    noun = either(rng, f"shape|{form}") if len(shapes) == 1 else form
    asked = either(rng, f"Where is the {noun}?|Where in the image is the {noun}?")
    return QA("vqa", asked, _places(across, down))


def _alike(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    if len(shapes) < 2:
        return None
    by_color = rng.random() < 0.5
    number = different([s.color if by_color else s.form for s in shapes])
    if number is None:
        return None
    if by_color:
        return QA("vqa", f"Are all the shapes the same {color_word(rng)}?", yes_no(number == 1))
    return QA("vqa", "Do all the objects have the same shape?", yes_no(number == 1))


def _more(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """More than a number, or more of one kind than of another."""
    if len(shapes) == 1:  # as often as the same is asked of several, so that the answer stays open
        return _several(rng, shapes) if rng.random() < 0.3 else None
    by = Counter(s.form for s in shapes)
    if len(set(by.values())) > 1 and rng.random() < 0.5:
        a, b = rng.sample(sorted(by), 2)
        if not (among([*by], a) and among([*by], b)):
            return None
        return QA("vqa", f"Are there more {plural(a)} than {plural(b)}?", yes_no(by[a] > by[b]))
    truth = rng.random() < 0.5
    limit = max(1, len(shapes) - rng.randint(1, 2)) if truth else min(10, len(shapes) + rng.randint(0, 1))
    if limit == 1:
        return _several(rng, shapes)
    return QA("vqa", f"Are there more than {NUMBERS[limit]} shapes?", yes_no(len(shapes) > limit))


def _several(rng: random.Random, shapes: Sequence[Shape]) -> QA:
    thing = either(rng, "shape|object")
    if rng.random() < 0.7:
        return QA("vqa", f"Is there more than one {thing}?", yes_no(len(shapes) > 1))
    return QA("vqa", f"Is there only one {thing}?", yes_no(len(shapes) == 1))


def _exactly(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """Whether there are so many and no more: the right number, or one beside it."""
    one = rng.choice(shapes)
    noun, number = rng.choice(
        (
            ("shape", len(shapes)),
            (one.form, among([s.form for s in shapes], one.form)),
            (f"{one.color} {either(rng, 'shape|object')}", among([s.color for s in shapes], one.color)),
        )
    )
    if number is None:
        return None
    truth = rng.random() < 0.5
    beside = number + 1 if number == 1 or (number < 10 and rng.random() < 0.5) else number - 1
    asked = number if truth else beside
    be, things = ("Is", noun) if asked == 1 else ("Are", plural(noun))
    return QA("vqa", f"{be} there exactly {NUMBERS[asked]} {things}?", yes_no(truth))


def _commonest(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    thing = either(rng, f"shape|{color_word(rng)}")
    values = [s.form if thing == "shape" else s.color for s in shapes]
    top = Counter(values).most_common(2)
    if len(top) < 2 or top[0][1] == top[1][1] or not apart(values):
        return None
    if thing == "shape":
        return QA("vqa", "What is the most common shape?", form_answers(top[0][0]))
    question = f"What is the most common {thing} of the shapes?"  # else a coloured ground would be it
    return QA("vqa", question, color_answers(top[0][0]))


def _extreme(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """The largest or smallest object, where it stands out."""
    if len(shapes) < 2:
        return None
    big = rng.random() < 0.5
    first, *others = sorted(shapes, key=area, reverse=big)
    if not all(larger(*((first, s) if big else (s, first))) for s in others):
        return None
    word = either(rng, "largest|biggest") if big else "smallest"
    if rng.random() < 0.5:
        return QA("vqa", f"What {color_word(rng)} is the {word} shape?", color_answers(first.color))
    asked = either(rng, "What shape is the {} object?|What is the {} object?|Which shape is the {}?")
    return QA("vqa", asked.format(word), first.called)


ASKERS = (_side, *shape_pairs.ASKERS, _where, _alike, _more, _exactly, _commonest, _extreme)
