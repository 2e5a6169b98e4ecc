"""Several questions about one picture in one training sequence.

The prompt up to the last visual token is shared; each question with its answer follows as its own segment.
A segment sees the shared part and itself, and counts its positions from the end of the shared part, so each
segment's loss is what the row would have alone. With causal token routing this is exact; prefix routing pools
a row's own prompt and therefore trains on one row per sequence. Backbones with positions or masks of their
own do not pack.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from smola_demo.context import PAD, VISUAL
from smola_demo.data.images import ImageError
from smola_demo.data.row import RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL.Image import Image
    from torch import Tensor

    from smola_demo.backbone.base import Backbone, Batch, Encoded
    from smola_demo.data.mixture import Group, Mixture

IGNORED = -100  # the label no loss is computed for


@dataclass(frozen=True)
class PackedBatch:
    """A training batch. b sequences of t tokens, padded on the right.

    input_ids, position_ids, labels (b, t) · attention_mask (b, 1, t, t) bool, True where a token may look
    modality (b, t) int8 · is_answer (b, t) bool · pixel_values (b, 3, H, W) or features (b, v, f)
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    modality: Tensor
    is_answer: Tensor
    pixel_values: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        """For `model(**inputs)`."""
        names = ("input_ids", "position_ids", "attention_mask", "pixel_values")
        return {name: getattr(self, name) for name in names}

    def added(self) -> dict[str, Tensor]:
        """`inputs` for attention that adds its mask: 0 where a token may look, else float32's lowest."""
        mask = torch.where(self.attention_mask, 0.0, torch.finfo(torch.float32).min)
        return {**self.inputs, "attention_mask": mask}

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch on another device; modality and is_answer stay on the CPU, to be looked up."""
        names = ("input_ids", "position_ids", "attention_mask", "labels", "pixel_values")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def pack(groups: Sequence[Sequence[Encoded]], pad_id: int) -> PackedBatch:
    """One sequence per group of rows that share a picture and the prompt up to its last visual token.

    Raises ValueError when rows of a group do not share that part.
    """
    sequences = [_sequence(rows) for rows in groups]
    length = max(len(ids) for ids, *_ in sequences)
    b = len(sequences)
    input_ids = torch.full((b, length), pad_id)
    position_ids = torch.zeros((b, length), dtype=torch.long)
    segment = torch.full((b, length), -1)
    modality = torch.full((b, length), PAD, dtype=torch.int8)
    is_answer = torch.zeros((b, length), dtype=torch.bool)
    for i, (ids, positions, segments, kinds, answers) in enumerate(sequences):
        n = len(ids)
        input_ids[i, :n], position_ids[i, :n], segment[i, :n] = ids, positions, segments
        modality[i, :n], is_answer[i, :n] = kinds, answers
    same = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    itself = torch.eye(
        length, dtype=torch.bool
    )  # padding looks at itself: a row with nothing to see would be NaN
    mask = (same & causal & (segment[:, None, :] >= 0)) | itself
    pixels = torch.cat([_picture(rows[0]) for rows in groups])
    labels = torch.where(is_answer, input_ids, IGNORED)
    return PackedBatch(input_ids, position_ids, mask[:, None], labels, modality, is_answer, pixels)


def _picture(row: Encoded) -> Tensor:
    if row.pixel_values is None:
        raise ValueError("a training row needs a picture")
    return row.pixel_values


def _shared(row: Encoded) -> int:
    """Tokens up to the last visual one: what rows about one picture have in common."""
    visual = (row.modality == VISUAL).nonzero()
    return int(visual[-1]) + 1 if len(visual) else 0


def _sequence(rows: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """ids, positions, segments (0 shared, then 1, 2, …), modality and is_answer of one packed sequence."""
    first = rows[0]
    split = _shared(first)
    shared = first.input_ids[:split]
    ids, positions, segments = [shared], [torch.arange(split)], [torch.zeros(split, dtype=torch.long)]
    modality, answers = [first.modality[:split]], [torch.zeros(split, dtype=torch.bool)]
    for number, row in enumerate(rows, start=1):
        if not torch.equal(row.input_ids[:split], shared):
            raise ValueError("rows packed together must share their prompt up to the last visual token")
        own = torch.arange(split, len(row.input_ids))
        ids.append(row.input_ids[split:])
        positions.append(own)
        segments.append(torch.full((len(own),), number))
        modality.append(row.modality[split:])
        answers.append(own >= row.answer_start)
    return torch.cat(ids), torch.cat(positions), torch.cat(segments), torch.cat(modality), torch.cat(answers)


class Rows(Dataset[list["Encoded"]]):
    """The mixture's groups as encoded rows: item i depends on the config and i alone."""

    def __init__(self, backbone: Backbone, mixture: Mixture, max_answer_tokens: int, length: int) -> None:
        self._backbone, self._mixture, self._limit, self._length = (
            backbone,
            mixture,
            max_answer_tokens,
            length,
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> list[Encoded]:
        """Rows of group `index` that fit; where none does or no picture opens, of one far outside the stream.

        Raises RowError when a hundred groups in turn give none.
        """
        for group, image in prepared(self._backbone, self._mixture, index):
            if rows := self._encode(group, image):
                return rows
        raise RowError(f"no answer of the data is short enough: raise max_answer_tokens above {self._limit}")

    def join(self, groups: Sequence[Sequence[Encoded]]) -> PackedBatch | Batch:
        """A batch on the CPU."""
        return batch_of(self._backbone, groups)

    def _encode(self, group: Group, image: Any) -> list[Encoded]:
        rows = []
        for item in group.items:
            row = self._backbone.encode_answer(image, item.task, item.question, item.answer)
            if len(row.input_ids) - row.answer_start <= self._limit:
                rows.append(row)
        return rows


def prepared(backbone: Backbone, mixture: Mixture, index: int) -> Iterator[tuple[Group, Any]]:
    """`opened`, with pictures as `Backbone.prepare` makes them; what a backbone does not take is left out."""
    return opened(mixture, index, backbone.prepare)


def opened(
    mixture: Mixture, index: int, prepare: Callable[[Image], Any] = lambda picture: picture
) -> Iterator[tuple[Group, Any]]:
    """Group `index` of the mixture with its picture, then up to 99 far outside the stream, to try in turn.

    One file must not end a run, and the next start would meet it again: what does not open, or what `prepare`
    does not take, is left out with a warning. Raises RowError at the end of them where there was such a one.
    """
    broken = None
    for attempt in range(100):
        group = mixture[index + attempt * 10_000_019]
        try:
            picture = prepare(group.open())
        except ImageError as error:
            warnings.warn(f"left out of the training: {error}", stacklevel=2)
            broken = error
            continue
        yield group, picture
    if broken:
        raise RowError(f"a hundred pictures in turn gave nothing to learn, and look at this file: {broken}")


def length_of(backbone: Backbone, rows: Sequence[Encoded]) -> int:
    """Tokens of a group's sequence where the backbone packs, else of its longest row."""
    lengths = [len(row.input_ids) for row in rows]
    if not backbone.packs:
        return max(lengths)
    return sum(lengths) - (len(rows) - 1) * _shared(rows[0])


def batch_of(backbone: Backbone, groups: Sequence[Sequence[Encoded]]) -> PackedBatch | Batch:
    """A training batch on the CPU: one sequence per group where the backbone packs, else one per row."""
    if backbone.packs:
        return pack(groups, backbone.tokenizer.pad_token_id)
    return backbone.join([row for group in groups for row in group], side="right")
