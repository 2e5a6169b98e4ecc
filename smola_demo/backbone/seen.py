"""What a vision tower saw in the last few pictures, so that a second question or a batch runs it no more."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

PICTURES = 8


class SeenPictures:
    """Features by the content of the pixels, the latest `PICTURES` of them, on the CPU."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def features(self, pixels: Tensor, tower: Callable[[Tensor], Tensor]) -> Tensor:
        """What `tower` makes of one picture, (1, n, d); run only where it has not been kept."""
        key = hashlib.blake2b(pixels.contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in self._kept:
            # Kept beyond this call: an inference tensor could not be used where gradients are on.
            with torch.inference_mode(False), torch.no_grad():
                self._kept[key] = tower(pixels.clone()).cpu()
        self._kept.move_to_end(key)
        while len(self._kept) > PICTURES:
            self._kept.popitem(last=False)
        return self._kept[key]

    def forget(self) -> None:
        """Keep none."""
        self._kept.clear()
