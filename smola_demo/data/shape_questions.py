"""Questions on drawn shapes, in the many ways people put them; every answer is computed from the objects.

Here are captions, counts, colours, forms and existence; `shape_relations` and `shape_pairs`
have places, sizes and comparisons.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING

from smola_demo.data import shape_pairs, shape_relations
from smola_demo.data.row import QA
from smola_demo.data.shape_names import (
    COLOR_NAMES,
    FORMS,
    NUMBERS,
    among,
    apart,
    article,
    casual,
    color_answers,
    color_word,
    denied,
    different,
    either,
    form_answers,
    other,
    passes,
    plural,
    single,
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


def _countable(rng: random.Random, shapes: Sequence[Shape]) -> tuple[str, int | None]:
    """What to ask the number of, and that number: a noun in the plural, or "are ..." of all objects.

    The number is None where people would differ, since an object passes for such a one.
    """
    one = rng.choice(shapes)
    form, color = one.form, one.color
    if rng.random() < 0.15:  # now and then for something that is not there, or is there by chance
        form, color = rng.choice(FORMS), rng.choice(COLOR_NAMES)
    thing = either(rng, "shape|object")
    forms, colors = [s.form for s in shapes], [s.color for s in shapes]
    choice = rng.random()
    if choice < 0.28:
        things, number = plural(thing), len(shapes)
    elif choice < 0.5:
        things, number = plural(form), among(forms, form)
    elif choice < 0.68:
        things, number = plural(f"{color} {thing}"), among(colors, color)
    elif choice < 0.84 or len(shapes) == 1:
        things, number = plural(f"{color} {form}"), among([s.kind for s in shapes], f"{color} {form}")
    elif choice < 0.94:
        things, number = _predicate(rng, colors, forms)
    elif rng.random() < 0.5:
        things, number = "different colors", different(colors)
    else:
        things, number = "different kinds of shapes", different(forms)
    return things, number


def _predicate(rng: random.Random, colors: Sequence[str], forms: Sequence[str]) -> tuple[str, int | None]:
    """Being of a colour or form, not being of it, or being of one of two."""
    by_color = rng.random() < 0.6
    values = colors if by_color else forms
    names = sorted(set(values)) if len(set(values)) > 1 else COLOR_NAMES if by_color else FORMS
    one = rng.choice(values)
    pair = sorted((one, other(rng, names, one)))
    said = {name: name if by_color else plural(name) for name in (one, *pair)}
    choice = rng.random()
    number = among(values, one)
    if choice < 0.3:
        return f"are {said[one]}", number
    if choice < 0.65:
        return f"are not {said[one]}", None if number is None else len(values) - number
    return f"are {said[pair[0]]} or {said[pair[1]]}", among(values, *pair)


_COUNT = (
    "How many {} are there?|How many {} are there?|How many {} do you see?|How many {} are in the image?"
    "|How many {} are in the picture?|How many {} can you count?|Count the {}.|What is the number of {}?"
)
_TOTAL = "|How many {} in total?|How many {} are there in total?|How many {} are there altogether?"
# A coloured ground has a colour too, so the shapes are named.
_COLORS = (
    "How many different {} do the shapes have?|How many different {} do the objects have?"
    "|In how many different {} are the shapes?|How many different {} are used for the shapes?"
)


def _how_many(rng: random.Random, things: str, number: int | None) -> QA | None:
    if number is None:
        return None
    if things.startswith("are "):
        question = f"How many {either(rng, '|shapes |objects |of them ')}{things}?"
    elif things == "different colors":
        question = either(rng, _COLORS).format(plural(color_word(rng)))
    else:
        question = either(rng, _COUNT + (_TOTAL if " " not in things else "")).format(things)
    return QA("count", question, (str(number),))


def _color_of(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    """The colour of one object, or of several that share it."""
    word = color_word(rng)
    by: dict[str, list[str]] = {}
    for shape in shapes:
        by.setdefault(shape.form, []).append(shape.color)
    known = [(form, colors) for form, colors in by.items() if len(set(colors)) == 1 and among([*by], form)]
    if len({s.color for s in shapes}) == 1 and rng.random() < 0.6:
        if len(shapes) == 1 and rng.random() < 0.3:
            question = either(rng, "What {0} is it?|What {0} is it?|What {0} is this {1}?|What's its {0}?")
            return QA("vqa", question.format(word, shapes[0].form), color_answers(shapes[0].color))
        noun, colors = either(rng, "shape|object"), [s.color for s in shapes]
    elif known:
        noun, colors = rng.choice(known)
    else:
        return None
    be, noun = ("is", noun) if len(colors) == 1 else ("are", plural(noun))
    phrases = "What {0} {1} the {2}?|What {0} {1} the {2}?|What is the {0} of the {2}?|Which {0} {1} the {2}?"
    phrases += "|What's the {0} of the {2}?"
    return QA("vqa", either(rng, phrases).format(word, be, noun), color_answers(colors[0]))


def _two_colors(rng: random.Random, shapes: Sequence[Shape], background: str) -> QA | None:
    """Both colours, where there are two; what is seen altogether only on white, which few would name."""
    names = [name for name in COLOR_NAMES if any(s.color == name for s in shapes)]
    if len(names) != 2 or not apart(names):
        return None
    word = plural(color_word(rng))
    phrases = "What {0} are the shapes?|What {0} do the shapes have?|Which {0} do the objects have?"
    phrases += "|What {0} do you see?|What {0} are there?" if background == "white" else ""
    orders = [pair for order in (names, names[::-1]) for pair in product(*map(color_answers, order))]
    answers = [text for a, b in orders for text in (f"{a} and {b}", f"{a}, {b}")]
    if background == "white":
        answers += [f"{a}, {b} and white" for a, b in orders]
    return QA("vqa", either(rng, phrases).format(word), tuple(answers))


def _form_of(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    if len(shapes) == 1 and rng.random() < 0.6:
        question = either(
            rng,
            "What shape is in the image?|What shape is this?|What shape does the image contain?"
            "|What shape is present?|Which shape is shown?|What is the shape in the picture?"
            "|What is in the image?|What object is shown?|What shape is in the picture?"
            "|What shape do you see?",
        )
        return QA("vqa", question, shapes[0].called)
    colors = single([s.color for s in shapes])
    if not colors:
        return None
    color = rng.choice(colors)
    form = next(s.form for s in shapes if s.color == color)
    phrases = (
        "What shape is {0}?|What is the {0} shape?|What shape is the {0} object?|Which shape is {0}?"
        "|What is the {0} object?|What is {0}?|What shape does the {0} object have?"
    )
    return QA("vqa", either(rng, phrases).format(color), form_answers(form))


_POSITIVE = (
    "Is there {a}?|Is there {a} in the {picture}?|Is there {a} in the {picture}?|Are there any {many}?"
    "|Does the {picture} contain {a}?|Does the {picture} show {a}?|Do you see {a}?|Can you see {a}?"
    "|Is {a} present?|Is {a} in the {picture}?"
)
_NEGATIVE = (
    "Is there no {noun}?|Is no {noun} present?|Is no {noun} in the {picture}?"
    "|Is there no {noun} in the {picture}?"
)


def _exists(rng: random.Random, shapes: Sequence[Shape]) -> QA:
    """A closed question on form, colour or both; the answer is drawn first, so yes is as common as no."""
    there = rng.random() < 0.5
    one = rng.choice(shapes)
    form, color = one.form, one.color
    level = rng.randrange(3)
    if not there:
        if level == 0 or (level == 2 and rng.random() < 0.5):
            form = denied(rng, FORMS, *(s.form for s in shapes))
        else:
            color = denied(rng, COLOR_NAMES, *(s.color for s in shapes))
        if level == 2 and len(shapes) > 1 and rng.random() < 0.5:  # both occur, but not together
            mixed = [(s.form, t.color) for s in shapes for t in shapes]
            absent = [(f, c) for f, c in mixed if not any(passes(s.kind, f"{c} {f}") for s in shapes)]
            form, color = rng.choice(absent) if absent else (form, color)
    noun = (form, f"{color} {either(rng, 'shape|object')}", f"{color} {form}")[level]
    negative = rng.random() < 0.4
    phrase = either(rng, _NEGATIVE if negative else _POSITIVE)
    picture = either(rng, "image|picture")
    question = phrase.format(a=article(noun), noun=noun, many=plural(noun), picture=picture)
    return QA("vqa", question, yes_no(there != negative))


def _is_it(rng: random.Random, shapes: Sequence[Shape]) -> QA | None:
    forms = single([s.form for s in shapes])
    if not forms:
        return None
    form = rng.choice(forms)
    right = next(s.color for s in shapes if s.form == form)
    color = right if rng.random() < 0.5 else denied(rng, COLOR_NAMES, right)
    noun = "shape" if len(shapes) == 1 and rng.random() < 0.5 else form
    question = either(rng, f"Is the {noun} {color}?|Is {color} the {color_word(rng)} of the {noun}?")
    return QA("vqa", question, yes_no(color == right))


def _background(rng: random.Random, background: str) -> QA:
    word = color_word(rng)
    if rng.random() < 0.7:
        return QA(
            "vqa",
            either(rng, f"What {word} is the background?|What is the background {word}?"),
            color_answers(background),
        )
    color = background if rng.random() < 0.5 else denied(rng, COLOR_NAMES, background)
    return QA("vqa", f"Is the background {color}?", yes_no(color == background))


_ASKERS: tuple[Asker, ...] = (_color_of, _form_of, _exists, _exists, _is_it, *shape_relations.ASKERS)


def ask(rng: random.Random, shapes: Sequence[Shape], background: str) -> tuple[QA, ...]:
    """Up to a dozen questions on one scene, none twice: a caption, counts, and the others in random order.

    `background` names its colour, or is empty where no one word fits.
    """
    # A lone shape has no places and sizes to compare, so it is asked once more what is there.
    askers = [*_ASKERS, _exists] if len(shapes) == 1 else list(_ASKERS)
    rng.shuffle(askers)
    found = [qa for asker in askers if (qa := asker(rng, shapes))]
    if background:
        found.insert(rng.randint(0, len(found)), _background(rng, background))
    if both := _two_colors(rng, shapes, background):
        found.insert(rng.randint(0, len(found)), both)
    counts = [_how_many(rng, *_countable(rng, shapes)) for _ in range(1 if len(shapes) == 1 else 3)]
    found = [*filter(None, counts), *shape_pairs.compare(rng, shapes)[:3], *found[:6]]
    unique = {qa.question: qa for qa in found if qa.question}
    worded = [QA(qa.task, casual(rng, question), qa.answers) for question, qa in unique.items()]
    return (_caption(shapes, background), *worded)


def ask_counts(rng: random.Random, shapes: Sequence[Shape], most: int) -> tuple[QA, ...]:
    """Up to `most` counting questions on one scene, no two with the same noun phrase, at most two with 0."""
    numbers = {things: n for things, n in (_countable(rng, shapes) for _ in range(3 * most)) if n is not None}
    absent = [things for things, number in numbers.items() if number == 0][2:]
    kept = [(things, number) for things, number in numbers.items() if things not in absent]
    asked = [qa for things, number in kept[:most] if (qa := _how_many(rng, things, number))]
    return tuple(QA(qa.task, casual(rng, str(qa.question)), qa.answers) for qa in asked)
