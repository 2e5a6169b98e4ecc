"""The same work on a CPU and on a GPU, where there is one: what the CPU says, the GPU says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import tiny_backbone
from tiny_experts import CONFIG, give_outputs

from smola_demo.adapter import attach
from smola_demo.backbone import connector
from smola_demo.config import TrainConfig
from smola_demo.engine import Engine
from smola_demo.results import Answer, Comparison, Request, Sweep
from smola_demo.train import train

PICTURE = Image.linear_gradient("L").convert("RGB").resize((96, 64))
pytestmark = pytest.mark.gpu


def moved(device: str):
    backbone = tiny_backbone()
    backbone.model.to(device)
    backbone.device = torch.device(device)
    return backbone


def engine_on(device: str) -> Engine:
    backbone = moved(device)
    targets = backbone.target_linears(CONFIG.target_modules)
    adapter = attach(backbone.model, CONFIG, targets, backbone.decoder, backbone.modality_of)
    give_outputs(adapter)
    return Engine(backbone, adapter, "tiny-experts", {}, 0.0)


def last(items):
    *_, item = items
    return item


def test_answers_routing_and_effects_are_those_of_the_cpu():
    here, there = engine_on("cpu"), engine_on("cuda")
    request = Request(PICTURE, "caption", max_new_tokens=6)
    a, b = (last(engine.answer(request)) for engine in (here, there))
    assert isinstance(a, Answer)
    assert a.text == b.text
    torch.testing.assert_close(torch.tensor(b.trace.weight), torch.tensor(a.trace.weight), atol=1e-3, rtol=0)
    for ablated in (Request(PICTURE, "caption", ablation=spec) for spec in ("visual:1", "mean!multimodal:0")):
        a, b = (last(engine.compare(ablated)) for engine in (here, there))
        assert isinstance(a, Comparison)
        assert b.delta_logprob == pytest.approx(a.delta_logprob, abs=1e-2)
    a, b = (last(engine.sweep(request)) for engine in (here, there))
    assert isinstance(a, Sweep)
    for one, other in zip(a.effects, b.effects, strict=True):
        assert other.delta_logprob == pytest.approx(one.delta_logprob, abs=1e-2)


def test_the_connector_starts_alike_everywhere():
    here, there = tiny_backbone(), moved("cuda")
    for backbone in (here, there):
        connector.start(backbone.model, seed=3)
    for one, other in zip(
        here.model.model.multi_modal_projector.parameters(),
        there.model.model.multi_modal_projector.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(other.cpu(), one)


@pytest.mark.parametrize(
    "values",
    [
        {"stage": "words", "tune_vision": True, "ema": 0.9, "batch_size": 4},
        {"stage": "cells", "tune_vision": True, "batch_size": 4},
        {"stage": "align", "experts_output": "out/beside", "gradient_checkpointing": True},
        {"stage": "experts", "num_workers": 2, "mixed_precision": "bf16"},
        {"stage": "experts", "method": "lora", "optimizer": "adamw8bit"},
    ],
)
def test_every_stage_trains_on_a_gpu(here, values):
    smola = {"num_experts": 2, "rank": 2, "target_modules": ["q_proj", "down_proj"]}
    common = {"data": [{"name": "shapes"}], "steps": 4, "save_every": 2, "batch_size": 2, "smola": smola}
    result = train(TrainConfig.from_dict(common | {"output": "out/made"} | values), quiet=True)
    assert here[0].device.type == "cuda"
    assert result.final_loss > 0
    assert Path("out/made").is_dir()


@pytest.mark.slow
def test_the_embedded_model_answers_in_nf4_on_a_gpu():
    engine = Engine.load(precision="nf4", device="cuda")
    request = Request(PICTURE, "caption", max_new_tokens=8)
    answer = last(engine.answer(request))
    bare = last(Engine.load(experts="none", precision="nf4", device="cuda").answer(request))
    without = last(engine.answer(Request(PICTURE, "caption", ablation="*:*", max_new_tokens=8)))
    assert answer.tokens
    assert without.text == bare.text
    assert len(last(engine.sweep(request)).effects) == 24
