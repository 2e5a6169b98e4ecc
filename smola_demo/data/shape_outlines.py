"""The outlines that shapes are drawn with, and how large a drawn shape is by them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smola_demo.data.shape_names import Shape

Point = tuple[float, float]


def _regular(corners: int, inner: float = 0.0) -> list[Point]:
    steps = corners * 2 if inner else corners
    radii = [1.0 if not inner or i % 2 == 0 else inner for i in range(steps)]
    turns = [2 * math.pi * i / steps - math.pi / 2 for i in range(steps)]
    return [(r * math.cos(t), r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]


def _heart() -> list[Point]:
    turns = [2 * math.pi * i / 48 for i in range(48)]
    wave = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    return [(math.sin(t) ** 3, -(w + 2.5) / 15.0) for t, w in zip(turns, wave, strict=True)]


def _cross(w: float = 0.34) -> list[Point]:
    return [
        (-w, -1),
        (w, -1),
        (w, -w),
        (1, -w),
        (1, w),
        (w, w),
        (w, 1),
        (-w, 1),
        (-w, w),
        (-1, w),
        (-1, -w),
        (-w, -w),
    ]


def _unit(points: list[Point]) -> list[Point]:
    """The outline with its farthest corner 1 from the middle, so that circles apart keep shapes apart."""
    reach = max(math.hypot(x, y) for x, y in points)
    return [(x / reach, y / reach) for x, y in points]


_ARROW: list[Point] = [(-1, -0.3), (0.15, -0.3), (0.15, -0.75), (1, 0), (0.15, 0.75), (0.15, 0.3), (-1, 0.3)]
_BOX: list[Point] = [(-1, -1), (1, -1), (1, 1), (-1, 1)]

# Form → (outline in a unit circle, largest turn in degrees that keeps its name).
OUTLINES: dict[str, tuple[list[Point], float]] = {
    "circle": (_regular(64), 0),
    "square": (_unit(_BOX), 12),
    "triangle": (_regular(3), 180),
    "rectangle": ([(0.8 * x, 0.8 * y) for x, y in _BOX], 15),  # within the circle once it is stretched
    "star": (_regular(5, 0.42), 180),
    "diamond": ([(0, -1), (0.68, 0), (0, 1), (-0.68, 0)], 0),
    "pentagon": (_regular(5), 180),
    "hexagon": (_regular(6), 180),
    "oval": (_regular(64), 25),
    "cross": (_unit(_cross()), 12),
    "heart": (_unit(_heart()), 20),
    "arrow": (_unit(_ARROW), 180),
}


def outline(shape: Shape) -> list[Point]:
    """The corners of the polygon that is drawn, in pixels of a 256-pixel picture."""
    points, _ = OUTLINES[shape.form]
    cos, sin = math.cos(math.radians(shape.angle)), math.sin(math.radians(shape.angle))
    wide, high = (1.0, shape.stretch) if shape.stretch <= 1 else (1.0 / shape.stretch, 1.0)
    scaled = [(x * wide * shape.radius, y * high * shape.radius) for x, y in points]
    return [(shape.x + x * cos - y * sin, shape.y + x * sin + y * cos) for x, y in scaled]


def area(shape: Shape) -> float:
    """The drawn area in square pixels."""
    corners = outline(shape)
    turned = zip(corners, [*corners[1:], corners[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in turned)) / 2


def sides(shape: Shape) -> tuple[float, float]:
    """The long and the short side of its upright bounding box before it is turned, in pixels."""
    columns, rows = zip(*outline(replace(shape, angle=0.0)), strict=True)
    wide, high = max(columns) - min(columns), max(rows) - min(rows)
    return max(wide, high), min(wide, high)
