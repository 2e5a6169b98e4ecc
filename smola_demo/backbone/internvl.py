"""InternVL 3 and 3.5: a picture as square tiles, row by row, and the whole of it once more as a thumbnail.

Served are the models in the library's own format, whose names end in -hf or -HF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from smola_demo.backbone.base import grid_boxes
from smola_demo.backbone.family import FamilyBackbone, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from smola_demo.backbone.pictures import Picture as Size

START, END = "<img>", "</img>"


class InternVLBackbone(FamilyBackbone):
    """One visual token is 2 × 2 patches of a tile. The picture is stretched to whole tiles, uncropped."""

    @property
    def side(self) -> int:
        """Visual tokens along one side of a tile."""
        config = self.model.config
        size, patch = config.vision_config.image_size[0], config.vision_config.patch_size[0]
        return int(size // patch * config.downsample_ratio)

    def limit(self, size: Size) -> None:
        """Keep pictures to so many tiles; the thumbnail comes on top."""
        images = self.processor.image_processor
        images.max_patches = min(images.max_patches, max(1, size.tiles - 1))

    def picture(self, image: Image) -> Picture:
        """Pixels (tiles, 3, h, w), the thumbnail last; a picture that one tile holds has none."""
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

        images = self.processor.image_processor
        pixels = images(image, crop_to_patches=True, return_tensors="pt")["pixel_values"]
        shape, tile = (image.height, image.width), (images.size["height"], images.size["width"])
        columns, rows = get_optimal_tiled_canvas(shape, tile, images.min_patches, images.max_patches)
        boxes = [
            grid_boxes(self.side, self.side, (c / columns, r / rows, (c + 1) / columns, (r + 1) / rows))
            for r in range(rows)
            for c in range(columns)
        ]
        if len(boxes) > 1:
            boxes.append(grid_boxes(self.side, self.side))
        areas = torch.cat(boxes)
        return Picture(f"{START}{self.image_token * len(areas)}{END}", areas, pixels)
