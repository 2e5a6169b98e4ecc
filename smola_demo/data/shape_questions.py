"""Questions on drawn shapes, in the many ways people put them; every answer is computed from the objects.

Here are captions, counts, colours, forms and existence; `shape_relations` has places, sizes and comparisons.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from smola_demo.data import shape_relations
from smola_demo.data.row import QA
from smola_demo.data.shape_names import (
    COLOR_NAMES,
    FORMS,
    NUMBERS,
    article,
    casual,
    color_word,
    either,
    once,
    other,
    plural,
    yes_no,
)

if TYPE_CHECKING:
    from smola_demo.data.shape_names import Shape

Asker = Callable[[random.Random, "Sequence[Shape]"], "QA | None"]


def _caption(shapes: Sequence[Shape], background: str) -> QA:
    counts = Counter(shape.kind for shape in shapes).most_common()
    parts = [article(kind) if n == 1 else f"{NUMBERS[n]} {plural(kind)}" for kind, n in counts]
    what = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    what = f"{what[0].upper()}{what[1:]}"
    ground = f" on {article(background)} background" if background else ""
    return QA("caption", None, (f"{what}{ground}.", f"{what}."))


def _countable(rng: random.Random, shapes: Sequence[Shape]) -> tuple[str, int]:
    """What to ask the number of, in the plural, and that number."""
    one = rng.choice(shapes)
    form, color = one.form, one.color
    if rng.random() < 0.15:  # now and then for something that is not there, or is there by chance
        form, color = rng.choice(FORMS), rng.choice(COLOR_NAMES)
    thing = either(rng, "shape|object")
    choice = rng.random()
    if choice < 0.3:
        things, number = plural(thing), len(shapes)
    elif choice < 0.55:
        things, number = plural(form), sum(s.form == form for s in shapes)
    elif choice < 0.75:
        things, number = plural(f"{color} {thing}"), sum(s.color == color for s in shapes)
    elif choice < 0.94:
        things, number = plural(f"{color} {form}"), sum((s.form, s.color) == (form, color) for s in shapes)
    elif rng.random() < 0.5:
        things, number = f"different {plural(color_word(rng))}", len({s.color for s in shapes})
    else:
        things, number = "different kinds of shapes", len({s.form for s in shapes})
    return things, number


def _how_many(rng: random.Random, things: str, number: int) -> QA:
    phrase = either(
        rng,
        "How many {} are there?|How many {} are there?|How many {} do you see?|How many {} are in the image?"
        "|How many {} are in the picture?|How many {} can you count?|Count the {}.|What is the number of {}?",
    )
    return QA("count", phrase.format(things), (str(number),))


def _color_of(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    word = color_word(rng)
    forms = once([s.form for s in shapes])
    if len({s.color for s in shapes}) == 1 and rng.random() < 0.6:
        noun = either(rng, "shape|object" if len(shapes) == 1 else "shapes|objects")
        answer = shapes[0].color
    elif forms:
        noun = rng.choice(forms)
        answer = next(s.color for s in shapes if s.form == noun)
    else:
        return None
    be = "are" if noun in ("shapes", "objects") else "is"
    phrases = "What {0} {1} the {2}?|What {0} {1} the {2}?|What is the {0} of the {2}?|Which {0} {1} the {2}?"
    return QA("vqa", either(rng, phrases).format(word, be, noun), (answer,))


def _form_of(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    if len(shapes) == 1 and rng.random() < 0.6:
        question = either(
            rng,
            "What shape is in the image?|What shape is this?|What shape does the image contain?"
            "|What shape is present?|Which shape is shown?|What is the shape in the picture?"
            "|What is in the image?|What object is shown?|What shape is in the picture?"
            "|What shape do you see?",
        )
        return QA("vqa", question, (shapes[0].form, shapes[0].kind))
    colors = once([s.color for s in shapes])
    if not colors:
        return None
    color = rng.choice(colors)
    form = next(s.form for s in shapes if s.color == color)
    phrases = (
        "What shape is {0}?|What is the {0} shape?|What shape is the {0} object?|Which shape is {0}?"
        "|What is the {0} object?|What is {0}?|What shape does the {0} object have?"
    )
    return QA("vqa", either(rng, phrases).format(color), (form,))


_POSITIVE = (
    "Is there {a}?|Is there {a} in the {picture}?|Is there {a} in the {picture}?|Are there any {many}?"
    "|Does the {picture} contain {a}?|Does the {picture} show {a}?|Do you see {a}?|Can you see {a}?"
    "|Is {a} present?|Is {a} in the {picture}?"
)
_NEGATIVE = (
    "Is there no {noun}?|Is no {noun} present?|Does the {picture} not contain {a}?|Is there not {a}?"
    "|Is no {noun} in the {picture}?|Is there no {noun} in the {picture}?"
)


def _exists(rng: random.Random, shapes: Sequence[Shape]) -> QA:
    """A closed question on form, colour or both; the answer is drawn first, so yes is as common as no."""
    there = rng.random() < 0.5
    one = rng.choice(shapes)
    form, color = one.form, one.color
    level = rng.randrange(3)
    if not there:
        if level == 0 or (level == 2 and rng.random() < 0.5):
            form = other(rng, FORMS, *(s.form for s in shapes))
        else:
            color = other(rng, COLOR_NAMES, *(s.color for s in shapes))
        if level == 2 and len(shapes) > 1 and rng.random() < 0.5:  # both occur, but not together
            mixed = [(s.form, t.color) for s in shapes for t in shapes]
            apart = [pair for pair in mixed if pair not in {(s.form, s.color) for s in shapes}]
            form, color = rng.choice(apart) if apart else (form, color)
    noun = (form, f"{color} {either(rng, 'shape|object')}", f"{color} {form}")[level]
    negative = rng.random() < 0.4
    phrase = either(rng, _NEGATIVE if negative else _POSITIVE)
    picture = either(rng, "image|picture")
    question = phrase.format(a=article(noun), noun=noun, many=plural(noun), picture=picture)
    return QA("vqa", question, yes_no(there != negative))


def _is_it(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    forms = once([s.form for s in shapes])
    if not forms:
        return None
    form = rng.choice(forms)
    right = next(s.color for s in shapes if s.form == form)
    color = right if rng.random() < 0.5 else other(rng, COLOR_NAMES, right)
    noun = "shape" if len(shapes) == 1 and rng.random() < 0.5 else form
    question = either(rng, f"Is the {noun} {color}?|Is {color} the {color_word(rng)} of the {noun}?")
    return QA("vqa", question, yes_no(color == right))


def _background(rng: random.Random, background: str) -> QA:
    word = color_word(rng)
    if rng.random() < 0.7:
        return QA(
            "vqa",
            either(rng, f"What {word} is the background?|What is the background {word}?"),
            (background,),
        )
    color = background if rng.random() < 0.5 else other(rng, COLOR_NAMES, background)
    return QA("vqa", f"Is the background {color}?", yes_no(color == background))


_ASKERS: tuple[Asker, ...] = (_color_of, _form_of, _exists, _exists, _is_it, *shape_relations.ASKERS)


def ask(rng: random.Random, shapes: Sequence[Shape], background: str) -> tuple[QA, ...]:
    """Up to ten questions on one scene, none twice: a caption, counts, and the others in random order.

    `background` names its colour, or is empty where no one word fits.
    """
    # A lone shape has no places and sizes to compare, so it is asked once more what is there.
    askers = [*_ASKERS, _exists] if len(shapes) == 1 else list(_ASKERS)
    rng.shuffle(askers)
    found = [qa for asker in askers if (qa := asker(rng, shapes))]
    if background:
        found.insert(rng.randint(0, len(found)), _background(rng, background))
    counts = [_how_many(rng, *_countable(rng, shapes)) for _ in range(1 if len(shapes) == 1 else 3)]
    found = [*counts, *found[:6]]
    unique = {qa.question: qa for qa in found if qa.question}
    worded = [QA(qa.task, casual(rng, question), qa.answers) for question, qa in unique.items()]
    return (_caption(shapes, background), *worded)


def ask_counts(rng: random.Random, shapes: Sequence[Shape], most: int) -> tuple[QA, ...]:
    """Up to `most` counting questions on one scene, no two with the same noun phrase."""
    numbers = dict(_countable(rng, shapes) for _ in range(2 * most))
    asked = [_how_many(rng, things, number) for things, number in list(numbers.items())[:most]]
    return tuple(QA(qa.task, casual(rng, str(qa.question)), qa.answers) for qa in asked)
