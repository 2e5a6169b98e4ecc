"""What drawn pictures stand on: named colours, plain, shaded and noisy grounds, the wear of a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    import random

RGB = tuple[int, int, int]

# Names people use, far enough apart that jitter never turns one into another.
COLORS: dict[str, RGB] = {
    "red": (220, 30, 35),
    "green": (35, 150, 50),
    "blue": (35, 70, 215),
    "yellow": (245, 220, 40),
    "orange": (250, 135, 20),
    "purple": (130, 40, 165),
    "pink": (250, 130, 185),
    "brown": (125, 75, 35),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "gray": (130, 130, 130),
    "teal": (0, 140, 140),
}


def jitter(rng: random.Random, color: RGB, amount: int = 14) -> RGB:
    """The colour moved by at most `amount` a channel; greys stay grey."""
    if max(color) - min(color) < 6:
        move = rng.randint(-amount, amount)
        level = min(255, max(0, color[0] + move))
        return level, level, level
    red, green, blue = (min(255, max(0, c + rng.randint(-amount, amount))) for c in color)
    return red, green, blue


def luminance(color: RGB) -> float:
    """Perceived brightness, 0-255."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def distance(a: RGB, b: RGB) -> float:
    """How far apart two colours are, 0-765."""
    return float(sum(abs(x - y) for x, y in zip(a, b, strict=True)))


def plain(size: tuple[int, int], color: RGB) -> Image.Image:
    """One colour everywhere."""
    return Image.new("RGB", size, color)


def gradient(rng: random.Random, size: tuple[int, int], start: RGB, end: RGB) -> Image.Image:
    """A smooth passage between two colours in a random direction."""
    ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize(size)
    return Image.composite(plain(size, end), plain(size, start), ramp)


def noisy(rng: random.Random, image: Image.Image, strength: float) -> Image.Image:
    """The image with Gaussian grain; strength is its standard deviation in grey levels."""
    noise = np.random.default_rng(rng.getrandbits(32))
    grain = noise.standard_normal((image.height, image.width, 1), dtype=np.float32) * np.float32(strength)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def blotchy(rng: random.Random, size: tuple[int, int], color: RGB, strength: float) -> Image.Image:
    """Soft random clouds around a colour, like paper, a wall or a blurred photograph."""
    noise = np.random.default_rng(rng.getrandbits(32))
    cells = rng.choice((4, 8, 16))
    coarse = noise.normal(0.0, strength, (cells, cells, 3)) + np.array(color, dtype=np.float64)
    return Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def worn(rng: random.Random, image: Image.Image, share: float = 0.4) -> Image.Image:
    """Now and then a little blur, grain or loss of detail, as in a photograph or a scan."""
    if rng.random() >= share:
        return image
    kind = rng.random()
    if kind < 0.4:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    if kind < 0.8:
        return noisy(rng, image, rng.uniform(3, 12))
    scale = rng.uniform(0.6, 0.85)
    small = image.resize(
        (max(1, int(image.width * scale)), max(1, int(image.height * scale))), Image.Resampling.BILINEAR
    )
    return small.resize(image.size, Image.Resampling.BILINEAR)
