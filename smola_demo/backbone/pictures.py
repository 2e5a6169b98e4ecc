"""How large a picture a model may be given, and what it costs: tiles, patches, visual tokens.

A family varies the number of tiles, the grid, or nothing. Pictures are taken as square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

TILE_ROWS = (4, 3, 2, 1)  # SmolVLM's processors bring a picture to four tiles a side
TILE_COUNTS = (12, 6, 4, 1)  # InternVL's processors cut a picture into twelve tiles at most
GRIDS = (64, 48, 32, 24, 16, 8)  # visual tokens a side, where a model takes any size
TILE_MARKERS = 4  # tokens that say where a tile sits


@dataclass(frozen=True)
class Picture:
    """A size of picture as the model sees it.

    label    the size in words
    tiles    pictures that pass the vision tower at once
    side     pixels along one side of a tile
    patches  positions of the tower's stream per tile
    tokens   visual tokens in the prompt
    markers  text tokens around the tiles
    """

    label: str
    tiles: int
    side: int
    patches: int
    tokens: int
    markers: int = 0


def pictures(config: Any) -> tuple[Picture, ...]:
    """The sizes a model of this config can be given, the largest first; one where the size is fixed."""
    vision = config.vision_config
    patch = _side(vision.patch_size)
    if merge := getattr(vision, "spatial_merge_size", None):
        return tuple(_grid(n, merge, patch) for n in GRIDS)
    side = _side(vision.image_size)
    patches = (side // patch) ** 2
    if scale := getattr(config, "scale_factor", None):
        tokens = patches // scale**2
        return tuple(
            _tiled(n * n + (n > 1), f"{n * side} × {n * side}", side, patches, tokens) for n in TILE_ROWS
        )
    if hasattr(config, "downsample_ratio"):
        tokens = config.image_seq_length
        counts = [(n, n + (n > 1)) for n in TILE_COUNTS]  # a thumbnail joins the tiles
        return tuple(
            _tiled(all_, f"{n} tile{'s' * (n > 1)} of {side} × {side}", side, patches, tokens)
            for n, all_ in counts
        )
    # Read whole and in tiles, as many as the picture's shape asks for: nothing keeps it below the most.
    if pinpoints := getattr(config, "image_grid_pinpoints", None):
        return (_canvas(pinpoints, config.vision_aspect_ratio, side, patches),)
    tokens = (
        getattr(config, "mm_tokens_per_image", None) or getattr(config, "image_seq_length", None) or patches
    )
    if config.model_type == "paligemma":  # its config counts the tokens of 224 × 224 unless told otherwise
        tokens = patches
    return (Picture(f"{side} × {side}", 1, side, patches, tokens),)


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, list | tuple) else size)


def _tiled(tiles: int, label: str, side: int, patches: int, tokens: int) -> Picture:
    return Picture(label, tiles, side, patches, tiles * tokens, TILE_MARKERS * tiles)


def _canvas(pinpoints: Any, aspect: str, side: int, patches: int) -> Picture:
    """A picture whole and once more in tiles, shrunk to so many towers' worth of tokens, and line ends."""
    tiles, (high, wide) = max((h // side * (w // side), (h, w)) for h, w in pinpoints)
    shrunk = min(tiles, int(aspect.removeprefix("anyres_max_")))
    lines = math.ceil(math.sqrt(shrunk * patches))
    return Picture(f"{wide} × {high}", 1 + tiles, side, patches, (1 + shrunk) * patches + lines)


def _grid(n: int, merge: int, patch: int) -> Picture:
    side = n * merge * patch
    return Picture(f"{side} × {side}", 1, side, (n * merge) ** 2, n * n)
