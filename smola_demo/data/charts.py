"""Drawn bar, grouped bar, line and pie charts with questions on them.

A chart is made up first (ChartData), then drawn, then asked about. Dot charts are kept for the dev split.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFont

from smola_demo.data import chart_questions, fonts, ground
from smola_demo.data.row import Scene
from smola_demo.data.writing import Pen

if TYPE_CHECKING:
    from collections.abc import Callable

    from smola_demo.data.chart_questions import ChartData

LAYOUTS = ("bar", "bar", "bar", "hbar", "hbar", "hbar", "grouped", "line", "line", "pie")
HELD_OUT_LAYOUTS = ("dots",)

Box = tuple[float, float, float, float]
_PALETTE = ("blue", "orange", "green", "red", "purple", "brown", "pink", "gray", "teal", "yellow")


@dataclass(frozen=True)
class Style:
    """How a chart looks: face and size of its letters, colours, whether values and grid lines are drawn."""

    face: str
    size: int
    paper: ground.RGB
    ink: ground.RGB
    faint: ground.RGB
    fills: tuple[ground.RGB, ...]
    values: bool
    grid: bool

    def font(self, larger: int = 0) -> ImageFont.FreeTypeFont:
        """The face at the chart's size, or a few pixels larger."""
        return fonts.font(self.face, self.size + larger)


def _style(rng: random.Random, split: str, kind: str) -> Style:
    dark = rng.random() < 0.12
    paper = (
        (25, 28, 34)
        if dark
        else rng.choice(((255, 255, 255), (255, 255, 255), (247, 246, 240), (238, 241, 245)))
    )
    ink = (232, 232, 232) if dark else (25, 25, 25)
    faint = (80, 84, 92) if dark else (208, 210, 214)
    names = [name for name in _PALETTE if ground.distance(ground.COLORS[name], paper) > 150]
    rng.shuffle(names)
    values = kind == "pie" or rng.random() < 0.65
    fills = tuple(ground.jitter(rng, ground.COLORS[name], 20) for name in names)
    return Style(
        fonts.pick(rng, split, mono=False),
        rng.randint(12, 15),
        paper,
        ink,
        faint,
        fills,
        values,
        rng.random() < 0.6,
    )


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: RGB, 256-340 × 220-280 px, with chart questions."""
    rng = random.Random(f"charts/{split}/{seed}")
    kind = rng.choice(LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 8)
    style = _style(rng, split, kind)
    data = chart_questions.invent(rng, kind, printed=style.values)
    size = rng.choice(((256, 256), (288, 256), (rng.randint(256, 340), rng.randint(220, 280))))
    image = Image.new("RGB", size, style.paper)
    pen = Pen(image)
    top = _title(pen, data.title, style, size)
    box = (4.0, top, size[0] - 6.0, size[1] - 6.0)
    if kind == "pie":
        _pie(rng, pen, data, style, box)
    elif kind in ("hbar", "dots"):
        _sideways(rng, pen, data, style, box)
    else:
        _upright(rng, pen, data, style, box)
    qa = chart_questions.ask(rng, data, printed=style.values)
    traits = (f"layout:{kind}", f"font:{style.face}")
    worn = ground.worn(rng, image, 0.25)
    return Scene(worn, qa, "drawn charts", f"charts/{split}/{seed}", traits, pen.marks())


def number(value: float) -> str:
    """A value as it is printed: no trailing zeros, at most two decimals."""
    return chart_questions.number(value)


def _title(pen: Pen, title: str, style: Style, size: tuple[int, int]) -> float:
    if not title:
        return 8.0
    face = style.font(3)
    while pen.textlength(title, face) > size[0] - 10 and face.size > 10:
        face = fonts.font(style.face, int(face.size) - 1)
    pen.text((size[0] / 2, 5), title, font=face, fill=style.ink, anchor="ma")
    return 5 + face.size + 8


def _scale(data: ChartData) -> tuple[float, float]:
    """(step, end) of a value axis with three to six round marks."""
    highest = max(value for values in data.values for value in values)
    raw = highest / 4
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    return step, step * math.ceil(highest / step - 1e-9)


def _legend(pen: Pen, data: ChartData, style: Style, box: Box) -> float:
    """Series names above the plot; returns the new top."""
    if len(data.series) < 2:
        return box[1]
    x = box[0] + 8
    for name, fill in zip(data.series, style.fills, strict=False):
        pen.rectangle((x, box[1] + 3, x + 9, box[1] + 12), fill=fill)
        pen.text((x + 13, box[1] + 8), name, font=style.font(), fill=style.ink, anchor="lm")
        x += 13 + pen.textlength(name, style.font()) + 12
    return box[1] + style.size + 8


def _upright(rng: random.Random, pen: Pen, data: ChartData, style: Style, box: Box) -> None:
    """Vertical bars, grouped bars or lines over named categories."""
    top = _legend(pen, data, style, box) + style.size
    step, end = _scale(data)
    marks = [step * i for i in range(round(end / step) + 1)]
    left = box[0] + max(pen.textlength(number(mark), style.font()) for mark in marks) + 6
    bottom = box[3] - style.size - 6

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * value / end

    for mark in marks:
        if style.grid:
            pen.line((left, y_of(mark), box[2], y_of(mark)), fill=style.faint)
        pen.text((left - 4, y_of(mark)), number(mark), font=style.font(), fill=style.ink, anchor="rm")
    pen.line((left, top, left, bottom, box[2], bottom), fill=style.ink)
    wide = (box[2] - left) / len(data.labels)
    centres = [left + wide * (i + 0.5) for i in range(len(data.labels))]
    face = _shrunk(pen, data.labels, style, wide - 2)
    for x, label in zip(centres, data.labels, strict=True):
        pen.text((x, bottom + 4), label, font=face, fill=style.ink, anchor="ma")
    if data.kind == "line":
        _lines(pen, data, style, centres, y_of)
        return
    share = wide * rng.uniform(0.55, 0.8) / len(data.series)
    one_color = len(data.series) == 1 and rng.random() < 0.6
    for s, values in enumerate(data.values):
        for i, value in enumerate(values):
            x = centres[i] + share * (s - len(data.series) / 2)
            fill = style.fills[s] if len(data.series) > 1 or one_color else style.fills[i % len(style.fills)]
            pen.rectangle((x, y_of(value), x + share - 1, bottom), fill=fill)
            if style.values:
                pen.text(
                    (x + share / 2, y_of(value) - 2),
                    number(value),
                    font=style.font(),
                    fill=style.ink,
                    anchor="mb",
                )


def _lines(
    pen: Pen,
    data: ChartData,
    style: Style,
    centres: list[float],
    y_of: Callable[[float], float],
) -> None:
    for s, values in enumerate(data.values):
        points = [(x, y_of(value)) for x, value in zip(centres, values, strict=True)]
        pen.line(points, fill=style.fills[s], width=3, joint="curve")
        for (x, y), value in zip(points, values, strict=True):
            pen.ellipse((x - 3.5, y - 3.5, x + 3.5, y + 3.5), fill=style.fills[s])
            if style.values and len(data.series) == 1:  # several lines would hide each other's values
                pen.text((x, y - 5), number(value), font=style.font(), fill=style.ink, anchor="mb")


def _shrunk(pen: Pen, labels: tuple[str, ...], style: Style, room: float) -> ImageFont.FreeTypeFont:
    """The chart's face at the largest size at which every label fits the room (pixels)."""
    face = style.font()
    while max(pen.textlength(label, face) for label in labels) > room and face.size > 9:
        face = fonts.font(style.face, int(face.size) - 1)
    return face


def _sideways(rng: random.Random, pen: Pen, data: ChartData, style: Style, box: Box) -> None:
    """Horizontal bars, or dots on a line, one a category."""
    step, end = _scale(data)
    left = box[0] + max(pen.textlength(label, style.font()) for label in data.labels) + 8
    right = box[2] - pen.textlength(number(end), style.font()) * (1 if style.values else 0.5) - 2
    bottom = box[3] if style.values else box[3] - style.size - 4

    def x_of(value: float) -> float:
        return left + (right - left) * value / end

    for mark in [step * i for i in range(round(end / step) + 1)]:
        if style.grid:
            pen.line((x_of(mark), box[1], x_of(mark), bottom), fill=style.faint)
        if not style.values:
            pen.text((x_of(mark), bottom + 2), number(mark), font=style.font(), fill=style.ink, anchor="ma")
    high = (bottom - box[1]) / len(data.labels)
    thick = high * rng.uniform(0.5, 0.75)
    one_color = rng.random() < 0.7
    for i, (label, value) in enumerate(zip(data.labels, data.values[0], strict=True)):
        y = box[1] + high * (i + 0.5)
        fill = style.fills[0 if one_color else i % len(style.fills)]
        if data.kind == "dots":
            pen.line((left, y, x_of(value), y), fill=style.faint, width=2)
            pen.ellipse((x_of(value) - 5, y - 5, x_of(value) + 5, y + 5), fill=fill)
        else:
            pen.rectangle((left, y - thick / 2, x_of(value), y + thick / 2), fill=fill)
        pen.text((left - 5, y), label, font=style.font(), fill=style.ink, anchor="rm")
        if style.values:
            gap = 8 if data.kind == "dots" else 3
            pen.text((x_of(value) + gap, y), number(value), font=style.font(), fill=style.ink, anchor="lm")
    pen.line((left, box[1], left, bottom), fill=style.ink)


def _pie(rng: random.Random, pen: Pen, data: ChartData, style: Style, box: Box) -> None:
    """Slices clockwise from the top, shares printed inside, names in a legend below or beside."""
    total = sum(data.values[0])
    beside = rng.random() < 0.5
    rows = math.ceil(len(data.labels) / 2)
    high = box[3] - box[1] - (0 if beside else rows * (style.size + 5))
    room = (box[2] - box[0]) * (0.58 if beside else 1.0)
    radius = min(high, room) / 2 - 4
    x, y = box[0] + room / 2, box[1] + high / 2
    angle = -90.0
    for i, value in enumerate(data.values[0]):
        sweep = 360 * value / total
        fill = style.fills[i]
        pen.pieslice(
            (x - radius, y - radius, x + radius, y + radius),
            angle,
            angle + sweep,
            fill=fill,
            outline=style.paper,
        )
        middle = math.radians(angle + sweep / 2)
        ink = (255, 255, 255) if ground.luminance(fill) < 140 else (15, 15, 15)
        spot = (x + radius * 0.66 * math.cos(middle), y + radius * 0.66 * math.sin(middle))
        pen.text(spot, f"{number(value)}%", font=style.font(), fill=ink, anchor="mm")
        angle += sweep
    for i, label in enumerate(data.labels):
        if beside:
            spot = (box[0] + room + 6, box[1] + high / 2 + (i - len(data.labels) / 2) * (style.size + 7))
        else:
            half = (box[2] - box[0]) / 2
            spot = (box[0] + 14 + half * (i % 2), box[1] + high + (i // 2) * (style.size + 5) + 2)
        pen.rectangle((spot[0], spot[1], spot[0] + 10, spot[1] + 10), fill=style.fills[i])
        pen.text(
            (spot[0] + 15, spot[1] + 5),
            label,
            font=_shrunk(pen, (label,), style, box[2] - spot[0] - 16),
            fill=style.ink,
            anchor="lm",
        )
