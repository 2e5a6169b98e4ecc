"""Tensors reach the disk whole or not at all."""

from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from smola_demo import tensor_files
from smola_demo.tensor_files import write_tensors


def test_what_is_written_is_read_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a.safetensors"
    for value in (1.0, 2.0):
        write_tensors({"x": torch.full((3,), value)}, path, {"told": "so"})
        assert torch.equal(load_file(path)["x"], torch.full((3,), value))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"told": "so"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_disk_that_fails_is_one_sentence_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_tensors({"x": torch.ones(3)}, path)

    def full(_tensors, partial, metadata):
        assert metadata == {"format": "pt"}
        partial.write_bytes(b"half")
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(OSError, match=r"a\.safetensors cannot be written .No space left.*free some space"):
        write_tensors({"x": torch.zeros(3)}, path)
    assert torch.equal(load_file(path)["x"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
