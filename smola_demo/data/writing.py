"""A pen that remembers what it has written where, for pictures that tell what lies in them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from PIL import ImageDraw

from smola_demo.data.row import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image, ImageFont

# Pixels from the middle of a line to its top, about; the same for all sizes, so that a line stays together.
_HALF_LINE = {"a": 7, "t": 7, "m": 0, "s": -7, "b": -7, "d": -7}
SHORTEST_WORD = 3  # letters; anything shorter, and all that holds a digit or a sign, is told letter by letter


class Pen(ImageDraw.ImageDraw):
    """Pillow's pen on an RGB picture, which keeps a mark for all that `text` has put on it.

    A word is one mark, as it would stand in a sentence; numbers, dates and codes are a mark a letter, and so
    is everything on a page that is `spelled`, to be read out.
    """

    def __init__(self, image: Image.Image, spelled: bool = False) -> None:
        super().__init__(image)
        self.size = image.size
        self.spelled = spelled
        self._written: list[tuple[float, Mark]] = []

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        font: ImageFont.FreeTypeFont,
        anchor: str = "la",
        **options: Any,
    ) -> None:
        """One line in `font` with its anchor at `xy` (pixels); the other options are Pillow's."""
        super().text(xy, text, font=font, anchor=anchor, **options)
        left, top, _, bottom = self.textbbox(xy, text, font=font, anchor=anchor)
        line = xy[1] + _HALF_LINE[anchor[1]]
        offset = 0
        for word in text.split(" "):
            bare = word.rstrip(":,.!?")
            if bare.isalpha() and len(bare) >= SHORTEST_WORD and not self.spelled:
                pieces = [(f" {bare}", offset, offset + len(bare))]
            else:
                pieces = [(letter, offset + i, offset + i + 1) for i, letter in enumerate(word)]
            for piece, first, last in pieces:
                middle = left + (font.getlength(text[:first]) + font.getlength(text[:last])) / 2
                at = (middle / self.size[0], (top + bottom) / 2 / self.size[1])
                self._written.append((line, Mark((piece,), *at)))
            offset += len(word) + 1

    def marks(self, turned: float = 0.0) -> tuple[Mark, ...]:
        """All that is written, line by line, where it lies once the picture is turned about its middle.

        A line is what was written at one height, in whatever size and wherever its ink lies.

        turned  degrees, counter-clockwise, as of `Image.rotate`
        """
        in_order = sorted(self._written, key=lambda found: (found[0], found[1].x))
        return tuple(self._turn((mark for _, mark in in_order), math.radians(turned)))

    def _turn(self, marks: Iterable[Mark], angle: float) -> Iterable[Mark]:
        cos, sin = math.cos(angle), math.sin(angle)
        width, height = self.size
        for mark in marks:
            right, down = (mark.x - 0.5) * width, (mark.y - 0.5) * height
            x, y = right * cos + down * sin, down * cos - right * sin
            yield Mark(mark.words, x / width + 0.5, y / height + 0.5)
