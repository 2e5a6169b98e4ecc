"""The cache: filled once, read alone, repaired when damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from assembled import folder, load, logits, use_tiny_parts
from tiny import LAYERS

from smola_demo.backbone import fetch, store
from smola_demo.backbone.download import CacheError, cache_dir


@pytest.fixture(autouse=True)
def assembled(tmp_path, monkeypatch):
    """An empty cache; the list of what was assembled."""
    return use_tiny_parts(tmp_path, monkeypatch)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_second_start_needs_nothing_but_its_folder(assembled, monkeypatch, precision):
    first = logits(load(precision))
    monkeypatch.setattr(store, "part_file", lambda *_: pytest.fail("a weight file was asked for"))
    monkeypatch.setattr(store, "file_sha256", lambda _: pytest.fail("the checkpoint was hashed"))
    assert torch.equal(logits(load(precision)), first)
    assert len(assembled) == 1


def test_second_start_is_silent(capfd):
    load("fp32")
    assert "preparing the model" in capfd.readouterr().err
    load("fp32")
    load("auto")
    capfd.readouterr()
    load("auto")
    assert capfd.readouterr() == ("", "")


def truncate(file):
    file.write_bytes(file.read_bytes()[:1000])


def garble(file):
    file.write_bytes(b"\xff" * file.stat().st_size)


@pytest.mark.parametrize(
    ("kind", "name", "damage"),
    [
        ("float", "model.safetensors", truncate),
        ("nf4", "model.safetensors", garble),
        ("nf4", "model.safetensors", Path.unlink),
        ("float", "config.json", garble),
        ("nf4", "tokenizer.json", garble),
        ("float", "tokenizer.json", truncate),
        ("float", "ready.json", garble),
        ("float", "ready.json", Path.unlink),
    ],
)
def test_a_damaged_checkpoint_is_built_again(kind, name, damage):
    precision = "fp32" if kind == "float" else "nf4"
    expected = logits(load(precision))
    damage(folder(kind) / name)
    assert torch.equal(logits(load(precision)), expected)
    assert store.checkpoint(kind, full_check=True) == folder(kind)


def test_fetch_finds_and_repairs_a_flipped_bit(monkeypatch, assembled):
    monkeypatch.setattr("smola_demo.backbone.download.fetch", lambda _: {"verified": True})
    assert fetch() == {"verified": True}
    file = folder("float") / "model.safetensors"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    fetch()
    assert file.read_bytes() == good
    assert len(assembled) == 2


def test_an_intact_checkpoint_that_does_not_load_is_not_built_again(assembled, monkeypatch):
    load("fp32")
    monkeypatch.setattr("transformers.LlavaProcessor.from_pretrained", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load("fp32")
    assert len(assembled) == 1


def test_a_break_while_building_leaves_nothing(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "assemble", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load("fp32")
    assert [f.name for f in cache_dir().iterdir()] == ["lock"]
    assert load("fp32").num_layers == LAYERS


def test_what_other_versions_and_killed_builds_left_is_swept_away():
    for name in ("embedded-float-old", "unfinished-x"):
        (cache_dir() / name).mkdir(parents=True)
    load("fp32")
    assert sorted(f.name for f in cache_dir().iterdir()) == [folder("float").name, "lock"]


def test_two_at_once_build_once(assembled):
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(store.checkpoint, ["float", "float"]))
    assert folders == {folder("float")}
    assert len(assembled) == 1


def test_a_full_disk_is_one_sentence(monkeypatch):
    monkeypatch.setattr(store, "NEEDED_BYTES", {"float": 10**18, "nf4": 10**18})
    with pytest.raises(CacheError, match="MB free and needs"):
        load("fp32")
