"""Qwen2-VL, 2.5-VL and 3-VL: a grid in the picture's own shape, at most 512 tokens (SMOLA_VISUAL_TOKENS)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from smola_demo.backbone import BackboneError
from smola_demo.backbone.base import grid_boxes
from smola_demo.backbone.family import FamilyBackbone, Picture, refuse_strip
from smola_demo.context import VISUAL

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from smola_demo.backbone.pictures import Picture as Size

LIMIT = "SMOLA_VISUAL_TOKENS"  # the most visual tokens that a picture becomes
DEFAULT_LIMIT = 512  # the published settings allow 16384: more than a consumer card holds in a sweep's batch
LONGEST = 200  # the image processor takes no picture that is more than this many times as long as wide


class QwenVLBackbone(FamilyBackbone):
    """The picture is stretched to whole cells, uncropped; each a visual token of merge_size² patches.

    A token has a place in time, height and width. The model finds the places itself, from the grids of the
    pictures and from which tokens are visual, so a batch carries no positions.
    """

    @property
    def most_tokens(self) -> int:
        """The most visual tokens of a picture that is no narrow strip: SMOLA_VISUAL_TOKENS, or 512.

        Raises BackboneError for a setting that is no number.
        """
        text = os.environ.get(LIMIT, "").strip() or str(DEFAULT_LIMIT)
        if not text.isdecimal() or not int(text):
            raise BackboneError(f"{LIMIT} is '{text}': set it to a whole number of visual tokens, at least 1")
        return int(text)

    def check(self) -> None:
        """Raise BackboneError without a chat template or for a limit that is no number."""
        super().check()
        _ = self.most_tokens

    @property
    def _cell(self) -> int:
        """Pixels of one visual token."""
        images = self.processor.image_processor
        return (images.patch_size * images.merge_size) ** 2

    def limit(self, size: Size) -> None:
        """Keep pictures to so many visual tokens."""
        images = self.processor.image_processor
        longest = min(images.size["longest_edge"], size.tokens * self._cell)
        images.size = {"shortest_edge": images.size["shortest_edge"], "longest_edge": longest}

    def picture(self, image: Image) -> Picture:
        """Pixels (patches, d), those of a cell side by side; image_grid_thw (1, 3) in patches goes with them.

        Raises ImageError for a picture that is far too long or wide.
        """
        refuse_strip(self.id, image, LONGEST)
        images = self.processor.image_processor
        most = min(images.size["longest_edge"], self.most_tokens * self._cell)
        # A small picture is brought up to whole cells from the least, so that stays well below the most.
        least = min(images.size["shortest_edge"], most // 4)
        size = {"shortest_edge": least, "longest_edge": most}
        made = images(image, size=size, return_tensors="pt")
        grid = made["image_grid_thw"]
        rows, columns = (grid[0, 1:] // images.merge_size).tolist()
        boxes = grid_boxes(rows, columns)
        return Picture(self.image_token * len(boxes), boxes, made["pixel_values"], {"image_grid_thw": grid})

    def token_inputs(self, attention_mask: Tensor, modality: Tensor, is_answer: Tensor) -> dict[str, Tensor]:
        """Which tokens are visual."""
        return {"mm_token_type_ids": (modality == VISUAL).long()}
