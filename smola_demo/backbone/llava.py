"""LLaVA: one grid of visual tokens over the part of the picture that the image processor leaves in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from smola_demo.backbone import BackboneError
from smola_demo.backbone.base import grid_boxes
from smola_demo.backbone.family import FamilyBackbone, Picture, refuse_strip

if TYPE_CHECKING:
    from PIL.Image import Image

# Vision tower → the tokens it puts before the patches, such as CLIP's class token.
LONGEST = 30  # CLIP's processor scales before it cuts: a thin strip would take gigabytes
TOWERS = {"clip_vision_model": 1, "siglip_vision_model": 0}


class LlavaBackbone(FamilyBackbone):
    """A class token that the model keeps counts as visual and looks at all that the tower sees."""

    def check(self) -> None:
        """Raise BackboneError without a chat template or for a tower that we know nothing of."""
        super().check()
        tower = self.model.config.vision_config.model_type
        if tower not in TOWERS:
            raise BackboneError(
                f"'{self.id}' is a LLaVA that sees with a {tower}: choose one of {', '.join(TOWERS)}"
            )

    def picture(self, image: Image) -> Picture:
        """Pixels (1, 3, h, w); of a picture that is no square, CLIP's processor cuts the ends off.

        Raises ImageError for a picture that is far too long or wide.
        """
        refuse_strip(self.id, image, LONGEST)
        pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        config = self.model.config
        patch, (height, width) = config.vision_config.patch_size, pixels.shape[-2:]
        rows, columns = height // patch, width // patch
        left, top, right, bottom = self._seen(image, width, height)
        # Patches may leave a rest at the right and the bottom.
        right = left + (right - left) * columns * patch / width
        bottom = top + (bottom - top) * rows * patch / height
        area = (left, top, right, bottom)
        before = TOWERS[config.vision_config.model_type] - (
            config.vision_feature_select_strategy == "default"
        )
        boxes = torch.cat([grid_boxes(1, 1, area)] * max(before, 0) + [grid_boxes(rows, columns, area)])
        return Picture(self.image_token * len(boxes), boxes.clamp(0, 1), pixels)

    def _seen(self, image: Image, width: int, height: int) -> tuple[float, float, float, float]:
        """What the processor leaves in, as fractions of the picture; beyond 0 and 1 where it pads."""
        settings = self.processor.image_processor
        (w, h), padded = image.size, bool(getattr(settings, "do_pad", False))
        side = max(w, h)
        canvas = (side, side) if padded else (w, h)
        start = ((side - w) // 2, (side - h) // 2) if padded else (0, 0)
        cut = (1.0, 1.0), (0.0, 0.0)
        if settings.do_center_crop and "shortest_edge" in settings.size:
            short = settings.size["shortest_edge"]
            resized = [int(short * edge / min(canvas)) for edge in canvas]
            cut = (
                (width / resized[0], height / resized[1]),
                ((resized[0] - width) // 2 / resized[0], (resized[1] - height) // 2 / resized[1]),
            )
        (share_x, share_y), (from_x, from_y) = cut
        left = (from_x * canvas[0] - start[0]) / w
        top = (from_y * canvas[1] - start[1]) / h
        return left, top, left + share_x * canvas[0] / w, top + share_y * canvas[1] / h
