"""The mean of trained experts: numbers, facts, and what cannot be averaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import prompt, scramble, tiny_adapter

from smola_demo.__main__ import main
from smola_demo.adapter import AdapterError
from smola_demo.adapter_files import CONFIG_NAME, WEIGHTS_NAME, load_weights, read_config, save
from smola_demo.backbone.download import file_sha256
from smola_demo.config import SmolaConfig
from smola_demo.soup import soup

SHAPE = SmolaConfig(num_experts=2, rank=2, target_modules=("q_proj", "down_proj"))
FACTS = {"base_model_name_or_path": "tiny", "revision": "r1", "samples": 80, "seconds": 5, "dev_loss": 2.5}


def saved(folder, seed: int, config: SmolaConfig = SHAPE, **facts):
    adapter = tiny_adapter(config)
    scramble(adapter, seed)
    told = FACTS | {"steps": 10, "seed": seed, "data": ["words", f"own{seed}"], "terms": ["free"]} | facts
    save(adapter, folder, told, torch.bfloat16)
    lines = [{"step": step, "seconds": step / 2, "loss": seed + step} for step in (5, 10)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return adapter


@pytest.fixture
def three(tmp_path):
    for seed in (1, 2, 3):
        saved(tmp_path / f"run{seed}", seed)
    return [str(tmp_path / f"run{seed}") for seed in (1, 2, 3)]


def test_each_number_is_the_mean_of_its_numbers(three, tmp_path):
    told = soup(three, tmp_path / "mean")
    each = [load_file(f"{folder}/{WEIGHTS_NAME}") for folder in three]
    found = load_file(tmp_path / "mean" / WEIGHTS_NAME)
    assert found.keys() == each[0].keys()
    for name, value in found.items():
        a, b, c = (tensors[name].double() for tensors in each)
        assert value.dtype == torch.bfloat16
        torch.testing.assert_close(value.double(), (a + b + c) / 3, rtol=2**-8, atol=1e-30)
    assert told["averaged"] == [
        {"name": f"run{i}", "sha256": file_sha256(Path(folder) / WEIGHTS_NAME)}
        for i, folder in enumerate(three, 1)
    ]


def test_they_are_experts_like_any_others(three, tmp_path):
    soup(three[:2], tmp_path / "mean")
    adapter = tiny_adapter(read_config(tmp_path / "mean")[0])
    load_weights(adapter, tmp_path / "mean")
    assert torch.isfinite(adapter.model(prompt()).logits).all()


def test_the_facts_are_those_of_all(three, tmp_path):
    soup(three[:2], tmp_path / "mean")
    config, facts = read_config(tmp_path / "mean")
    assert config == SHAPE
    assert (facts["steps"], facts["samples"], facts["seconds"]) == (20, 160, 10)
    assert (facts["seed"], facts["data"], facts["terms"]) == ([1, 2], ["words", "own1", "own2"], ["free"])
    assert not {"dev_loss", "run", "init_experts"} & facts.keys(), "of one run alone"
    lines = [json.loads(line) for line in (tmp_path / "mean" / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["seconds"], line["loss"]) for line in lines] == [
        (5, 2.5, 6), (10, 5, 11), (15, 7.5, 7), (20, 10, 12),
    ]  # fmt: skip
    card = (tmp_path / "mean" / "README.md").read_text()
    assert "| mean of the weights of | run1 (" in card
    assert "| seed | 1, 2 |" in card
    assert "answer weighing √length) | not measured |" in card


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"config": replace(SHAPE, rank=3)}, "shape or routing"),
        ({"config": replace(SHAPE, routing="prefix")}, "shape or routing"),
        ({"revision": "r2"}, "another base"),
        ({"base_model_name_or_path": "other"}, "another base"),
    ],
)
def test_others_cannot_be_averaged_with_it(three, tmp_path, other, said):
    saved(tmp_path / "other", 4, **other)
    with pytest.raises(AdapterError, match=said):
        soup([three[0], str(tmp_path / "other")], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_damage_is_named(three, tmp_path):
    path = tmp_path / "run2" / WEIGHTS_NAME
    tensors = load_file(path)
    name = next(iter(tensors))
    save_file({**tensors, name: torch.full_like(tensors[name], torch.nan)}, path)
    with pytest.raises(AdapterError, match=f"tensor {name} holds NaN or infinity"):
        soup(three, tmp_path / "mean")
    save_file({**tensors, name: tensors[name][:1]}, path)
    with pytest.raises(AdapterError, match=f"tensor {name} does not fit"):
        soup(three, tmp_path / "mean")
    path.write_bytes(b"no weights")
    with pytest.raises(AdapterError, match="no readable safetensors file"):
        soup(three, tmp_path / "mean")


def test_the_command(three, tmp_path, capsys):
    assert main(["soup", *three, "--out", str(tmp_path / "mean"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 30
    assert (tmp_path / "mean" / CONFIG_NAME).is_file()
    for alone in (three[:1], [three[0], "none"]):
        assert main(["soup", *alone, "--out", str(tmp_path / "one")]) == 1
        assert "at least two trained experts" in capsys.readouterr().err
    assert main(["soup", three[0], str(tmp_path / "nowhere"), "--out", str(tmp_path / "one")]) == 1
    assert "no experts" in capsys.readouterr().err
