"""Drawn objects of which only numbers are asked: many counting questions on each picture.

A language model learns what to count from a few pictures and how to count from many questions; here one
picture's visual tokens serve for a dozen of them.
"""

from __future__ import annotations

import random

from smola_demo.data import shape_questions, shapes
from smola_demo.data.row import Scene

LAYOUTS = ("scatter", "scatter", "scatter", "row", "column", "grid")
HELD_OUT_LAYOUTS = shapes.HELD_OUT_LAYOUTS
MOST = 12


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: two to ten objects, 256×256 px RGB, with up to twelve counting questions."""
    rng = random.Random(f"counts/{split}/{seed}")
    layouts = LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 4
    image, objects, _, layout = shapes.drawing(rng, layouts)
    qa = shape_questions.ask_counts(rng, objects, MOST)
    name = f"counts/{split}/{seed}"
    return Scene(image, qa, "drawn counts", name, (f"layout:{layout}",), shapes.marks(objects))
