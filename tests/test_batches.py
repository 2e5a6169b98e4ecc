"""The stream of batches: one order for a config, whoever reads it and wherever a run resumes."""

from __future__ import annotations

import json
import random

import pytest
from PIL import Image
from tiny import tiny_backbone

from smola_demo.batches import loader
from smola_demo.config import TrainConfig
from smola_demo.packing import IGNORED, batch_of, length_of

BUCKET = 4


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of rows; each says its own number, at a length drawn from a wide range."""
    folder = tmp_path_factory.mktemp("rows")
    rng, lines = random.Random(0), []
    for i in range(200):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")
        question = "?" * rng.randint(1, 120)
        lines.append({"image": f"{i}.png", "task": "vqa", "question": question, "answers": [f"{i}."]})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def config(rows: str, **values) -> TrainConfig:
    base = {"stage": "experts", "output": "x", "data": [{"name": rows}], "batch_size": 2, "pack": 1}
    return TrainConfig.from_dict(base | {"steps": 10, "bucket": BUCKET} | values)


def numbers(batch) -> list[str]:
    """What each sequence of a batch answers."""
    tokenizer = tiny_backbone().tokenizer
    return [tokenizer.decode(labels[labels != IGNORED]) for labels in batch.labels]


def stream(*args) -> list[list[str]]:
    return [numbers(batch) for batch in loader(*args)]


def padding(batches) -> float:
    tokens = sum(batch.input_ids.numel() for batch in batches)
    return 1 - sum(int((batch.modality >= 0).sum()) for batch in batches) / tokens


@pytest.mark.parametrize("bucket", [1, BUCKET])
@pytest.mark.parametrize("world", [1, 2])
def test_processes_share_one_stream(rows, bucket, world):
    """Processes together take, window by window, each of the groups that one alone takes, once."""
    backbone = tiny_backbone()
    own = config(rows, steps=10 // world, bucket=bucket)
    parts = [stream(own, backbone, 0, world, rank) for rank in range(world)]
    assert [len(part) for part in parts] == [10 // world] * world
    plain = stream(config(rows, bucket=1), backbone, 0)
    if bucket == 1:
        assert [batch for step in zip(*parts, strict=True) for batch in step] == plain
    for first in range(0, 10 // world, bucket):
        window = [n for part in parts for batch in part[first : first + bucket] for n in batch]
        expected = plain[first * world : (first + bucket) * world]
        assert sorted(window) == sorted(n for batch in expected for n in batch)


@pytest.mark.parametrize("done", range(6))
def test_a_resumed_run_goes_on_in_the_same_order(rows, done):
    """Five steps of two batches make two windows of four and a last one of two."""
    backbone, run = tiny_backbone(), config(rows, steps=5, gradient_accumulation=2)
    whole = stream(run, backbone, 0)
    assert len(whole) == 10
    assert stream(run, backbone, done) == whole[2 * done :]


def test_a_window_depends_on_the_seed_and_is_not_in_order_of_length(rows):
    backbone = tiny_backbone()
    lengths = [
        [batch.input_ids.shape[1] for batch in loader(config(rows, seed=seed), backbone, 0)]
        for seed in (0, 1)
    ]
    assert lengths[0] != lengths[1]
    windows = [found[i : i + BUCKET] for found in lengths for i in (0, BUCKET)]
    assert any(window != sorted(window) for window in windows)


def test_processes_have_their_long_batches_together(rows):
    """Each step's batches are of the same rank in their windows."""
    backbone, run = tiny_backbone(), config(rows, steps=BUCKET)
    ranks = []
    for rank in range(2):
        lengths = [batch.input_ids.shape[1] for batch in loader(run, backbone, 0, 2, rank)]
        assert len(set(lengths)) == BUCKET
        ranks.append([sorted(lengths).index(length) for length in lengths])
    assert ranks[0] == ranks[1]


def test_less_is_padding(rows, record_property):
    backbone, shares = tiny_backbone(), {}
    for bucket in (1, 8):
        shares[bucket] = padding(list(loader(config(rows, steps=16, bucket=bucket), backbone, 0)))
        record_property(f"padding, bucket {bucket}", shares[bucket])
    assert shares[8] < 0.4 * shares[1], shares


def test_a_length_is_that_of_the_sequence():
    backbone, image = tiny_backbone(), Image.new("RGB", (8, 8))
    group = [backbone.encode(image, "?" * n, "a") for n in (3, 9, 1)]
    assert length_of(backbone, group) == batch_of(backbone, [group]).input_ids.shape[1]
    assert length_of(backbone, group[:1]) == len(group[0].input_ids)
    assert int((batch_of(backbone, [group]).modality >= 0).sum()) == length_of(backbone, group)
