"""Shaded solids: where a ray meets a sphere, cube, cylinder or cone, and how its surface looks there.

World: x to the right, y away from the camera, z up, the ground at z = 0; a unit is about a solid's height.
Arrays of points and directions have their three coordinates first: (3, n).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from smola_demo.data.ground import RGB

REACH = 1.5  # a sphere of this many radii holds each solid
_FLAT = 0.8  # half the side of a cube, and the radius of a cylinder, in radii
_TALL = {"sphere": 2.0, "cube": 2 * _FLAT, "cylinder": 1.7, "cone": 2.1}  # heights in radii
_AMBIENT = 0.55


@dataclass(frozen=True)
class Solid:
    """One solid: its names, and where it stands; x, y and radius in world units, turn in radians."""

    form: str
    color: str
    material: str
    size: str
    rgb: RGB
    x: float
    y: float
    radius: float
    turn: float


def _local(solid: Solid, points: np.ndarray) -> np.ndarray:
    """Points as seen from the foot of a solid, in its own turn."""
    cos, sin = math.cos(solid.turn), math.sin(solid.turn)
    x, y = points[0] - solid.x, points[1] - solid.y
    return np.stack([cos * x + sin * y, cos * y - sin * x, points[2]])


def _turned(solid: Solid, vectors: np.ndarray, back: bool = False) -> np.ndarray:
    cos, sin = math.cos(solid.turn), math.sin(solid.turn) * (-1 if back else 1)
    x, y, z = vectors
    return np.stack([cos * x + sin * y, cos * y - sin * x, z])


def _first(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, o: np.ndarray, d: np.ndarray, top: float
) -> np.ndarray:
    """The first root of a t² + 2 b t + c ahead of the eye with a height between 0 and `top`, else inf."""
    inside = b * b - a * c
    root = np.sqrt(np.maximum(inside, 0))
    found = np.full(np.broadcast(a, b, c).shape, np.inf, np.float32)
    for t in ((-b - root) / a, (-b + root) / a):
        z = o[2] + t * d[2]
        found = np.where((inside > 0) & (t > 1e-4) & (z >= 0) & (z <= top), np.minimum(found, t), found)
    return found


def hits(solid: Solid, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far along each ray the solid begins, float32 (n,), inf where the ray misses it.

    `origin` and `direction` are (3, n) or (3, 1); directions have length 1.
    """
    o, d = _local(solid, origin), _turned(solid, direction)
    r, top = solid.radius, _TALL[solid.form] * solid.radius
    if solid.form == "sphere":
        o = o - np.array([[0.0], [0.0], [r]], np.float32)
        return _first(
            np.ones(1, np.float32), (o * d).sum(axis=0), (o * o).sum(axis=0) - r * r, o + r, d, math.inf
        )
    if solid.form == "cube":
        half = _FLAT * r
        middle = np.array([[0.0], [0.0], [half]], np.float32)
        safe = np.where(np.abs(d) < 1e-6, np.float32(1e-6), d)
        near, far = (-half - (o - middle)) / safe, (half - (o - middle)) / safe
        enter, leave = np.minimum(near, far).max(axis=0), np.maximum(near, far).min(axis=0)
        return np.where((enter < leave) & (leave > 1e-4), np.maximum(enter, 0), np.inf)
    if solid.form == "cone":
        slope = (r / top) ** 2
        rest = top - o[2]
        a = d[0] ** 2 + d[1] ** 2 - slope * d[2] ** 2
        b = o[0] * d[0] + o[1] * d[1] + slope * rest * d[2]
        return _first(a, b, o[0] ** 2 + o[1] ** 2 - slope * rest**2, o, d, top)
    side = (_FLAT * r) ** 2
    across = d[0] ** 2 + d[1] ** 2
    wall = _first(across, o[0] * d[0] + o[1] * d[1], o[0] ** 2 + o[1] ** 2 - side, o, d, top)
    lid = (top - o[2]) / d[2]
    on_lid = (lid > 1e-4) & ((o[0] + lid * d[0]) ** 2 + (o[1] + lid * d[1]) ** 2 <= side)
    return np.where(on_lid, np.minimum(wall, lid), wall)


def normals(solid: Solid, points: np.ndarray) -> np.ndarray:
    """Unit vectors (3, n) that stand on the solid's surface at points (3, n) of it."""
    p = _local(solid, points)
    r, top = solid.radius, _TALL[solid.form] * solid.radius
    if solid.form == "sphere":
        return _turned(solid, (p - np.array([[0.0], [0.0], [r]], np.float32)) / r, back=True)
    if solid.form == "cube":
        p[2] -= _FLAT * r
        out = np.where(np.abs(p) >= np.abs(p).max(axis=0), np.sign(p), 0)
    elif solid.form == "cone":
        out = np.stack([p[0], p[1], np.hypot(p[0], p[1]) * r / top])
    else:
        lid = p[2] > top * 0.999
        out = np.stack([np.where(lid, 0, p[0]), np.where(lid, 0, p[1]), lid.astype(np.float32)])
    return _turned(solid, out / np.maximum(np.linalg.norm(out, axis=0), 1e-6), back=True)


def _glint(
    solid: Solid, points: np.ndarray, up: np.ndarray, rays: np.ndarray, light: np.ndarray
) -> np.ndarray:
    """How much of the lamp and the windows a shiny surface mirrors, 0-1 (n,), so that each form shows it."""
    if solid.form == "sphere":
        mirrored = rays - 2 * (rays * up).sum(axis=0) * up
        return np.maximum(light @ mirrored, 0) ** 40
    if solid.form == "cube":  # a plane face mirrors a window as a slanting band
        height = (0.6 * (points[0] - solid.x) + points[2]) / solid.radius
        bands = np.exp(-(((height - 0.7) / 0.13) ** 2)) + np.exp(-(((height - 1.1) / 0.05) ** 2))
        return 0.6 * bands * (np.abs(up[2]) < 0.5)
    toward = light[:2, None] / np.linalg.norm(light[:2]) - rays[:2] / np.linalg.norm(rays[:2], axis=0)
    flat = up[:2] / np.maximum(np.linalg.norm(up[:2], axis=0), 1e-6)
    streak = (flat * toward).sum(axis=0) / np.maximum(np.linalg.norm(toward, axis=0), 1e-6)
    return 0.8 * np.maximum(streak, 0) ** 80 * (up[2] < 0.95)


def shade(solid: Solid, points: np.ndarray, rays: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Colours (3, n), 0-1, of points (3, n) of the surface, seen along these rays."""
    up = normals(solid, points)
    base = np.array(solid.rgb, np.float32)[:, None] / 255
    facing = np.maximum(light @ up, 0)
    if solid.material == "matte":
        return base * (_AMBIENT + 0.55 * facing)
    sky = np.clip(
        0.5 + 0.9 * (rays[2] - 2 * (rays * up).sum(axis=0) * up[2]), 0, 1
    )  # dark below, bright above
    return (
        base * (0.34 + 0.45 * facing + 0.36 * sky)
        + 0.1 * sky**3
        + 0.85 * _glint(solid, points, up, rays, light)
    )
