"""AdamW whose two moments are held in 8 bit, by bitsandbytes; on a GPU they may wait in the host's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smola_demo.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

    from smola_demo.config import Optimizer

# Beside them each parameter has constants of its blocks, and tables that are the same for all.
MOMENTS = ("state1", "state2")


def adamw_8bit(
    kind: Optimizer, groups: Sequence[dict[str, Any]], device: torch.device, **options: Any
) -> torch.optim.Optimizer:
    """AdamW in 8 bit over parameter groups; parameters of fewer than 4,096 numbers keep float32.

    Raises ConfigError for a paged one without a GPU.
    """
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

    if kind == "adamw8bit":
        return AdamW8bit(groups, **options)
    if device.type != "cuda":
        raise ConfigError(f"{kind} moves its state between a GPU and the host: without CUDA choose adamw8bit")
    return PagedAdamW8bit(groups, **options)


def put_back(optimizer: Any, parameter: nn.Parameter, memory: Mapping[str, Any]) -> None:
    """Give an optimizer in 8 bit what it remembered of a parameter, its moments in buffers of its own."""
    optimizer.state[parameter] = dict(memory)
    for kind in MOMENTS:
        buffer = optimizer.get_state_buffer(parameter, dtype=memory[kind].dtype)
        optimizer.state[parameter][kind] = buffer.copy_(memory[kind])
