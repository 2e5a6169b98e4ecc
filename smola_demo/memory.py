"""Memory: how much is held, and too little of it said in one sentence instead of a traceback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from collections.abc import Generator

SHORT = ("can't allocate memory", "out of memory")  # as torch says it on a CPU and on other devices

SMALLER = "try a smaller picture or a shorter answer, or free some"


class MemoryShortError(ValueError):
    """There was not enough memory; one sentence says for what, and what to do."""


@contextmanager
def enough_memory(what: str, advice: str = SMALLER) -> Generator[None]:
    """Raise MemoryShortError with what was tried, and advice, where an allocation fails inside the block."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(s in str(error) for s in SHORT)
        if not known:
            raise
        raise MemoryShortError(f"there is not enough memory to {what}: {advice}") from error


def start_peak(device: torch.device) -> None:
    """From here on `memory_mb` tells the peak of what follows, where it tells a peak."""
    if device.type == "cuda":
        torch.cuda.init()  # its counters are not there before
        torch.cuda.reset_peak_memory_stats(device)


def memory_mb(device: torch.device) -> float:
    """Memory this process holds now on a CPU, or its peak since `start_peak` on a GPU, in MB (10^6 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return psutil.Process().memory_info().rss / 1e6
