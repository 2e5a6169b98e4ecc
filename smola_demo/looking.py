"""Does the model look? An answer must be likelier under its own picture than under another row's.

A model that has learned only the manner of answers scores well on easy metrics; here it scores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo.ablation import AblationSpec
from smola_demo.data.images import ImageError
from smola_demo.memory import enough_memory
from smola_demo.metrics import bootstrap_ci
from smola_demo.processes import share_out
from smola_demo.scoring import score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from smola_demo.data.row import Row
    from smola_demo.engine import Engine

BATCH_ROWS = 8


def looking(
    engine: Engine, rows: Sequence[Row], progress: Callable[[int], Any] | None = None
) -> dict[str, Any]:
    """Per source: {"own", "other", "gain", "ci95" of the gain, "n"}, nats per token of the preferred answer.

    own and other are mean losses with the row's picture and with that of the source's next row on another
    picture; gain is other minus own, 0 for a model that does not look. Rows whose picture cannot be opened,
    and sources with one picture, are left out.
    """
    found: dict[str, Any] = {}
    for source in dict.fromkeys(row.source for row in rows):
        own = [row for row in rows if row.source == source]
        pairs = _with_another(_opened(own))
        batches = [pairs[first : first + BATCH_ROWS] for first in range(0, len(pairs), BATCH_ROWS)]
        found_losses = share_out(batches, lambda batch: _losses(engine, batch))
        losses = [loss for batch in found_losses for loss in batch]
        if losses:
            table = np.array(losses)
            gain = table[:, 1] - table[:, 0]
            found[source] = {
                "own": float(table[:, 0].mean()),
                "other": float(table[:, 1].mean()),
                "gain": float(gain.mean()),
                "ci95": list(bootstrap_ci(gain, pictures=[row.image_name for row, *_ in pairs])),
                "n": len(losses),
            }
        if progress:
            progress(len(own))
    return found


def _opened(rows: Sequence[Row]) -> list[tuple[Row, Image.Image]]:
    opened = []
    for row in rows:
        try:
            opened.append((row, row.open()))
        except ImageError:
            continue
    return opened


def _with_another(opened: list[tuple[Row, Image.Image]]) -> list[tuple[Row, Image.Image, Image.Image]]:
    """Each row with its picture and the next one that is another; a row without any is left out."""
    found = []
    for i, (row, picture) in enumerate(opened):
        later = (*opened[i + 1 :], *opened[:i])
        other = next((p for r, p in later if r.image_name != row.image_name), None)
        if other is not None:
            found.append((row, picture, other))
    return found


def _losses(
    engine: Engine, pairs: Sequence[tuple[Row, Image.Image, Image.Image]]
) -> list[tuple[float, float]]:
    """(own, other) mean loss per token of each row's preferred answer."""
    backbone = engine.backbone
    both = []
    for own in (True, False):
        encoded = [
            backbone.encode_answer(picture if own else other, row.task, row.question, row.answers[0])
            for row, picture, other in pairs
        ]
        with enough_memory("score the answers"):
            scored, _ = score(backbone, engine.adapter, encoded, [AblationSpec()] * len(encoded))
        both.append([-float(np.mean(one.logprobs)) for one in scored])
    return list(zip(*both, strict=True))
