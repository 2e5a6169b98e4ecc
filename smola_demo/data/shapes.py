"""Drawn shapes on plain, shaded and noisy grounds, with questions on them.

One object or up to ten, in twelve colours and twelve forms; the ring layout is kept for the dev split.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from smola_demo.data import ground, shape_questions
from smola_demo.data.row import Mark, Scene
from smola_demo.data.shape_names import Shape
from smola_demo.data.shape_outlines import OUTLINES, outline

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE = 256
SHARPEN = 2  # drawn at twice the size, so that edges come out smooth
LAYOUTS = ("scatter", "scatter", "scatter", "row", "column", "grid", "single", "single", "coarse")
HELD_OUT_LAYOUTS = ("ring",)
_LONE = ("single", "coarse")
_ROOM = 4  # pixels between two objects at least, so that their number is certain also in a worn picture
_SMALLEST = 10  # radius in pixels at which forms can still be told apart
_COMMON = ("circle", "square", "triangle", "rectangle", "star")


def _make(rng: random.Random, form: str, color: str, place: tuple[float, float, float]) -> Shape:
    x, y, radius = place
    limit = OUTLINES[form][1]
    angle = rng.choice((0.0, rng.uniform(-limit, limit))) if limit else 0.0
    stretch = 1.0
    if form in ("rectangle", "oval"):
        stretch = rng.uniform(0.4, 0.75 if form == "rectangle" else 0.68)
        stretch = rng.choice((stretch, 1 / stretch))
    return Shape(form, color, ground.jitter(rng, ground.COLORS[color]), x, y, radius, angle, stretch)


def _places(rng: random.Random, layout: str, count: int) -> list[tuple[float, float, float]]:
    """Centre and radius of each object, in drawing order."""
    if layout in _LONE:
        radius = rng.uniform(22, 100)
        return [(rng.uniform(radius, SIDE - radius), rng.uniform(radius, SIDE - radius), radius)]
    if layout in ("row", "column"):
        step = SIDE / count
        across = rng.uniform(80, 176)
        largest = min(step * 0.42, 52)
        line = [
            (step * (i + 0.5), across + rng.uniform(-12, 12), max(_SMALLEST, largest * rng.uniform(0.75, 1)))
            for i in range(count)
        ]
        return line if layout == "row" else [(y, x, r) for x, y, r in line]
    if layout == "grid":
        columns = 2 if count <= 4 else 3
        rows = math.ceil(count / columns)
        wide, high = SIDE / columns, SIDE / rows
        radius = min(wide, high) * 0.38
        cells = [(wide * (i % columns + 0.5), high * (i // columns + 0.5)) for i in range(count)]
        return [
            (x + rng.uniform(-4, 4), y + rng.uniform(-4, 4), radius * rng.uniform(0.75, 1)) for x, y in cells
        ]
    if layout == "ring":
        start = rng.uniform(0, 2 * math.pi)
        turns = [start + 2 * math.pi * i / count for i in range(count)]
        radius = min(40.0, 85 * math.sin(math.pi / max(count, 2)) * 0.9)
        return [(128 + 85 * math.cos(t), 128 + 85 * math.sin(t), radius) for t in turns]
    return _scatter(rng, count)


def _scatter(rng: random.Random, count: int) -> list[tuple[float, float, float]]:
    largest = 62 if count <= 3 else 46 if count <= 6 else 34
    placed: list[tuple[float, float, float]] = []
    for _ in range(count * 60):
        radius = rng.uniform(largest * 0.45, largest)
        x, y = rng.uniform(radius, SIDE - radius), rng.uniform(radius, SIDE - radius)
        if all(math.hypot(x - px, y - py) > radius + pr + _ROOM for px, py, pr in placed):
            placed.append((x, y, radius))
            if len(placed) == count:
                break
    return placed


def _background(rng: random.Random, size: tuple[int, int]) -> tuple[Image.Image, str, tuple[ground.RGB, ...]]:
    """(picture, its name or "" where no single word fits, the colours objects must stand out from)."""
    kind = rng.random()
    names = list(ground.COLORS) + ["white"] * 8 + ["black"] * 2 + ["gray"]
    if kind < 0.5:
        name = rng.choice(names)
        color = ground.jitter(rng, ground.COLORS[name], 5)
        return ground.plain(size, color), name, (color,)
    pale = tuple(rng.randint(185, 255) for _ in range(3))
    start = (pale[0], pale[1], pale[2])
    if kind < 0.7:
        return ground.plain(size, start), "", (start,)
    if kind < 0.85:
        end = ground.jitter(rng, start, 60)
        return ground.gradient(rng, size, start, end), "", (start, end)
    return ground.noisy(rng, ground.blotchy(rng, size, start, 14), rng.uniform(4, 16)), "", (start,)


def _kinds(rng: random.Random, forms: list[str], colors: list[str], count: int) -> list[tuple[str, str]]:
    """Form and colour of each object: one to four kinds, drawn by chance."""
    kinds = [(rng.choice(forms), rng.choice(colors)) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.4:  # one colour or one form for all, so that the other is what tells objects apart
        same = rng.randrange(2)
        kinds = [(kinds[0][0], c) if same == 0 else (f, kinds[0][1]) for f, c in kinds]
    return [rng.choice(kinds) for _ in range(count)]


def _apart(rng: random.Random, forms: list[str], colors: list[str]) -> list[tuple[str, str]]:
    """Form and colour of two to five objects, no two alike; now and then they share form or colour."""
    same = rng.random()
    forms = [rng.choice(forms)] if same < 0.15 else forms
    colors = [rng.choice(colors)] if same > 0.85 else colors
    kinds = [(form, color) for form in forms for color in colors]
    return rng.sample(kinds, min(len(kinds), rng.randint(2, 5)))


def drawing(
    rng: random.Random, layouts: Sequence[str], apart: bool = False
) -> tuple[Image.Image, list[Shape], str, str]:
    """A picture of objects in one of `layouts`: (picture, objects, its ground's name or "", layout).

    With `apart` there are two to five objects, no two of one form and colour.
    """
    layout = rng.choice([name for name in layouts if not (apart and name in _LONE)])
    size = (SIDE * SHARPEN, SIDE * SHARPEN)
    image, background, avoid = _background(rng, size)
    colors = [
        n
        for n, c in ground.COLORS.items()
        if n != background and all(ground.distance(c, a) > 170 for a in avoid)
    ]
    forms = list(
        _COMMON[:4]
        if layout == "coarse" and rng.random() < 0.7
        else _COMMON
        if rng.random() < 0.4
        else OUTLINES
    )
    count = 1 if layout in _LONE else rng.randint(3 if layout == "ring" else 2, 10)
    kinds = _apart(rng, forms, colors) if apart else _kinds(rng, forms, colors, count)
    places = _places(rng, layout, len(kinds))
    shapes = [_make(rng, *kind, place) for kind, place in zip(kinds, places, strict=False)]
    _draw(rng, image, shapes)
    return _finish(rng, image, layout), shapes, background, layout


def marks(shapes: Sequence[Shape]) -> tuple[Mark, ...]:
    """What lies where: each object's colour and form at its middle."""
    return tuple(Mark((f" {s.color}", f" {s.form}"), s.x / SIDE, s.y / SIDE) for s in shapes)


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: about 256×256 px RGB with caption, counting and other questions."""
    rng = random.Random(f"shapes/{split}/{seed}")
    layouts = LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 5
    image, shapes, background, layout = drawing(rng, layouts, apart=rng.random() < 0.25)
    qa = shape_questions.ask(rng, shapes, background)
    name = f"shapes/{split}/{seed}"
    return Scene(image, qa, "drawn shapes", name, (f"layout:{layout}",), marks(shapes))


def _draw(rng: random.Random, image: Image.Image, shapes: list[Shape]) -> None:
    pen = ImageDraw.Draw(image)
    edge = rng.random()
    for shape in shapes:
        points = [(x * SHARPEN, y * SHARPEN) for x, y in outline(shape)]
        pen.polygon(points, fill=shape.rgb)
        if edge < 0.2:
            line = (0, 0, 0) if ground.luminance(shape.rgb) > 60 else (255, 255, 255)
            pen.line([*points, points[0], points[1]], fill=line, width=2 * SHARPEN, joint="curve")


_ZOOMS = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


def _finish(rng: random.Random, image: Image.Image, layout: str) -> Image.Image:
    image = image.reduce(SHARPEN)
    if layout == "coarse":  # a 64-pixel picture blown up, as small icons arrive
        small = image.resize((64, 64), rng.choice((Image.Resampling.BOX, Image.Resampling.NEAREST)))
        return small.resize((SIDE, SIDE), rng.choice(_ZOOMS))
    return ground.worn(rng, image, 0.3)
