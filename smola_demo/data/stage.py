"""A lit ground with solids on it, seen by a camera: what is visible of each, and the finished picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from smola_demo.data.solids import REACH, Solid, hits, shade

if TYPE_CHECKING:
    from smola_demo.data.ground import RGB

MOSTLY = 0.65  # share of a solid that stays visible: less, and people disagree about what it is
SHARPEN = 1.5  # rendered larger by this factor, so that edges come out smooth


class View(NamedTuple):
    """Camera, light and ground of a scene; the camera stands at (0, -away, height) and looks at the middle.

    light  unit vector towards the lamp
    zoom   focal length in picture widths
    """

    away: float
    height: float
    zoom: float
    light: tuple[float, float, float]
    floor: RGB


class Stage:
    """A ground that takes solids one by one, as long as all stay mostly visible, and is then rendered.

    size   (width, height) of the picture in pixels
    """

    def __init__(self, view: View, size: tuple[int, int]) -> None:
        self.view, self.size = view, size
        self.solids: list[Solid] = []
        width, height = (round(side * SHARPEN) for side in size)
        self._eye = np.array([[0.0], [-view.away], [view.height]], np.float32)
        ahead = np.array([0.0, view.away, 0.4 - view.height])
        self._ahead = ahead / np.linalg.norm(ahead)
        self._up = np.array([0.0, -self._ahead[2], self._ahead[1]])
        self._focal = view.zoom * width
        across = np.arange(width, dtype=np.float32) + 0.5 - width / 2
        down = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
        rays = np.empty((3, height, width), np.float32)
        rays[0] = across
        rays[1] = self._ahead[1] * self._focal - self._up[1] * down
        rays[2] = self._ahead[2] * self._focal - self._up[2] * down
        self._rays = rays / np.sqrt((rays * rays).sum(axis=0))
        self._depth = np.full((height, width), np.inf, np.float32)
        self._owner = np.full((height, width), -1, np.int8)
        self._whole: list[int] = []

    def place(self, x: float, y: float, z: float = 0.0) -> tuple[float, float]:
        """Where a point of the world is in the picture, in its pixels."""
        offset = np.array([x, y, z]) - self._eye[:, 0]
        scale = self._focal / float(offset @ self._ahead)
        height, width = self._depth.shape
        return (width / 2 + x * scale) / SHARPEN, (height / 2 - float(offset @ self._up) * scale) / SHARPEN

    def _window(self, solid: Solid) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of what it can cover, or None when it leaves the picture."""
        x, y = self.place(solid.x, solid.y, solid.radius)
        edge = self.place(solid.x + solid.radius, solid.y, solid.radius)[0] - x
        if not (edge * 1.1 < x < self.size[0] - edge * 1.1 and edge * 1.3 < y < self.size[1] - edge * 1.3):
            return None
        reach = edge * REACH
        left, top = (max(0, int((at - reach) * SHARPEN)) for at in (x, y))
        return left, top, int((x + reach) * SHARPEN) + 1, int((y + reach) * SHARPEN) + 1

    def add(self, solid: Solid) -> bool:
        """Put a solid there; False, and nothing done, where one would leave the picture or be hidden."""
        window = self._window(solid)
        if window is None:
            return False
        left, top, right, bottom = window
        rays = self._rays[:, top:bottom, left:right]
        t = hits(solid, self._eye, rays.reshape(3, -1)).reshape(rays.shape[1:])
        depth, owner = self._depth[top:bottom, left:right], self._owner[top:bottom, left:right]
        wins = t < depth
        whole = [*self._whole, int(np.isfinite(t).sum())]
        mine = np.where(wins, len(self.solids), owner)
        lost = np.bincount(owner[owner >= 0], minlength=len(whole)) - np.bincount(
            mine[mine >= 0], minlength=len(whole)
        )
        seen = np.bincount(self._owner[self._owner >= 0], minlength=len(whole)) - lost
        if any(share < MOSTLY * full for share, full in zip(seen, whole, strict=True)):
            return False
        depth[wins], owner[wins] = t[wins], len(self.solids)
        self.solids.append(solid)
        self._whole = whole
        return True

    def render(self) -> Image.Image:
        """The picture, RGB, of the stage's size."""
        light = np.array(self.view.light, np.float32)
        colors = self._ground(light)
        for i, solid in enumerate(self.solids):
            at = self._owner == i
            rays = self._rays[:, at]
            colors[at] = shade(solid, self._eye + rays * self._depth[at], rays, light).T
        pixels = np.clip(colors * 255, 0, 255).astype(np.uint8)
        return Image.fromarray(pixels).resize(self.size, Image.Resampling.BOX)

    def _ground(self, light: np.ndarray) -> np.ndarray:
        """The floor (height, width, 3), 0-1: brightest in the middle, dark where a solid keeps light off."""
        reach = -self._eye[2] / np.minimum(self._rays[2], -1e-3)
        x, y = self._rays[0] * reach, self._eye[1] + self._rays[1] * reach
        dark = np.zeros(x.shape, bool)
        for solid in self.solids:
            off = solid.radius / light[2]
            near = (x - solid.x + light[0] * off) ** 2 + (y - solid.y + light[1] * off) ** 2
            near = near < (2 * REACH * solid.radius / light[2]) ** 2
            points = np.stack([x[near], y[near], np.zeros(int(near.sum()), np.float32)])
            dark[near] |= np.isfinite(hits(solid, points, light[:, None]))
        soft = Image.fromarray(dark.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(2.2 * SHARPEN))
        lit = 1 - 0.5 * np.asarray(soft, np.float32) / 255
        lit *= np.float32(1.04) / (1 + 0.003 * np.minimum(x * x + y * y, 400))
        return lit[..., None] * np.array(self.view.floor, np.float32) / 255
