"""What each precision stores, computes and answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from assembled import WIDTH, load, logits, named, tiny_model, use_tiny_parts
from tiny import LAYERS, tiny_processor
from tiny import tiny_model as any_tiny_model

from smola_demo.backbone import quantization, store
from smola_demo.backbone.connector import UNTRAINED
from smola_demo.backbone.quantization import PrecisionError, choose, mixed_precision, pick_device

LINEARS = 7 * LAYERS
# The sixteen values of NF4 as published with QLoRA: quantiles of a standard normal, scaled to -1 … 1.
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)


@pytest.fixture(autouse=True)
def assembled(tmp_path, monkeypatch):
    """An empty cache; the list of what was assembled."""
    return use_tiny_parts(tmp_path, monkeypatch)


def test_auto_on_a_cpu_is_nf4_computed_in_fp32():
    plan = choose("auto", "cpu")
    assert (plan.precision, plan.dequantize, plan.device.type) == ("nf4", True, "cpu")
    assert plan.compute == "NF4 weights, computed in fp32"
    assert not choose("nf4", "cpu").dequantize
    assert choose("nf4", "cpu", dequantize=True) == plan
    assert not choose("auto", "cpu", dequantize=False).dequantize


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fp8", "cpu"), "no precision 'fp8': choose auto, nf4, int8, bf16, fp32"),
        (("fp32", "cpu", True), "only nf4 weights can be dequantized, not fp32"),
        (("auto", "tpu"), "no device 'tpu': choose auto, cpu or cuda"),
        (("auto", "xla"), "no device 'xla': choose auto, cpu or cuda"),
        (("auto", "cuda:99"), "device 'cuda:99' is not on this machine"),
    ],
)
def test_precision_and_device_errors_name_the_choices(arguments, message):
    with pytest.raises(PrecisionError, match=message):
        choose(*arguments)


def test_a_gpu_is_named_with_its_number(monkeypatch):
    """A thread that loads weights begins at GPU 0, whichever its process has chosen."""
    for name, value in (("is_available", True), ("device_count", 2), ("current_device", 1)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert [pick_device(name) for name in ("auto", "cuda", "cuda:0")] == [
        torch.device(name) for name in ("cuda:1", "cuda:1", "cuda:0")
    ]


def test_device_auto_is_there():
    assert torch.zeros(1, device=pick_device()).device.type == pick_device().type


@torch.no_grad()
def test_fp32_is_the_assembled_model(assembled):
    backbone = load("fp32")
    model = tiny_model()
    assert assembled == [(".gguf", ".pth")]
    assert all(
        torch.equal(a, b) for a, b in zip(backbone.model.parameters(), model.parameters(), strict=True)
    )
    assert (backbone.state, backbone.precision, backbone.compute) == (UNTRAINED, "fp32", "float32")
    assert backbone.load_s > 0
    assert not backbone.model.training
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_nf4_touches_the_language_models_linears_only():
    model = load("nf4").model
    quantized = named(model, "Linear4bit")
    assert len(quantized) == LINEARS
    assert all(name.startswith("model.language_model.layers.") for name in quantized)
    rest = {t.dtype for name, t in model.named_parameters() if name.removesuffix(".weight") not in quantized}
    assert rest == {torch.float32}


def test_nf4_values_are_those_of_the_published_code():
    """Blocks of 64 as nearest codes times their largest magnitude, which is itself kept in 8 bits."""
    exact = tiny_model().model.language_model.layers[1].mlp.down_proj.weight.numpy().reshape(-1, 64)
    stored = load("nf4", dequantize=True).decoder.layers[1].mlp.down_proj.weight.numpy().reshape(-1, 64)
    largest = np.abs(exact).max(1, keepdims=True)
    expected = NF4[np.abs((exact / largest)[..., None] - NF4).argmin(-1)] * largest
    assert np.abs(stored - expected).max() < 0.01 * largest.max()
    assert np.abs(stored - exact).max() > 0.05 * largest.max()  # they are indeed only four bits


@pytest.mark.parametrize("dequantize", [False, True])
def test_rows_of_broken_blocks_are_refused(monkeypatch, dequantize):
    """The library would silently read constants of other rows: see `packed_linears`."""
    monkeypatch.setattr(store, "assemble", lambda *_: (any_tiny_model(width=32), tiny_processor()))
    with pytest.raises(PrecisionError, match=r"self_attn.q_proj' reads 32 numbers, no multiple of 64"):
        load("nf4", dequantize=dequantize)


def test_dequantized_answers_like_the_kernels():
    kernels, plain = load("nf4"), load("auto")
    assert (plain.precision, plain.compute) == ("nf4", "NF4 weights, computed in fp32")
    assert not named(plain.model, "Linear4bit")
    assert named(plain.model, "Linear") >= named(kernels.model, "Linear4bit")
    torch.testing.assert_close(logits(plain), logits(kernels), rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(plain).argmax(-1), logits(kernels).argmax(-1))
    assert plain.memory_mb > kernels.memory_mb


def test_gradients_pass_four_bit_linears_after_an_answer():
    """Training through the kernels equals training through plain linears, also once they have answered."""
    gradients = []
    for backbone in (load("nf4"), load("auto")):
        logits(backbone)
        words = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
        backbone.model(inputs_embeds=words).logits.square().sum().backward()
        gradients.append(words.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-3)
    assert gradients[0].abs().sum() > 0


def test_bf16_keeps_tower_and_connector_in_fp32():
    backbone, exact = load("bf16"), load("fp32")
    model = backbone.model.model
    assert {p.dtype for p in model.language_model.parameters()} == {torch.bfloat16}
    assert backbone.model.lm_head.weight is model.language_model.embed_tokens.weight
    for part in (model.vision_tower, model.multi_modal_projector):
        assert {p.dtype for p in part.parameters()} == {torch.float32}
    difference = (logits(backbone) - logits(exact)).abs()
    assert 0 < difference.mean() < 0.02


def test_int8_is_close_and_quiet(caplog):
    backbone, exact = load("int8"), load("fp32")
    assert len(named(backbone.model, "Linear8bitLt")) == LINEARS
    difference = (logits(backbone) - logits(exact)).abs()
    assert 0 < difference.mean() < 0.05
    assert not caplog.records


@torch.no_grad()
def test_a_dequantized_model_is_a_plain_one(tmp_path):
    backbone = load("auto")
    backbone.model.save_pretrained(tmp_path / "plain")
    again = type(backbone.model).from_pretrained(tmp_path / "plain")
    assert "quantization_config" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), backbone.model.parameters(), strict=True)
    )
    assert backbone.model.to(torch.float64).dtype == torch.float64


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "nf4", "auto", "bf16", "int8"])
def test_generates_in_every_precision(precision):
    backbone = load(precision)
    batch = backbone.collate([backbone.encode(torch.zeros(3, 256, 256), "Hi"), backbone.encode(None, "Yo")])
    out = backbone.model.generate(**batch.inputs, max_new_tokens=4)
    assert out.shape[1] > batch.inputs["input_ids"].shape[1]


@pytest.mark.parametrize(
    ("wanted", "has", "settled"),
    [
        ("auto", {"avx2": True, "avx512_f": True}, "no"),
        ("auto", {"avx512_bf16": True}, "bf16"),
        ("auto", {"amx_bf16": True}, "bf16"),
        ("auto", {"architecture": "aarch64", "bf16": True}, "bf16"),
        ("no", {"avx512_bf16": True}, "no"),
        ("bf16", {}, "bf16"),
    ],
)
def test_training_is_mixed_only_where_a_cpu_has_bfloat16(monkeypatch, wanted, has, settled):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert mixed_precision(wanted, torch.device("cpu")) == settled


@pytest.mark.parametrize(("has", "lines"), [({"avx2": True}, 1), ({"avx512_bf16": True}, 0)])
def test_an_emulated_bfloat16_is_warned_of_once(monkeypatch, caplog, has, lines):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    quantization._warn_of_emulation.cache_clear()
    for wanted in ("bf16", "no", "bf16", "auto"):
        mixed_precision(wanted, torch.device("cpu"))
    assert len(caplog.messages) == lines
    assert all("this CPU only emulates bfloat16" in line and '"auto"' in line for line in caplog.messages)
