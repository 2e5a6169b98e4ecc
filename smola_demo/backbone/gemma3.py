"""Gemma 3: a square grid of visual tokens, averaged over patches, that see each other both ways.

Text is causal: it sees what was before it, and only visual tokens look ahead, to the end of their picture.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from smola_demo.backbone import BackboneError
from smola_demo.backbone.base import grid_boxes
from smola_demo.backbone.family import FamilyBackbone, Picture
from smola_demo.context import VISUAL

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Gemma3Backbone(FamilyBackbone):
    """The picture is squeezed to a square, uncropped; no further crops of it are taken ("pan and scan")."""

    licence_note = "Gemma terms of use"

    def check(self) -> None:
        """Raise BackboneError without a chat template, or in float16, too small for its hidden states."""
        super().check()
        if self.model.dtype == torch.float16:
            raise BackboneError(
                f"'{self.id}' overflows in float16, all that this GPU has: choose precision bf16 or fp32"
            )

    @property
    def placeholder(self) -> str:
        """The begin marker: the chat template writes it for a picture, and the model reads it as text."""
        return self.tokenizer.convert_ids_to_tokens(self.model.config.boi_token_id)

    def picture(self, image: Image) -> Picture:
        """Pixels (1, 3, h, w)."""
        images = self.processor.image_processor
        pixels = images(image, do_pan_and_scan=False, return_tensors="pt")["pixel_values"]
        config = self.model.config
        side = math.isqrt(config.mm_tokens_per_image)
        end = self.tokenizer.convert_ids_to_tokens(config.eoi_token_id)
        text = f"\n\n{self.placeholder}{self.image_token * side**2}{end}\n\n"
        return Picture(text, grid_boxes(side, side), pixels)

    def token_inputs(self, attention_mask: Tensor, modality: Tensor, is_answer: Tensor) -> dict[str, Tensor]:
        """Positions, and token types: 1 marks the block of a picture."""
        plain = super().token_inputs(attention_mask, modality, is_answer)
        return {**plain, "token_type_ids": (modality == VISUAL).long()}
