"""The stream of training batches: windows of groups in order, cut into batches of like length.

A window is filled, sorted and shuffled by the config and its own number alone, so a run resumes anywhere.
"""

from __future__ import annotations

import math
import random
import warnings
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset

from smola_demo.cells import CellPictures
from smola_demo.data.mixture import Mixture
from smola_demo.data.row import RowError
from smola_demo.packing import Rows, length_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smola_demo.backbone.base import Backbone, Batch
    from smola_demo.cells import CellBatch
    from smola_demo.config import TrainConfig
    from smola_demo.packing import PackedBatch

    AnyBatch = PackedBatch | CellBatch | Batch


def examples(config: TrainConfig, backbone: Backbone, mixture: Mixture, length: int) -> Rows | CellPictures:
    """What the stage learns from, one item a picture: the rows asked about it, or what lies where in it.

    Its `join` makes a batch of some of them.
    """
    if config.stage == "cells":
        return CellPictures(backbone, mixture, length)
    return Rows(backbone, mixture, config.max_answer_tokens, length)


class Windows(Dataset[list["AnyBatch"]]):
    """Item w: the batches of window w of process `rank`, `bucket` of them, in the order they are used.

    Batches of the stream go to the processes in turn. All processes shuffle a window alike, so that they
    have their long batches in the same steps and do not wait for each other.
    """

    def __init__(self, config: TrainConfig, backbone: Backbone, world: int = 1, rank: int = 0) -> None:
        self._config, self._backbone, self._world, self._rank = config, backbone, world, rank
        self._batches = config.steps * config.gradient_accumulation
        mixture = Mixture(config.data, config.pack, config.seed, config.max_answer_chars)
        for what in mixture.left_out if rank == 0 else ():  # one process tells, all read the same
            warnings.warn(f"left out of the training: {what}", stacklevel=2)
        groups = self._batches * config.batch_size * world
        self._items: Any = examples(config, backbone, mixture, groups)

    def __len__(self) -> int:
        return math.ceil(self._batches / self._config.bucket)

    def __getitem__(self, window: int) -> list[AnyBatch]:
        size, bucket = self._config.batch_size, self._config.bucket
        own = range(window * bucket, min((window + 1) * bucket, self._batches))
        groups = [
            self._items[(batch * self._world + self._rank) * size + i] for batch in own for i in range(size)
        ]
        order = list(range(len(own)))
        if bucket > 1 and self._config.stage in ("align", "experts"):  # the others run no text
            groups.sort(key=lambda rows: length_of(self._backbone, rows))
            random.Random(f"{self._config.seed}/{window}").shuffle(order)
        return [self._items.join(groups[i * size : (i + 1) * size]) for i in order]


def loader(
    config: TrainConfig, backbone: Backbone, done: int, world: int = 1, rank: int = 0
) -> Iterator[AnyBatch]:
    """Micro-batches of process `rank` from optimizer step `done` on; all `world` read the stream in order.

    Raises RowError, in one sentence, where the data gives nothing to learn.
    """
    windows = Windows(config, backbone, world, rank)
    first, used = divmod(done * config.gradient_accumulation, config.bucket)
    coming = DataLoader(
        windows,
        batch_size=None,
        sampler=range(first, len(windows)),
        collate_fn=lambda batches: batches,
        num_workers=config.num_workers,
        multiprocessing_context="fork" if config.num_workers else None,  # workers share the live backbone
        persistent_workers=config.num_workers > 0,
    )
    try:
        for batches in coming:
            yield from batches[used:]
            used = 0
    except RowError as error:  # of a worker it comes with that process's traceback
        raise RowError(str(error).rstrip().rpartition("RowError: ")[2]) from None
