"""A safetensors file, written in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

PYTORCH = {"format": "pt"}  # what PEFT and transformers look for


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] = PYTORCH) -> None:
    """Replace a file by these tensors; a reader, or a kill at any moment, never finds half of it.

    Raises OSError with one sentence where the disk fails; the old file stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(dict(tensors), partial, metadata=dict(metadata))
    except SafetensorError as error:  # its own kind of error for a disk that fails
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error}): free some space, or name another folder"
        ) from None
    partial.replace(path)
