"""Several questions about one picture in one training sequence.

The prompt up to the last visual token is shared; every question with its answer follows as a segment of its own.
A segment sees the shared part and itself, and counts its positions from the end of the shared part, so each
segment's loss is what the row would have alone. With causal token routing this is exact; prefix routing pools
a row's own prompt and therefore trains on one row per sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from smola_demo.smola import PAD, VISUAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from smola_demo.backbone.base import Encoded

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

    def to(self, device: torch.device) -> PackedBatch:
        """The same batch on another device; modality and is_answer stay where the bookkeeping happens, on the CPU."""
        names = ("input_ids", "position_ids", "attention_mask", "labels", "pixel_values")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def pack(groups: Sequence[Sequence[Encoded]], pad_id: int) -> PackedBatch:
    """One sequence per group of rows; the rows of a group must share the picture and the prompt up to its last token.

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
    itself = torch.eye(length, dtype=torch.bool)  # padding looks at itself: a row with nothing to see would be NaN
    mask = (same & causal & (segment[:, None, :] >= 0)) | itself
    pixels = torch.cat([rows[0].pixel_values for rows in groups])
    labels = torch.where(is_answer, input_ids, IGNORED)
    return PackedBatch(input_ids, position_ids, mask[:, None], labels, modality, is_answer, pixels)


def _sequence(rows: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """ids, positions, segments (0 shared, 1… one per row), modality and is_answer of one packed sequence."""
    first = rows[0]
    visual = (first.modality == VISUAL).nonzero()
    split = int(visual[-1]) + 1 if len(visual) else 0
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
