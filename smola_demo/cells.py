"""Stage "cells": on drawings that tell what lies where, each visual token learns the words of its own cell.

No language model runs, so many more pictures are seen than through one. Pictures that tell nothing, such as
photographs, keep the visual tokens they had when the stage began.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from smola_demo.losses import FIRST_SHARPNESS
from smola_demo.packing import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.backbone.base import Backbone
    from smola_demo.data.mixture import Mixture
    from smola_demo.data.row import Mark

NOTHING = " background"  # the word of a cell in which the middle of nothing lies
OTHERS = 256  # words drawn at random that a visual token must not be nearer to
KEPT_WEIGHT = 10.0  # of the squared change of kept tokens, as a share of their squared length


@dataclass(frozen=True)
class CellPicture:
    """One picture.

    pixels (3, h, w) · cells {visual token: {vocabulary id: share}}, shares of a cell adding to 1; None for a
    picture that does not tell
    """

    pixels: Tensor
    cells: dict[int, dict[int, float]] | None


@dataclass(frozen=True)
class CellBatch:
    """b pictures of v visual tokens.

    pixel_values (b, 3, h, w) · vocabulary (w,) ids, no two alike · shares (b, v, w) of what a cell is to say,
    adding to 1 for each cell of a picture that tells, else 0 · told (b,) bool, which pictures tell
    """

    pixel_values: Tensor
    vocabulary: Tensor
    shares: Tensor
    told: Tensor

    def to(self, device: torch.device) -> CellBatch:
        """The same batch on another device."""
        names = ("pixel_values", "vocabulary", "shares", "told")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


class CellPictures(Dataset[CellPicture]):
    """The mixture's pictures for the embedded backbone: item i depends on the config and i alone."""

    def __init__(self, backbone: Any, mixture: Mixture, length: int) -> None:
        self._backbone, self._mixture, self._length = backbone, mixture, length
        self._known: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> CellPicture:
        """Picture `index`, or one far outside the stream where that does not open; RowError as `opened`."""
        group, image = next(opened(self._mixture, index))
        cells = self._cells(group.marks) if group.marks else None
        return CellPicture(self._backbone.prepare(image), cells)

    def join(self, pictures: Sequence[CellPicture]) -> CellBatch:
        """A batch on the CPU."""
        words = self._backbone.model.config.text_config.vocab_size
        return cell_batch(pictures, self._backbone.grid**2, words)

    def _cells(self, marks: Sequence[Mark]) -> dict[int, dict[int, float]]:
        """What lies in one cell shares it: the k-th mark there weighs 1/k, so that order shows."""
        side = self._backbone.grid
        found: dict[int, list[tuple[str, ...]]] = {}
        for mark in marks:
            column, row = (min(side - 1, max(0, int(at * side))) for at in (mark.x, mark.y))
            found.setdefault(row * side + column, []).append(mark.words)
        cells: dict[int, dict[int, float]] = {i: {self._tokens(NOTHING)[0]: 1.0} for i in range(side * side)}
        for cell, named in found.items():
            whole = sum(1 / k for k in range(1, len(named) + 1))
            shares: dict[int, float] = {}
            for k, words in enumerate(named, start=1):
                for word in words:
                    for token in (tokens := self._tokens(word)):
                        share = 1 / (k * whole * len(words) * len(tokens))
                        shares[token] = shares.get(token, 0.0) + share
            cells[cell] = shares
        return cells

    def _tokens(self, word: str) -> tuple[int, ...]:
        """All tokens of a word: of many, in capitals of most, the first one says little."""
        if word not in self._known:
            self._known[word] = tuple(self._backbone.tokenizer(word, add_special_tokens=False)["input_ids"])
        return self._known[word]


def cell_batch(pictures: Sequence[CellPicture], visual_tokens: int, words: int) -> CellBatch:
    """A batch on the CPU; its other words, of `words` in the vocabulary, follow from what is said."""
    said = sorted({word for picture in pictures for cell in (picture.cells or {}).values() for word in cell})
    generator = torch.Generator().manual_seed(len(said) + sum(said))
    drawn = torch.randint(words, (OTHERS,), generator=generator).tolist()
    vocabulary = said + sorted(set(drawn).difference(said))
    place = {word: i for i, word in enumerate(vocabulary)}
    shares = torch.zeros(len(pictures), visual_tokens, len(vocabulary))
    for b, picture in enumerate(pictures):
        for cell, named in (picture.cells or {}).items():
            for word, share in named.items():
                shares[b, cell, place[word]] = share
    told = torch.tensor([picture.cells is not None for picture in pictures])
    pixels = torch.stack([picture.pixels for picture in pictures])
    return CellBatch(pixels, torch.tensor(vocabulary), shares, told)


class CellWordsLoss(nn.Module):
    """Cross-entropy (nats) between what a visual token says and what lies in its cell.

    A token says the softmax of sharpness · cosine to the embeddings of words, taken relative to their mean.
    All cells of a picture weigh alike, filled or empty, which keeps the share of "nothing" calibrated. Their
    sum is divided by the number of filled ones, so that every picture has an equal say, however full it is.
    How long a visual token is makes no difference. Those of pictures that do not tell stay what they were.
    """

    middle: Tensor
    words: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.tower, self.connector = (
            backbone.model.model.vision_tower,
            backbone.model.model.multi_modal_projector,
        )
        before = copy.deepcopy(nn.ModuleList([self.tower, self.connector])).requires_grad_(False)
        self._before = [before]  # in a list: no part of what is trained
        words = backbone.model.get_input_embeddings().weight.detach().float()
        self.log_sharpness = nn.Parameter(torch.tensor(FIRST_SHARPNESS, device=words.device).log())
        self.register_buffer("middle", words.mean(0), persistent=False)
        self.register_buffer("words", F.normalize(words - words.mean(0), dim=-1), persistent=False)
        self.nothing = backbone.tokenizer(NOTHING, add_special_tokens=False)["input_ids"][0]

    def weight(self, batch: CellBatch) -> float:
        """Every batch counts alike."""
        return 1.0

    def visual(self, pixel_values: Tensor) -> Tensor:
        """(b, 3, h, w) pixels → (b, v, d) visual tokens, float32."""
        return self.connector(self.tower(pixel_values).hidden_states[-1]).float()

    def nearness(self, visual: Tensor, vocabulary: Tensor) -> Tensor:
        """Cosine of (…, d) visual tokens to the (w,) words of these ids, relative to their mean → (…, w)."""
        return F.normalize(visual - self.middle, dim=-1) @ self.words[vocabulary].T

    def forward(self, batch: CellBatch) -> Tensor:
        """Scalar; 0 for what the batch does not hold."""
        visual = self.visual(batch.pixel_values)
        said, kept = visual[batch.told], visual[~batch.told]
        loss = visual.sum() * 0.0 + self.log_sharpness * 0.0  # every parameter has a part: DDP waits for each
        if len(said):
            nearness = self.nearness(said, batch.vocabulary)
            shares = batch.shares[batch.told]
            nats = -(F.log_softmax(self.log_sharpness.exp() * nearness, dim=-1) * shares).sum(-1)
            empty = shares[..., batch.vocabulary == self.nothing].sum(-1) > 0
            filled = (~empty).sum(-1).clamp(min=1)
            loss = loss + (nats.sum(-1) / filled).mean()
        if len(kept):
            tower, connector = self._before[0]
            with torch.no_grad():
                before = connector(tower(batch.pixel_values[~batch.told]).hidden_states[-1]).float()
            change = (kept - before).square().sum() / before.square().sum()
            loss = loss + KEPT_WEIGHT * change
        return loss
