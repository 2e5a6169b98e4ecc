"""Running layers again in backward changes no gradient and keeps fewer activations."""

from __future__ import annotations

import pytest
import torch
from live_bytes import LiveBytes
from PIL import Image
from tiny import tiny_backbone
from tiny_experts import give_outputs
from tiny_vlm import tiny_folder, tiny_models

from smola_demo.adapter import attach
from smola_demo.backbone import load_backbone
from smola_demo.config import SmolaConfig
from smola_demo.lora import attach_lora
from smola_demo.losses import AnswerLoss
from smola_demo.packing import batch_of

TOKEN = SmolaConfig(num_experts=3, rank=2, target_modules=("q_proj", "down_proj"))
PREFIX = SmolaConfig(
    num_experts=3, rank=2, num_slots=2, routing="prefix", target_modules=("q_proj", "down_proj")
)
ROWS = (("red", ("a", "five words of an answer")), ("blue", ("another", "b")))


def backbone_of(name: str):
    return tiny_backbone() if name == "embedded" else load_backbone(str(tiny_folder(name)), "fp32", "cpu")


def batches(backbone, pack: int = 2):
    """Two micro-batches of different lengths; questions on one picture share a sequence where they can."""
    made = []
    for color, answers in ROWS:
        image = backbone.prepare(Image.new("RGB", (40, 30), color))
        group = [backbone.encode(image, f"Say {color}.", answer) for answer in answers[:pack]]
        made.append(batch_of(backbone, [group]))
    return made


def trainable(backbone, config):
    targets = backbone.target_linears(config.target_modules)
    adapter = attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)
    give_outputs(adapter)
    for parameter in adapter.parameters():
        parameter.requires_grad_(True)
    return adapter


def gradients(name: str, config: SmolaConfig, checkpointing: bool) -> dict[str, torch.Tensor]:
    """Of two micro-batches whose losses are all made before the first backward, the second bare too."""
    backbone = backbone_of(name)
    adapter = trainable(backbone, config)
    connector = backbone.model.get_input_embeddings().weight  # what a bare step trains instead of experts
    connector.requires_grad_(True)
    if checkpointing:
        backbone.checkpoint_layers(adapter.call.checkpoint)
    loss = AnswerLoss(backbone, adapter)
    first, second = batches(backbone, 1 if config is PREFIX else 2)
    made = [loss(first), loss(second), loss(second, bare=True)]
    for one in made:
        one.backward()
    assert adapter.call.step is None
    assert adapter.call.enabled
    found = {path: p.grad for path, p in adapter.named_parameters()} | {"connector": connector.grad}
    assert all(bool(grad.any()) for key, grad in found.items() if key.endswith((".A", ".B", "connector")))
    return found


@pytest.mark.parametrize(
    ("name", "config"),
    [("embedded", PREFIX), ("idefics3", PREFIX), *((name, TOKEN) for name in ("embedded", *tiny_models()))],
    ids=lambda value: value.routing if isinstance(value, SmolaConfig) else value,
)
def test_gradients_are_the_same(name, config):
    expected, found = (gradients(name, config, checkpointing) for checkpointing in (False, True))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-5, msg=key)


def test_a_lora_needs_no_step():
    grads = []
    for checkpointing in (False, True):
        backbone = tiny_backbone()
        lora = attach_lora(backbone.model, backbone.target_linears(["q_proj"]), {"q_proj": 2})
        if checkpointing:
            backbone.checkpoint_layers()
        AnswerLoss(backbone, None)(batches(backbone)[0]).backward()
        grads.append({name: p.grad for name, p in lora.named_parameters()})
    for name, value in grads[0].items():
        torch.testing.assert_close(grads[1][name], value, atol=1e-6, rtol=0)


@pytest.mark.parametrize("config", [TOKEN, PREFIX], ids=lambda config: config.routing)
def test_fewer_activations_live(config):
    """The peak of a step on eight layers, past the tower; nothing of it is alive after."""
    peaks, left = [], []
    for checkpointing in (False, True):
        backbone = tiny_backbone(layers=8)
        adapter = trainable(backbone, config)
        if checkpointing:
            backbone.checkpoint_layers(adapter.call.checkpoint)
        seen = torch.randn(backbone.grid**2, backbone.model.config.vision_config.hidden_size)
        row = backbone.encode(seen, "Say red.", "an answer")
        loss, batch = AnswerLoss(backbone, adapter), batch_of(backbone, [[row]])
        with LiveBytes(backbone.model, []) as live:
            loss(batch).backward()
            for parameter in adapter.parameters():
                parameter.grad = None
        peaks.append(live.peak)
        left.append(live.now)
    assert peaks[1] < 0.5 * peaks[0], peaks
    assert left[1] <= left[0], left
