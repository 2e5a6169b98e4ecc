"""Rendered scenes: one to ten solids on a lit ground, or one small flat shape, with questions on them.

A solid is asked about only where it is mostly visible. The arc layout is kept for the dev split.
"""

from __future__ import annotations

import math
import random

from smola_demo.data import flat_shape, ground, scene_questions
from smola_demo.data.row import Mark, Scene
from smola_demo.data.scene_names import VALUES, Seen
from smola_demo.data.solids import Solid
from smola_demo.data.stage import Stage, View

LAYOUTS = ("scatter", "scatter", "scatter", "scatter", "row", "flat")
HELD_OUT_LAYOUTS = ("arc",)
SIZES = {"large": 0.74, "small": 0.37}  # radii in world units, far enough apart to tell at any distance
# Black and white would lose their shading, and orange in the shade is brown.
COLORS: dict[str, ground.RGB] = ground.COLORS | {"cyan": (30, 195, 210)}
MOST = 10
_FRAMES = ((320, 240), (288, 256), (256, 256), (340, 240))
_ROOM = 0.12  # world units that stay free between two solids


def _view(rng: random.Random) -> View:
    """A camera above the ground; the lamp is on its side, so that no solid shows only its shade."""
    around, up = math.radians(rng.uniform(-150, -30)), math.radians(rng.uniform(40, 65))
    light = (math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up))
    level = rng.randint(165, 225)
    floor = ground.jitter(rng, (level, level - 4, level - 8), 12)
    return View(8.5, rng.uniform(4.4, 6.2), rng.uniform(1.15, 1.35), light, floor)


def _spots(rng: random.Random, layout: str, count: int) -> list[tuple[float, float]]:
    """Places to try, in world units; more of them than there are solids where they are drawn by chance."""
    if layout == "scatter":
        return [(rng.uniform(-3.0, 3.0), rng.uniform(-2.4, 3.2)) for _ in range(count * 30)]
    if layout == "row":
        y, tilt, step = rng.uniform(-1, 1.5), rng.uniform(-0.25, 0.25), min(1.5, 5.4 / count)
        line = [step * (i - (count - 1) / 2) for i in range(count)]
        return [(x, y + tilt * x) for x in line]
    start = rng.uniform(0, 2 * math.pi)
    turns = [start + 2 * math.pi * i / (count + 1) for i in range(count)]
    return [(2.2 * math.cos(t), 0.4 + 2.1 * math.sin(t)) for t in turns]


def _fill(rng: random.Random, stage: Stage, layout: str, count: int) -> None:
    """Put up to `count` solids of a few kinds on the stage."""
    forms, names = (
        rng.sample(VALUES["form"], rng.randint(1, 4)),
        rng.sample(VALUES["color"], rng.randint(1, 5)),
    )
    materials, sizes = (
        rng.sample(VALUES["material"], rng.randint(1, 2)),
        rng.sample(list(SIZES), rng.randint(1, 2)),
    )
    if count > 6 or layout == "row":
        sizes = ["small"] if len(sizes) == 1 else ["small", "small", "large"]
    for x, y in _spots(rng, layout, count):
        size, color = rng.choice(sizes), rng.choice(names)
        radius = SIZES[size]
        if any(
            math.hypot(x - other.x, y - other.y) < radius + other.radius + _ROOM for other in stage.solids
        ):
            continue
        rgb = ground.jitter(rng, COLORS[color], 8)
        turn = rng.uniform(0, math.pi)
        stage.add(Solid(rng.choice(forms), color, rng.choice(materials), size, rgb, x, y, radius, turn))
        if len(stage.solids) == count:
            return


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: RGB, 256-340 × 240-256 px, with counting and other questions."""
    rng = random.Random(f"scenes/{split}/{seed}")
    layout = rng.choice(LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 4)
    name = f"scenes/{split}/{seed}"
    if layout == "flat":
        image, qa, mark = flat_shape.draw(rng)
        return Scene(image, qa, "drawn scenes", name, (f"layout:{layout}",), (mark,))
    count = rng.choice(
        (*range(1, MOST + 1), *range(MOST // 2 + 1, MOST + 1))
    )  # large numbers are rarer to ask
    stage = Stage(_view(rng), rng.choice(_FRAMES))
    while not stage.solids:  # a place drawn by chance may lie outside the picture
        _fill(rng, stage, layout, count)
    seen = [
        Seen(s.form, s.color, s.material, s.size, stage.place(s.x, s.y, s.radius)[0] / stage.size[0], s.y)
        for s in stage.solids
    ]
    image = ground.worn(rng, stage.render(), 0.3)
    qa = scene_questions.ask(rng, seen)
    marks = tuple(_mark(stage, solid) for solid in stage.solids)
    return Scene(image, qa, "drawn scenes", name, (f"layout:{layout}",), marks)


def _mark(stage: Stage, solid: Solid) -> Mark:
    x, y = stage.place(solid.x, solid.y, solid.radius)
    return Mark((f" {solid.color}", f" {solid.form}"), x / stage.size[0], y / stage.size[1])
