"""Drawn tables: timetables, price lists, results, specifications, with questions on their cells.

Tables with upright rules alone, and some faces, are kept for the dev split.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageFont

from smola_demo.data import fonts, ground, table_questions
from smola_demo.data.row import Scene
from smola_demo.data.table_content import TableData, invent
from smola_demo.data.writing import Pen

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYOUTS = ("ruled", "ruled", "lines", "lines", "zebra", "zebra", "plain")
HELD_OUT_LAYOUTS = ("upright",)
WIDEST = 336
HIGHEST = 350
_SMALLEST = 11  # pixels; smaller letters are lost on a model that sees 256 × 256
_MARGIN = 10


@dataclass(frozen=True)
class Style:
    """How a table looks: rules, face, colours, head ("band", "tint", "line" or "none") and spacing."""

    layout: str
    face: str
    paper: ground.RGB
    ink: ground.RGB
    faint: ground.RGB
    accent: ground.RGB
    head: str
    gap: int
    anchors: tuple[str, str]  # of words and of numbers: l, m or r

    def font(self, size: int) -> ImageFont.FreeTypeFont:
        """The face at a size in pixels."""
        return fonts.font(self.face, size)


def _style(rng: random.Random, split: str, layout: str) -> Style:
    dark = rng.random() < 0.1
    level = rng.randint(238, 255)
    paper = (28, 30, 36) if dark else (level, level, level - rng.randint(0, 10))
    ink = (235, 235, 235) if dark else ground.jitter(rng, (30, 30, 30), 30)
    faint = (62, 66, 76) if dark else ground.jitter(rng, (214, 220, 228), 12)
    accent = ground.jitter(
        rng, ground.COLORS[rng.choice(("blue", "green", "purple", "brown", "teal", "gray"))], 20
    )
    head = rng.choice(("band", "tint", "line") if layout == "plain" else ("band", "tint", "line", "none"))
    anchors = rng.choice((("l", "r"), ("l", "r"), ("l", "l"), ("m", "m"), ("l", "m")))
    return Style(layout, fonts.pick(rng, split), paper, ink, faint, accent, head, rng.randint(8, 16), anchors)


def _widths(data: TableData, face: ImageFont.FreeTypeFont, gap: int) -> list[float]:
    columns = [(data.key, data.labels), *((column.head, column.cells) for column in data.columns)]
    return [max(face.getlength(cell) for cell in (head, *cells)) + gap for head, cells in columns]


def _fitted(rng: random.Random, data: TableData, style: Style) -> tuple[TableData, int]:
    """The table and a letter size at which it fits WIDEST: smaller letters first, then fewer columns."""
    size = rng.randint(13, 20)
    while sum(_widths(data, style.font(size), style.gap)) > WIDEST:
        if size > _SMALLEST:
            size -= 1
        else:
            data, size = data.narrower(), _SMALLEST + 2
    return data, size


def _row(
    pen: Pen,
    style: Style,
    face: ImageFont.FreeTypeFont,
    cells: Sequence[str],
    edges: Sequence[float],
    y: float,
    ink: ground.RGB,
    numeric: Sequence[bool],
) -> None:
    """Write one row of cells between the edges (pixels), its middle at y."""
    for cell, left, right, number in zip(cells, edges, edges[1:], numeric, strict=False):
        anchor = style.anchors[number]
        x = {"l": left + style.gap / 2, "m": (left + right) / 2, "r": right - style.gap / 2}[anchor]
        pen.text((x, y), cell, font=face, fill=ink, anchor=f"{anchor}m")


def _draw(rng: random.Random, data: TableData, style: Style, size: int) -> tuple[Image.Image, Pen]:
    face = style.font(size)
    widths = _widths(data, face, style.gap)
    spare = max(0.0, rng.uniform(190, 300) - sum(widths)) / len(widths)
    edges = [float(_MARGIN)]
    for width in widths:
        edges.append(edges[-1] + width + spare)
    top = _MARGIN + (size * 1.8 if data.title else 0)
    step = min(size * rng.uniform(1.35, 1.9), (HIGHEST - top - _MARGIN) / (len(data.labels) + 1))
    bottom = top + step * (len(data.labels) + 1)
    image = Image.new("RGB", (int(edges[-1]) + _MARGIN, max(96, int(bottom) + _MARGIN)), style.paper)
    pen = Pen(image)
    if data.title:
        title = style.font(min(size + 2, int(size * (edges[-1] - _MARGIN) / face.getlength(data.title))))
        middle = rng.random() < 0.5
        spot = ((image.width / 2 if middle else _MARGIN), _MARGIN)
        pen.text(spot, data.title, font=title, fill=style.ink, anchor="ma" if middle else "la")
    if style.head in ("band", "tint"):
        pen.rectangle(
            (edges[0], top, edges[-1], top + step), fill=style.accent if style.head == "band" else style.faint
        )
    light = ground.luminance(style.accent) < 140
    head_ink = ((255, 255, 255) if light else (10, 10, 10)) if style.head == "band" else style.ink
    numeric = [False, *(bool(column.values) for column in data.columns)]
    rows = zip(data.labels, *(column.cells for column in data.columns), strict=True)
    _row(
        pen,
        style,
        face,
        (data.key, *(c.head for c in data.columns)),
        edges,
        top + step / 2,
        head_ink,
        numeric,
    )
    for i, cells in enumerate(rows, start=1):
        y = top + step * i
        if style.layout == "zebra" and i % 2 == 0:
            pen.rectangle((edges[0], y, edges[-1], y + step), fill=style.faint)
        _row(pen, style, face, cells, edges, y + step / 2, style.ink, numeric)
    _rules(pen, style, edges, [top + step * i for i in range(len(data.labels) + 2)])
    return image, pen


def _rules(pen: Pen, style: Style, edges: Sequence[float], tops: Sequence[float]) -> None:
    """The lines between cells that the layout has; `tops` are the upper edges of the rows and the end."""
    color = (
        style.ink
        if style.layout == "ruled"
        else tuple((a + b) // 2 for a, b in zip(style.ink, style.paper, strict=True))
    )
    if style.layout in ("ruled", "lines"):
        for y in tops:
            pen.line((edges[0], y, edges[-1], y), fill=color)
    if style.layout in ("ruled", "upright"):
        for x in edges if style.layout == "ruled" else edges[1:-1]:
            pen.line((x, tops[0], x, tops[-1]), fill=color)
    if style.head == "line":
        pen.line((edges[0], tops[1], edges[-1], tops[1]), fill=style.ink, width=2)


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: RGB, 190-360 px wide, with `document`, `chart` and `count` questions."""
    rng = random.Random(f"tables/{split}/{seed}")
    layout = rng.choice(LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 6)
    style = _style(rng, split, layout)
    data, size = _fitted(rng, invent(rng), style)
    drawn, pen = _draw(rng, data, style, size)
    image, turned = ground.worn(rng, drawn, 0.4), 0.0
    if rng.random() < 0.3:
        turned = rng.uniform(-2, 2)
        image = image.rotate(turned, Image.Resampling.BICUBIC, fillcolor=style.paper)
    traits = (f"layout:{layout}", f"font:{style.face}")
    asked = table_questions.ask(rng, data)
    return Scene(image, asked, "drawn tables", f"tables/{split}/{seed}", traits, pen.marks(turned))
