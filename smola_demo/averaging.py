"""An exponential moving average of what a run trains, to be judged and saved in place of the last step."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn


class Average:
    """The mean of some parameters, float32. At decay 0 it holds nothing and does nothing.

    means  name → the mean so far, shaped as the parameter
    """

    def __init__(self, params: Mapping[str, nn.Parameter], decay: float) -> None:
        self._params, self._decay = params, decay
        kept = params if decay else {}
        self.means: dict[str, Tensor] = {name: p.detach().float().clone() for name, p in kept.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters as they are after `step` steps.

        Early on the decay is (1 + step) / (10 + step) at most, so that no run is held to its start.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, mean in self.means.items():
            mean.lerp_(self._params[name].float(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The parameters hold their means for the length of the block."""
        own = {name: self._params[name].detach().clone() for name in self.means}
        self._put(self.means)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._params[name].copy_(value)
