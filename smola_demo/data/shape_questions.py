"""Questions on drawn shapes, in the many ways people put them; every answer is computed from the objects.

Yes and no come equally often, so that neither is a good guess.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from smola_demo.data.row import QA

if TYPE_CHECKING:
    from smola_demo.data.shapes import Shape

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
FORMS = (
    "circle",
    "square",
    "triangle",
    "rectangle",
    "star",
    "diamond",
    "pentagon",
    "hexagon",
    "oval",
    "cross",
    "heart",
    "arrow",
)
COLOR_NAMES = (
    "red",
    "green",
    "blue",
    "yellow",
    "orange",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
    "teal",
)

Asker = Callable[[random.Random, "Sequence[Shape]", str], "QA | None"]


def article(noun: str) -> str:
    """The noun with its indefinite article: "a square", "an orange oval"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """The noun for several: "crosses", "red circles"."""
    return noun + ("es" if noun.endswith("s") else "s")


def _kind(shape: Shape) -> str:
    return f"{shape.color} {shape.form}"


def _yes(truth: bool) -> tuple[str, ...]:
    return ("yes",) if truth else ("no",)


def _only(values: Sequence[str]) -> list[str]:
    return [value for value, n in Counter(values).items() if n == 1]


def _caption(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA:
    counts = Counter(_kind(shape) for shape in shapes).most_common()
    parts = [article(kind) if n == 1 else f"{NUMBERS[n]} {plural(kind)}" for kind, n in counts]
    what = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    ground = f" on {article(background)} background" if background else ""
    sentence = f"{what}{ground}."
    first = sentence[0].upper() + sentence[1:]
    return QA("caption", None, (first, f"A drawing of {sentence}", f"{what[0].upper()}{what[1:]}."))


def _count(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA:
    one = rng.choice(shapes)
    if rng.random() < 0.15:
        one_form, one_color = rng.choice(FORMS), rng.choice(COLOR_NAMES)
    else:
        one_form, one_color = one.form, one.color
    thing = rng.choice(("shape", "object"))
    choice = rng.random()
    if choice < 0.3:
        noun, number = thing, len(shapes)
    elif choice < 0.55:
        noun, number = one_form, sum(s.form == one_form for s in shapes)
    elif choice < 0.75:
        noun, number = f"{one_color} {thing}", sum(s.color == one_color for s in shapes)
    elif choice < 0.94:
        noun, number = (
            f"{one_color} {one_form}",
            sum((s.form, s.color) == (one_form, one_color) for s in shapes),
        )
    elif rng.random() < 0.5:
        noun, number = f"different {_color(rng)}", len({s.color for s in shapes})
    else:
        noun, number = "different kinds of shape", len({s.form for s in shapes})
    many = noun if noun.startswith("different kinds") else plural(noun)
    question = rng.choice(
        (
            f"How many {many} are there?",
            f"How many {many} are there?",
            f"How many {many} do you see?",
            f"How many {many} are in the image?",
            f"How many {many} are in the picture?",
            f"How many {many} can you count?",
            f"Count the {many}.",
            f"What is the number of {many}?",
        )
    )
    return QA("count", question, (str(number),))


def _color(rng: random.Random) -> str:
    return "colour" if rng.random() < 0.3 else "color"


def _color_of(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    word = _color(rng)
    if len({s.color for s in shapes}) == 1 and rng.random() < 0.6:
        noun = rng.choice(("shape", "object")) if len(shapes) == 1 else rng.choice(("shapes", "objects"))
        answer = shapes[0].color
    else:
        forms = _only([s.form for s in shapes])
        if not forms:
            return None
        noun = rng.choice(forms)
        answer = next(s.color for s in shapes if s.form == noun)
    be = "are" if noun.endswith("ects") or noun == "shapes" else "is"
    question = rng.choice(
        (
            f"What {word} {be} the {noun}?",
            f"What is the {word} of the {noun}?",
            f"Which {word} {be} the {noun}?",
        )
    )
    return QA("vqa", question, (answer,))


def _form_of(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    if len(shapes) == 1 and rng.random() < 0.6:
        question = rng.choice(
            (
                "What shape is in the image?",
                "What shape is this?",
                "What shape does the image contain?",
                "What shape is present?",
                "Which shape is shown?",
                "What is the shape in the picture?",
                "What is in the image?",
                "What object is shown?",
            )
        )
        form = shapes[0].form
        return QA("vqa", question, (form, _kind(shapes[0])))
    colors = _only([s.color for s in shapes])
    if not colors:
        return None
    color = rng.choice(colors)
    form = next(s.form for s in shapes if s.color == color)
    phrases = (
        "What shape is {}?",
        "What is the {} shape?",
        "What shape is the {} object?",
        "Which shape is {}?",
        "What is the {} object?",
    )
    return QA("vqa", rng.choice(phrases).format(color), (form,))


def _exists(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA:
    there = rng.random() < 0.5
    one = rng.choice(shapes)
    level = rng.randrange(3)
    have = {(s.color, s.form) for s in shapes}
    if there:
        color, form = one.color, one.form
    else:
        near = [(one.color, f) for f in FORMS] + [(c, one.form) for c in COLOR_NAMES]
        color, form = rng.choice(near)
        if level == 0:
            form = rng.choice([f for f in FORMS if all(f != s.form for s in shapes)])
        elif level == 1:
            color = rng.choice([c for c in COLOR_NAMES if all(c != s.color for s in shapes)])
        elif (color, form) in have:
            color = rng.choice([c for c in COLOR_NAMES if all(c != s.color for s in shapes)])
    noun = (form, f"{color} {rng.choice(('shape', 'object'))}", f"{color} {form}")[level]
    a, picture = article(noun), rng.choice(("image", "picture"))
    positive = (
        f"Is there {a}?",
        f"Is there {a} in the {picture}?",
        f"Is there {a} in the {picture}?",
        f"Are there any {plural(noun)}?",
        f"Does the {picture} contain {a}?",
        f"Does the {picture} show {a}?",
        f"Do you see {a}?",
        f"Can you see {a}?",
        f"Is {a} present?",
        f"Is {a} in the {picture}?",
    )
    negative = (
        f"Is there no {noun}?",
        f"Is no {noun} present?",
        f"Does the {picture} not contain {a}?",
        f"Is there not {a}?",
    )
    if rng.random() < 0.2:
        return QA("vqa", rng.choice(negative), _yes(not there))
    return QA("vqa", rng.choice(positive), _yes(there))


def _is_it(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    forms = _only([s.form for s in shapes])
    if background and rng.random() < 0.2:
        color = background if rng.random() < 0.5 else rng.choice([c for c in COLOR_NAMES if c != background])
        return QA("vqa", f"Is the background {color}?", _yes(color == background))
    if not forms:
        return None
    form = rng.choice(forms)
    right = next(s.color for s in shapes if s.form == form)
    color = right if rng.random() < 0.5 else rng.choice([c for c in COLOR_NAMES if c != right])
    noun = "shape" if len(shapes) == 1 and rng.random() < 0.5 else form
    phrase = rng.choice((f"Is the {noun} {color}?", f"Is {color} the {_color(rng)} of the {noun}?"))
    return QA("vqa", phrase, _yes(color == right))


def _ground(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    if not background:
        return None
    word = _color(rng)
    return QA(
        "vqa",
        rng.choice((f"What {word} is the background?", f"What is the background {word}?")),
        (background,),
    )


def _side(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    """The outermost object on one side, asked only where it is clearly the outermost."""
    if len(shapes) < 2:
        return None
    side = rng.choice(("left", "right", "top", "bottom"))
    sign = 1 if side in ("left", "top") else -1
    order = sorted(shapes, key=lambda s: sign * (s.x if side in ("left", "right") else s.y))
    gap = abs(order[0].x - order[1].x) if side in ("left", "right") else abs(order[0].y - order[1].y)
    if gap < 22:
        return None
    place = f"at the {side}" if side in ("top", "bottom") else f"on the {side}"
    far = {
        "left": "furthest to the left",
        "right": "furthest to the right",
        "top": "highest",
        "bottom": "lowest",
    }[side]
    if len(shapes) > 2:
        place = rng.choice((far, f"{place} of the image"))
    if rng.random() < 0.5:
        return QA("vqa", f"What shape is {place}?", (order[0].form, _kind(order[0])))
    return QA("vqa", f"What {_color(rng)} is the shape {place}?", (order[0].color,))


def _relation(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    kinds = _only([_kind(s) for s in shapes])
    if len(kinds) < 2:
        return None
    a, b = (next(s for s in shapes if _kind(s) == kind) for kind in rng.sample(kinds, 2))
    forms = Counter(s.form for s in shapes)
    name_a, name_b = ((s.form if forms[s.form] == 1 and rng.random() < 0.5 else _kind(s)) for s in (a, b))
    choice = rng.randrange(3)
    if choice == 0 and max(a.radius, b.radius) > 1.35 * min(a.radius, b.radius):
        word, truth = rng.choice(
            (
                ("bigger", a.radius > b.radius),
                ("smaller", a.radius < b.radius),
                ("larger", a.radius > b.radius),
            )
        )
        return QA("vqa", f"Is the {name_a} {word} than the {name_b}?", _yes(truth))
    if choice == 1 and abs(a.x - b.x) > 25:
        side, truth = rng.choice(
            (("to the left of", a.x < b.x), ("to the right of", a.x > b.x), ("left of", a.x < b.x))
        )
        return QA("vqa", f"Is the {name_a} {side} the {name_b}?", _yes(truth))
    if abs(a.y - b.y) > 25:
        side, truth = rng.choice((("above", a.y < b.y), ("below", a.y > b.y), ("under", a.y > b.y)))
        return QA("vqa", f"Is the {name_a} {side} the {name_b}?", _yes(truth))
    return None


def _where(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    kinds = _only([s.form for s in shapes])
    if not kinds:
        return None
    form = rng.choice(kinds)
    shape = next(s for s in shapes if s.form == form)
    across = "left" if shape.x < 95 else "right" if shape.x > 161 else ""
    down = "top" if shape.y < 95 else "bottom" if shape.y > 161 else ""
    answer = " ".join(word for word in (down, across) if word) or "center"
    noun = rng.choice(("shape", shape.form)) if len(shapes) == 1 else shape.form
    answers = (answer, "middle", "centre") if answer == "center" else (answer,)
    return QA("vqa", rng.choice((f"Where is the {noun}?", f"Where in the image is the {noun}?")), answers)


def _compare(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    if len(shapes) < 2:
        return None
    choice = rng.randrange(5)
    if choice == 0:
        thing, values = rng.choice(
            ((_color(rng), {s.color for s in shapes}), ("shape", {s.form for s in shapes}))
        )
        phrase = f"Are all the {'shapes' if thing != 'shape' else 'objects'} the same {thing}?"
        return QA("vqa", phrase, _yes(len(values) == 1))
    if choice == 1:
        limit = max(1, len(shapes) + rng.choice((-2, -1, 0, 1)))
        return QA(
            "vqa",
            f"Are there more than {NUMBERS[min(limit, 10)]} shapes?",
            _yes(len(shapes) > min(limit, 10)),
        )
    by = Counter(s.form for s in shapes) if choice < 4 else Counter(s.color for s in shapes)
    top = by.most_common(2)
    if len(top) < 2:
        return None
    if choice == 2:
        (a, n), (b, m) = rng.sample(list(by.items()), 2)
        return QA("vqa", f"Are there more {plural(a)} than {plural(b)}?", _yes(n > m))
    if top[0][1] == top[1][1]:
        return None
    return QA("vqa", f"What is the most common {'shape' if choice == 3 else _color(rng)}?", (top[0][0],))


def _extreme(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    if len(shapes) < 2:
        return None
    big = rng.random() < 0.5
    order = sorted(shapes, key=lambda s: s.radius, reverse=big)
    if max(order[0].radius, order[1].radius) < 1.2 * min(order[0].radius, order[1].radius):
        return None
    word = rng.choice(("largest", "biggest")) if big else "smallest"
    if rng.random() < 0.5:
        return QA("vqa", f"What {_color(rng)} is the {word} shape?", (order[0].color,))
    return QA("vqa", f"What is the {word} object?", (_kind(order[0]), order[0].form))


_ASKERS: tuple[Asker, ...] = (
    _color_of,
    _form_of,
    _exists,
    _exists,
    _is_it,
    _ground,
    _side,
    _relation,
    _where,
    _compare,
    _extreme,
)


def ask(rng: random.Random, shapes: Sequence[Shape], background: str) -> tuple[QA, ...]:
    """Up to ten questions on one scene, no question twice: a caption, counts, and the rest in random order."""
    found = [_caption(rng, shapes, background), *(_count(rng, shapes, background) for _ in range(3))]
    askers = list(_ASKERS)
    rng.shuffle(askers)
    found += [qa for asker in askers if (qa := asker(rng, shapes, background))][:6]
    unique = {qa.question: qa for qa in found}
    return tuple(unique.values())
