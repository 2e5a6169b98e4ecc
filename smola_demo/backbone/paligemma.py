"""PaliGemma 1 and 2: a square grid of visual tokens, short task prefixes, a prompt that attends both ways."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smola_demo.backbone.base import grid_boxes
from smola_demo.backbone.family import FamilyBackbone, Picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

# The prefixes that the mixed checkpoints were tuned on; "ask" goes as it is, so that any prefix can be tried.
PREFIXES = {"caption": "caption en", "read": "ocr", "ask": "{question}"}
QUESTION = "answer en {question}"


class PaliGemmaBackbone(FamilyBackbone):
    """The picture is squeezed to a square, uncropped. Positions count from 1; answers are token type 1."""

    bidirectional_prompt = True
    chats = False
    licence_note = "Gemma terms of use"

    def prompt(self, task: str, question: str | None = None) -> str:
        """The model's own prefix for a task of ours."""
        from smola_demo.tasks import TASKS

        return replace(TASKS[task], template=PREFIXES.get(task, QUESTION)).prompt(question)

    def picture(self, image: Image) -> Picture:
        """Pixels (1, 3, h, w)."""
        pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        return Picture(self.image_token * side**2, grid_boxes(side, side), pixels)

    def texts(self, prompt: str, picture: Picture | None, answer: str | None) -> tuple[str, str | None]:
        """Placeholders, begin, prefix, line break; then the answer and its end. There is no chat template."""
        ends = self.tokenizer
        asked = f"{picture.text if picture else ''}{ends.bos_token}{prompt}\n"
        return asked, None if answer is None else answer + ends.eos_token

    def token_inputs(self, attention_mask: Tensor, modality: Tensor, is_answer: Tensor) -> dict[str, Tensor]:
        """Positions and token types: type 0 is seen both ways, type 1 looks back only."""
        return {"position_ids": attention_mask.cumsum(-1), "token_type_ids": is_answer.long()}
