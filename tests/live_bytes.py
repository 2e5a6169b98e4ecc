"""How many bytes of tensors are alive at once while a block runs, beyond those that were there before."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterable


class LiveBytes(TorchDispatchMode):
    """Counts what is `given`, and each storage that an operation returns until it dies; `peak` in bytes.

    The model's own tensors and what else is `known` are left out.

    What a kernel takes and gives back within one operation stays unseen.
    """

    def __init__(
        self, model: torch.nn.Module, given: Iterable[torch.Tensor], known: Iterable[torch.Tensor] = ()
    ) -> None:
        super().__init__()
        self.now = self.peak = 0
        known = (*model.parameters(), *model.buffers(), *known)
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}
        for tensor in given:
            self._count(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._seen:
            return
        self._seen.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
