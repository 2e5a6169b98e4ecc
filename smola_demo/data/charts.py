"""Drawn bar, grouped bar, line and pie charts with questions on them.

A chart is made up first (ChartData), then drawn, then asked about. Dot charts are kept for the dev split.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image, ImageFont

from smola_demo.data import chart_figures, chart_questions, fonts, ground
from smola_demo.data.chart_figures import number
from smola_demo.data.row import Scene
from smola_demo.data.writing import Pen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smola_demo.data.chart_figures import ChartData

LAYOUTS = ("bar", "bar", "bar", "hbar", "hbar", "hbar", "grouped", "line", "line", "pie")
HELD_OUT_LAYOUTS = ("dots",)
SMALLEST = 11  # pixels; smaller letters are hard to read

Box = tuple[float, float, float, float]
_PALETTE = ("blue", "orange", "green", "red", "purple", "brown", "pink", "gray", "teal", "yellow")


@dataclass(frozen=True)
class Style:
    """How a chart looks: its letters, colours, grid lines, and how much of its place a bar fills."""

    face: str
    size: int
    paper: ground.RGB
    ink: ground.RGB
    faint: ground.RGB
    fills: tuple[ground.RGB, ...]
    grid: bool
    thick: float

    def font(self) -> ImageFont.FreeTypeFont:
        """The face at the chart's size."""
        return fonts.font(self.face, self.size)

    def fitting(self, texts: Iterable[str], room: float, larger: int = 0) -> ImageFont.FreeTypeFont:
        """The face at the chart's size or a few pixels larger, less if every text only then fits the room."""
        size, texts = self.size + larger, list(texts)
        while size > SMALLEST and _width(texts, fonts.font(self.face, size)) > room:
            size -= 1
        return fonts.font(self.face, size)

    def fits(self, texts: Iterable[str], room: float) -> bool:
        """Whether every text can be written legibly into the room (pixels)."""
        return _width(texts, fonts.font(self.face, SMALLEST)) <= room


def _width(texts: Iterable[str], face: ImageFont.FreeTypeFont) -> float:
    return max(face.getlength(text) for text in texts)


def _style(rng: random.Random, split: str) -> Style:
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
    fills = tuple(ground.jitter(rng, ground.COLORS[name], 20) for name in names)
    return Style(
        fonts.pick(rng, split, mono=False),
        rng.randint(12, 15),
        paper,
        ink,
        faint,
        fills,
        rng.random() < 0.6,
        rng.uniform(0.55, 0.8),
    )


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: RGB, 256-340 × 220-280 px, with chart questions."""
    rng = random.Random(f"charts/{split}/{seed}")
    kind = rng.choice(LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 8)
    style = _style(rng, split)
    size = rng.choice(((256, 256), (288, 256), (rng.randint(256, 340), rng.randint(220, 280))))
    data = _figures(rng, kind, style, size[0])
    image = Image.new("RGB", size, style.paper)
    pen = Pen(image)
    box = (4.0, _title(pen, data.title, style, size[0]), size[0] - 6.0, size[1] - 6.0)
    if data.kind == "pie":
        _pie(rng, pen, data, style, box)
    elif data.kind in ("hbar", "dots"):
        _sideways(rng, pen, data, style, box)
    else:
        _upright(rng, pen, data, style, box)
    qa = chart_questions.ask(rng, data)
    traits = (f"layout:{data.kind}", f"font:{style.face}")
    worn = ground.worn(rng, image, 0.25)
    return Scene(worn, qa, "drawn charts", f"charts/{split}/{seed}", traits, pen.marks())


def _figures(rng: random.Random, kind: str, style: Style, width: int) -> ChartData:
    """Figures whose words have room: if need be not printed, bars lying down, or fewer categories."""
    printed, most = rng.random() < 0.65, 8
    while True:
        data = chart_figures.invent(rng, kind, printed, most)
        if kind not in ("bar", "grouped", "line"):
            return data
        room = _place(data, style, width - 6)[1]
        values = {number(value) for series in data.values for value in series}
        if not style.fits(data.labels, room - 5):
            if kind == "bar":
                return replace(data, kind="hbar")
            most = max(3, len(data.labels) - 1)
        elif data.printed and not style.fits(values, _value_room(data, style, room)):
            printed = False
        else:
            return data


def _place(data: ChartData, style: Style, right: float) -> tuple[float, float]:
    """(left end of a plot of named categories, width of one of them), in pixels."""
    left = 4 + _width(map(number, data.marks), style.font()) + 6
    return left, (right - left) / len(data.labels)


def _value_room(data: ChartData, style: Style, room: float) -> float:
    """The width that a printed value may have: its bar's in a group, else its category's."""
    return room * style.thick / len(data.series) - 3 if data.kind == "grouped" else room - 5


def _title(pen: Pen, title: str, style: Style, width: int) -> float:
    if not title:
        return 8.0
    face = style.fitting([title], width - 10, larger=3)
    pen.text((width / 2, 5), title, font=face, fill=style.ink, anchor="ma")
    return 5 + face.size + 8


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
    left, wide = _place(data, style, box[2])
    bottom = box[3] - style.size - 6

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * value / data.scale[1]

    for mark in data.marks:
        if style.grid:
            pen.line((left, y_of(mark), box[2], y_of(mark)), fill=style.faint)
        pen.text((left - 4, y_of(mark)), number(mark), font=style.font(), fill=style.ink, anchor="rm")
    pen.line((left, top, left, bottom, box[2], bottom), fill=style.ink)
    centres = [left + wide * (i + 0.5) for i in range(len(data.labels))]
    face = style.fitting(data.labels, wide - 5)
    for x, label in zip(centres, data.labels, strict=True):
        pen.text((x, bottom + 4), label, font=face, fill=style.ink, anchor="ma")
    values = [number(value) for series in data.values for value in series]
    face = style.fitting(values, _value_room(data, style, wide))
    if data.kind == "line":
        _lines(pen, data, style, face, centres, y_of)
        return
    share = wide * style.thick / len(data.series)
    one_color = len(data.series) == 1 and rng.random() < 0.6
    spots: list[tuple[float, float, str]] = []
    for s, series in enumerate(data.values):
        for i, value in enumerate(series):
            x = centres[i] + share * (s - len(data.series) / 2)
            fill = style.fills[s] if len(data.series) > 1 or one_color else style.fills[i % len(style.fills)]
            pen.rectangle((x, y_of(value), x + share - 1, bottom), fill=fill)
            spots.append((x + share / 2, y_of(value) - 2, number(value)))
    for x, y, value in spots if data.printed else ():  # once all bars stand, for none may cover them
        pen.text((x, y), value, font=face, fill=style.ink, anchor="mb")


def _lines(
    pen: Pen,
    data: ChartData,
    style: Style,
    face: ImageFont.FreeTypeFont,
    centres: list[float],
    y_of: Callable[[float], float],
) -> None:
    for values, fill in zip(data.values, style.fills, strict=False):
        points = [(x, y_of(value)) for x, value in zip(centres, values, strict=True)]
        pen.line(points, fill=fill, width=3, joint="curve")
        for x, y in points:
            pen.ellipse((x - 3.5, y - 3.5, x + 3.5, y + 3.5), fill=fill)
    values = data.values[0]
    room = (centres[1] - centres[0]) / 2 - 2
    for i, x in enumerate(centres if data.printed else ()):
        y, near, text = y_of(values[i]), values[max(0, i - 1) : i + 2], number(values[i])
        valley = values[i] == min(near) and y + 7 + face.size < y_of(0)
        half, slope = face.getlength(text) / 2, near[-1] - near[0]
        aside = 0 if values[i] in (min(near), max(near)) else math.copysign(min(half, room - half), -slope)
        pen.text(
            (x + aside, y + 6 if valley else y - 5),  # on the side where the line bends away
            text,
            font=face,
            fill=style.ink,
            anchor="mt" if valley else "mb",
            stroke_width=2,
            stroke_fill=style.paper,
        )


def _sideways(rng: random.Random, pen: Pen, data: ChartData, style: Style, box: Box) -> None:
    """Horizontal bars, or dots on a line, one a category."""
    end = data.scale[1]
    left = box[0] + _width(data.labels, style.font()) + 8
    beyond = _width(map(number, data.values[0]), style.font()) + 9
    right = box[2] - (beyond if data.printed else style.font().getlength(number(end)) / 2 + 2)
    bottom = box[3] if data.printed else box[3] - style.size - 4

    def x_of(value: float) -> float:
        return left + (right - left) * value / end

    face = style.fitting(map(number, data.marks), x_of(data.marks[1]) - left - 5)
    for mark in data.marks:
        if style.grid:
            pen.line((x_of(mark), box[1], x_of(mark), bottom), fill=style.faint)
        if not data.printed:
            pen.text((x_of(mark), bottom + 2), number(mark), font=face, fill=style.ink, anchor="ma")
    high = (bottom - box[1]) / len(data.labels)
    thick = high * style.thick
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
        if data.printed:
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
    around = (x - radius, y - radius, x + radius, y + radius)
    ends = [360 * sum(data.values[0][:i]) / total - 90 for i in range(len(data.labels) + 1)]
    for fill, start, end in zip(style.fills, ends, ends[1:], strict=False):
        pen.pieslice(around, start, end, fill=fill, outline=style.paper)
    for i, value in enumerate(data.values[0]):  # once all slices lie, for none may cover them
        middle = math.radians((ends[i] + ends[i + 1]) / 2)
        ink = (255, 255, 255) if ground.luminance(style.fills[i]) < 140 else (15, 15, 15)
        away = radius * (0.66 if value > 15 else 0.78)  # further out, where a thin slice is wider
        spot = (x + away * math.cos(middle), y + away * math.sin(middle))
        pen.text(spot, f"{number(value)}%", font=style.font(), fill=ink, anchor="mm")
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
            font=style.fitting([label], box[2] - spot[0] - 16),
            fill=style.ink,
            anchor="lm",
        )
