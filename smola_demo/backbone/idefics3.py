"""Idefics3 and SmolVLM: a picture as tiles, row by row, and the whole of it once more as a thumbnail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from smola_demo.backbone.base import grid_boxes
from smola_demo.backbone.family import FamilyBackbone, Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image
    from torch import Tensor

    from smola_demo.backbone.base import Encoded
    from smola_demo.backbone.pictures import Picture as Size

EDGE, WHOLE = "<fake_token_around_image>", "<global-img>"


class Idefics3Backbone(FamilyBackbone):
    """One visual token is scale_factor² patches of a tile. Pictures are stretched to whole tiles."""

    decoder_path = "model.text_model"

    @property
    def side(self) -> int:
        """Visual tokens along one side of a tile."""
        config = self.model.config
        return config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor

    def limit(self, size: Size) -> None:
        """Keep pictures to so many tiles a side."""
        images, side = self.processor.image_processor, size.side
        longest = side * max(1, math.isqrt(size.tiles))
        images.size = {"longest_edge": min(images.size["longest_edge"], longest)}

    def picture(self, image: Image) -> Picture:
        """Pixels (tiles, 3, h, w), the thumbnail last."""
        made = self.processor.image_processor(image, return_row_col_info=True, return_tensors="pt")
        rows, columns = made["rows"][0][0], made["cols"][0][0]  # 0 and 0: the thumbnail is all there is
        tokens = self.image_token * self.side**2
        text, boxes = "", []
        for r in range(rows):
            for c in range(columns):
                text += f"{EDGE}<row_{r + 1}_col_{c + 1}>{tokens}"
                area = (c / columns, r / rows, (c + 1) / columns, (r + 1) / rows)
                boxes.append(grid_boxes(self.side, self.side, area))
            text += "\n"
        text += "\n" * bool(rows) + f"{EDGE}{WHOLE}{tokens}{EDGE}"
        boxes.append(grid_boxes(self.side, self.side))
        return Picture(text, torch.cat(boxes), made["pixel_values"][0])

    def image_inputs(self, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """The tiles of all rows as those of one: the model reads them in order, however rows share them."""
        return {name: value[None] for name, value in super().image_inputs(rows).items()}
