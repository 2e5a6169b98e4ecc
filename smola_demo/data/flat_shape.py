"""One small shape on a flat pale ground, and the plain questions that belong to such icons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from smola_demo.data import ground
from smola_demo.data.row import QA, Mark
from smola_demo.data.shape_names import article, casual, color_answers, color_word, denied, either, yes_no

if TYPE_CHECKING:
    import random

FORMS = ("circle", "rectangle", "triangle")
COLORS = ("red", "green", "blue", "black", "gray", "teal", "brown", "yellow")
SIDE = 64
_SHARPEN = 4
_ENLARGED = 256
_POSITIVE = (
    "Is there {a}?|Is there {a} in the {picture}?|Does the {picture} contain {a}?|Is {a} present?"
    "|Is there {a} in this {picture}?|Does this {picture} show {a}?|Can you see {a}?"
)
_NEGATIVE = (
    "Does the {picture} not contain {a}?|Is there no {noun} in the {picture}?|Is no {noun} present?"
    "|Is there not {a} in the {picture}?|Is no {noun} in the {picture}?"
)
_FORM_OF = (
    "What shape is in the {picture}?|What shape is present in the {picture}?"
    "|What shape does the {picture} contain?"
    "|What is the shape in the {picture}?|Which shape is this?|What shape is present?"
)


def draw(rng: random.Random) -> tuple[Image.Image, tuple[QA, ...], Mark]:
    """A picture, 64 × 64 px enlarged to 256 × 256, five to eight `vqa` questions, and what lies where."""
    form, color = rng.choice(FORMS), rng.choice(COLORS)
    level = [rng.randint(228, 255) for _ in range(3)]
    image = Image.new("RGB", (SIDE * _SHARPEN, SIDE * _SHARPEN), (level[0], level[1], level[2]))
    wide, high = rng.randint(14, 34), rng.randint(14, 34)
    if form == "circle":
        high = wide
    elif form == "rectangle" and abs(wide - high) < 5:  # else it is a square
        wide = high + rng.choice((-6, 7))
    left, top = rng.uniform(1, SIDE - 1 - wide), rng.uniform(1, SIDE - 1 - high)
    box = tuple(side * _SHARPEN for side in (left, top, left + wide, top + high))
    pen, ink = ImageDraw.Draw(image), ground.jitter(rng, ground.COLORS[color], 8)
    if form == "circle":
        pen.ellipse(box, fill=ink)
    elif form == "rectangle":
        pen.rectangle(box, fill=ink)
    else:
        tip = rng.uniform(box[0], box[2])
        pen.polygon([(box[0], box[3]), (box[2], box[3]), (tip, box[1])], fill=ink)
    zoom = rng.choice((Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC))
    small = image.reduce(_SHARPEN)
    mark = Mark((f" {color}", f" {form}"), (left + wide / 2) / SIDE, (top + high / 2) / SIDE)
    return small.resize((_ENLARGED, _ENLARGED), zoom), _ask(rng, form, color), mark


def _ask(rng: random.Random, form: str, color: str) -> tuple[QA, ...]:
    picture = either(rng, "image|image|picture")
    word = color_word(rng)
    noun = either(rng, f"{form}|shape|object")
    color_of = f"What {word} is the {noun}?|What is the {word} of the {noun}?|Which {word} is the {noun}?"
    color_of += f"|What's the {word} of the {noun}?|What {word} is it?"
    found = [
        QA("vqa", either(rng, color_of), color_answers(color)),
        QA("vqa", either(rng, _FORM_OF).format(picture=picture), (form,)),
        QA("vqa", f"What is the {color} shape?", (form,)),
    ]
    for negative in (False, False, True, True):
        there = rng.random() < 0.5
        asked, shade = form, color
        if not there and rng.random() < 0.6:
            asked = denied(rng, FORMS, form)
        elif not there:
            shade = denied(rng, COLORS, color)
        thing = asked if shade == color else f"{shade} {either(rng, 'shape|' + asked)}"
        if there:
            thing = either(rng, f"{form}|{color} shape|{color} {form}")
        phrase = either(rng, _NEGATIVE if negative else _POSITIVE)
        question = phrase.format(a=article(thing), noun=thing, picture=picture)
        found.append(QA("vqa", question, yes_no(there != negative)))
    right = rng.random() < 0.5
    shade = color if right else denied(rng, COLORS, color)
    found.append(QA("vqa", f"Is the {noun} {shade}?", yes_no(right)))
    unique = {qa.question: qa for qa in found if qa.question}
    return tuple(QA(qa.task, casual(rng, question), qa.answers) for question, qa in unique.items())
