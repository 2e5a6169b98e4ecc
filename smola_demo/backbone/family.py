"""What all families from the model hub share: a chat template, an image processor, one row from both.

A family adds how its model takes a picture: which placeholders stand for it, and where each of them looks.
Visual tokens are the positions of the config's image token alone; the begin, end, row and column markers
around them are text.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from smola_demo.backbone import BackboneError
from smola_demo.backbone.base import Backbone, Encoded
from smola_demo.context import VISUAL
from smola_demo.data.images import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from smola_demo.backbone.pictures import Picture as Size


@dataclass(frozen=True)
class Picture:
    """A picture made ready for a family's model.

    text    what stands for it in the prompt: n placeholders, between the family's markers
    boxes   (n, 4) float32, x0 y0 x1 y1 of each placeholder as fractions of the user's image
    pixels  for the model's pixel_values; rows are joined along the first axis
    more    further inputs that go with the pixels, joined along the first axis too
    """

    text: str
    boxes: Tensor
    pixels: Tensor
    more: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True)
class Processor:
    """What turns words and pictures into a model's inputs."""

    tokenizer: Any
    image_processor: Any
    chat_template: str | None


def refuse_strip(id: str, image: Image, longest: int) -> None:
    """Raise ImageError for a picture that is more than so many times as long as wide."""
    if max(image.size) > longest * min(image.size):
        raise ImageError(
            f"'{id}' takes no picture of {image.width} × {image.height} pixels, which is more than "
            f"{longest} times as long as wide: cut it"
        )


class FamilyBackbone(Backbone):
    """A model of one family. Subclasses say what a picture becomes, and differ in little else.

    chats         prompts go through the model's chat template
    licence_note  said where a model's own card names no licence
    """

    chats: ClassVar[bool] = True
    licence_note: ClassVar[str] = "see the model's card"

    def check(self) -> None:
        """Raise BackboneError for a model that the family cannot serve."""
        if self.chats and self.processor.chat_template is None:
            raise BackboneError(
                f"'{self.id}' has no chat template: choose a model tuned to follow instructions"
            )

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """What the model's own settings call an end, and the tokenizer's end of text."""
        own = self.model.generation_config.eos_token_id
        ends = [*(own if isinstance(own, list | tuple) else [own]), self.tokenizer.eos_token_id]
        return tuple(dict.fromkeys(end for end in ends if end is not None))

    @property
    def placeholder(self) -> str:
        """What the chat template writes where a picture goes."""
        return self.image_token

    @property
    def image_token(self) -> str:
        """The text of the placeholder of one visual token."""
        return self.tokenizer.convert_ids_to_tokens(self.image_token_id)

    def limit(self, size: Size) -> None:
        """Keep pictures to this size, where the family can vary it; here it cannot."""

    @abstractmethod
    def picture(self, image: Image) -> Picture:
        """An RGB image as the model takes it."""

    def prepare(self, image: Image) -> Picture:
        """The picture, resized, cut and normalised."""
        return self.picture(image.convert("RGB"))

    def encode(self, image: Image | Picture | None, prompt: str, answer: str | None = None) -> Encoded:
        """One row in the model's own format. What the user wrote makes no special token."""
        picture = image if image is None or isinstance(image, Picture) else self.prepare(image)
        asked, said = self.texts(self.plain(prompt), picture, None if answer is None else self.plain(answer))
        ids, answer_start = self._ids(asked, said)
        input_ids = torch.tensor(ids)
        modality = self.modality_of(input_ids)
        if picture is None:
            return Encoded(input_ids, None, answer_start, modality)
        written = int((modality == VISUAL).sum())
        if written != len(picture.boxes):
            raise BackboneError(
                f"'{self.id}' has {written} placeholders for {len(picture.boxes)} visual tokens: "
                "its tokenizer or chat template does not fit its model"
            )
        return Encoded(input_ids, picture.pixels, answer_start, modality, picture.boxes, picture.more)

    def patch_boxes(self, row: Encoded) -> Tensor:
        """(n, 4) float32, as the family's `picture` found them."""
        return torch.zeros(0, 4) if row.boxes is None else row.boxes

    def texts(self, prompt: str, picture: Picture | None, answer: str | None) -> tuple[str, str | None]:
        """The prompt, and what follows it up to its end if the model is to say `answer`."""
        shown = [{"type": "image"}] if picture else []
        turns = [{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}]
        asked, said = self._render(turns, ask=True), None
        if answer is not None:
            turns += [{"role": "assistant", "content": [{"type": "text", "text": answer}]}]
            whole = self._render(turns, ask=False)
            # Some templates open a given answer otherwise than one to be given: then it starts at its words.
            start = len(asked) if whole.startswith(asked) else whole.rfind(answer.strip())
            said = self._up_to_end(whole[start:])
        return asked.replace(self.placeholder, picture.text, 1) if picture else asked, said

    def plain(self, text: str) -> str:
        """The user's words with every special token broken by a blank, so that it stays words."""
        for token in self._special:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    @cached_property
    def _special(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return sorted(
            {self.placeholder, *(t.content for t in added if t.special)} - {""}, key=len, reverse=True
        )

    def _render(self, turns: list[dict[str, Any]], ask: bool) -> str:
        return self.tokenizer.apply_chat_template(
            turns, chat_template=self.processor.chat_template, tokenize=False, add_generation_prompt=ask
        )

    def _ids(self, asked: str, said: str | None) -> tuple[list[int], int]:
        """Token ids of prompt and answer, and where the answer starts."""
        begin = self.tokenizer.bos_token
        # A text that writes the begin token itself, be it behind the picture, must not get a second one.
        marked = not (begin and begin in asked)
        prompt = self.tokenizer(asked, add_special_tokens=marked)["input_ids"]
        if said is None:
            return prompt, len(prompt)
        # Words split differently after a prompt than alone, so the answer is read off the whole.
        whole = self.tokenizer(asked + said, add_special_tokens=marked)["input_ids"]
        if whole[: len(prompt)] == prompt:
            return whole, len(prompt)
        return prompt + self.tokenizer(said, add_special_tokens=False)["input_ids"], len(prompt)

    def _up_to_end(self, said: str) -> str:
        """The answer with one end token; some templates write none, some write a line break after it."""
        ends = self.tokenizer.convert_ids_to_tokens(list(self.stop_ids))
        found = [said.index(end) + len(end) for end in ends if end in said]
        return said[: min(found)] if found else said.rstrip() + ends[0]
