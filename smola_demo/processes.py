"""Work shared among the processes of one `accelerate launch`; a process that is alone does all of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


def how_many() -> int:
    """Processes of this launch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the one process that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def join() -> Any:
    """Meet the other processes, before a model is loaded: of several GPUs, each takes its own."""
    if how_many() == 1:
        return None
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def share_out(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """`[work(item) for item in items]`, each item done by one process, all results known to all.

    Every process must call it with the same items; results travel as copies.
    """
    state = join()
    if state is None:
        return [work(item) for item in items]
    from accelerate.utils import gather_object

    own = {i: work(items[i]) for i in range(state.process_index, len(items), state.num_processes)}
    found: dict[int, Result] = {}
    for part in gather_object([own]):
        found |= part
    return [found[i] for i in range(len(items))]
