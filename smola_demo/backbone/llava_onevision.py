"""LLaVA-OneVision: the whole picture once, then a finer grid of tiles without the bars around the picture.

Each line of the finer grid ends in a learned token that looks at nothing: its rectangle has no width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from smola_demo.backbone.base import grid_boxes
from smola_demo.backbone.family import FamilyBackbone, Picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

SHRINK_FROM = 1.1  # the model shrinks a finer grid that is larger than its limit by more than this, per side


class LlavaOnevisionBackbone(FamilyBackbone):
    """One square tower, run over the picture squeezed and over tiles of the picture scaled into a canvas."""

    def picture(self, image: Image) -> Picture:
        """Pixels (1 + tiles, 3, h, w), the whole picture first; image_sizes (1, 2) go with them."""
        from transformers.image_processing_utils import select_best_resolution

        made = self.processor.image_processor(image, return_tensors="pt")
        config = self.model.config
        size, patch = config.vision_config.image_size, config.vision_config.patch_size
        side = size // patch
        reach = side * patch / size  # patches may leave a rest at the right and the bottom
        whole = grid_boxes(side, side, (0.0, 0.0, reach, reach))
        canvas = select_best_resolution((image.height, image.width), config.image_grid_pinpoints)
        tiles = canvas[0] // size, canvas[1] // size
        ys, xs = (self._edges(n, size, patch) for n in tiles)
        finer = self._without_bars(ys, xs, image, canvas)
        boxes = torch.cat([whole, finer])
        pixels = made["pixel_values"][0][: 1 + tiles[0] * tiles[1]]
        more = {"image_sizes": torch.as_tensor(made["image_sizes"]).view(1, 2)}
        return Picture(self.image_token * len(boxes), boxes, pixels, more)

    @staticmethod
    def _edges(tiles: int, size: int, patch: int) -> Tensor:
        """(tiles · side, 2): where each cell of a line of tiles starts and ends, in pixels of the canvas."""
        starts = torch.arange(size // patch) * patch
        starts = (torch.arange(tiles)[:, None] * size + starts).flatten()
        return torch.stack([starts, starts + patch], dim=-1).float()

    def _without_bars(self, ys: Tensor, xs: Tensor, image: Image, canvas: tuple[int, int]) -> Tensor:
        """(n, 4) boxes of the finer grid with its line ends, as the model cuts and shrinks it."""
        w, h = image.size
        scale = min(canvas[1] / w, canvas[0] / h)
        new_w, new_h = min(math.ceil(w * scale), canvas[1]), min(math.ceil(h * scale), canvas[0])
        top, left = (canvas[0] - new_h) // 2, (canvas[1] - new_w) // 2
        # Bars are cut off in whole cells, so a cell at the border may reach into one.
        if w / h > len(xs) / len(ys):
            bar = (len(ys) - int(round(h * (len(xs) / w), 7))) // 2
            ys = ys[bar : len(ys) - bar]
        else:
            bar = (len(xs) - int(round(w * (len(ys) / h), 7))) // 2
            xs = xs[bar : len(xs) - bar]
        most = int(self.model.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        side = self.model.config.vision_config.image_size // self.model.config.vision_config.patch_size
        ratio = math.sqrt(len(ys) * len(xs) / (most * side**2))
        if ratio > SHRINK_FROM:
            ys, xs = _shrunk(ys, int(len(ys) // ratio)), _shrunk(xs, int(len(xs) // ratio))
        ys, xs = ((ys - top) / new_h).clamp(0, 1), ((xs - left) / new_w).clamp(0, 1)
        xs = torch.cat([xs, torch.ones(1, 2)])
        y, x = torch.meshgrid(torch.arange(len(ys)), torch.arange(len(xs)), indexing="ij")
        return torch.stack([xs[x, 0], ys[y, 0], xs[x, 1], ys[y, 1]], dim=-1).flatten(0, 1)


def _shrunk(cells: Tensor, n: int) -> Tensor:
    """(n, 2): starts and ends of n cells over a line of more cells (m, 2)."""
    corners = torch.cat([cells[:, 0], cells[-1:, 1]])
    at = torch.arange(n + 1) * (len(cells) / n)
    low = at.long().clamp(max=len(cells) - 1)
    places = corners[low] + (at - low) * (corners[low + 1] - corners[low])
    return torch.stack([places[:-1], places[1:]], dim=-1)
