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


def own_share(items: Sequence[Item]) -> dict[int, Item]:
    """The items that this process does, by their places; `together` brings what came of them to all."""
    return {i: items[i] for i in range(int(os.environ.get("RANK", "0")), len(items), how_many())}


def together(own: dict[int, Result]) -> list[Result]:
    """What all processes found for their `own_share`, in order; every process must call it."""
    if join() is None:
        return list(own.values())
    from accelerate.utils import gather_object

    found: dict[int, Result] = {}
    for part in gather_object([own]):
        found |= part
    return [found[i] for i in sorted(found)]


def share_out(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """`[work(item) for item in items]`, each item done by one process, all results known to all.

    Every process must call it with the same items; results travel as copies.
    """
    return together({i: work(item) for i, item in own_share(items).items()})
