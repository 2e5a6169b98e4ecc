"""The whole way from an empty cache to a loaded backbone, with a tiny model in place of the real weights."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LAYERS, tiny_processor
from tiny import tiny_model as any_tiny_model
from torch import nn

from smola_demo.backbone import connector, fetch, load_backbone, store
from smola_demo.backbone.base import PAD
from smola_demo.backbone.connector import UNTRAINED, ConnectorError, read_facts, save_base
from smola_demo.backbone.download import CacheError, cache_dir
from smola_demo.backbone.quantization import PrecisionError

LINEARS = 7 * LAYERS
WIDTH = 64  # a whole block of NF4
# The sixteen values of NF4 as published with QLoRA: quantiles of a standard normal, scaled to -1 … 1.
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)


def tiny_model(seed=0):
    return any_tiny_model(seed, WIDTH)


@pytest.fixture(autouse=True)
def assembled(tmp_path, monkeypatch):
    """An empty cache, no trained connector, parts that make the tiny model; returns what was assembled."""
    calls = []

    def assemble(language, vision):
        calls.append((language.suffix, vision.suffix))
        return tiny_model(), tiny_processor()

    monkeypatch.setenv("SMOLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("smola_demo.backbone.embedded.base_folder", lambda: tmp_path / "base")
    monkeypatch.setattr(store, "part_file", lambda part, _progress: tmp_path / part.name)
    monkeypatch.setattr(store, "assemble", assemble)
    return calls


@pytest.fixture
def base(tmp_path):
    return tmp_path / "base"


def load(precision, **options):
    return load_backbone(precision=precision, device="cpu", **options)


@torch.no_grad()
def logits(backbone):
    """At every real token of two rows, one of them with an image."""
    pixels = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    batch = backbone.collate([backbone.encode(pixels, "Hi"), backbone.encode(None, "Hello you")])
    return backbone.model(**batch.inputs).logits.float()[batch.modality != PAD]


def named(model, kind):
    return {name for name, module in model.named_modules() if type(module).__name__ == kind}


def folder(kind):
    (found,) = cache_dir().glob(f"embedded-{kind}-*")
    return found


# --- precisions


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


# --- the cache


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


# --- the connector


def trained(seed=1):
    """A tiny model whose connector and tower differ from the assembled one's."""
    return tiny_model(seed)


@torch.no_grad()
@pytest.mark.parametrize("tower", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_the_trained_connector_is_laid_over(assembled, base, tower, precision):
    before = load(precision)
    model = trained()
    save_base(model, base, {"stage": "align", "steps": 7}, tower=tower)
    after = load(precision)
    assert len(assembled) == 1
    assert (before.state, after.state) == (UNTRAINED, "")
    assert after.revision != before.revision
    for name, value in after.model.model.multi_modal_projector.named_parameters():
        assert torch.equal(value, model.model.multi_modal_projector.get_parameter(name))
    expected = model if tower else before.model
    for name, value in after.model.model.vision_tower.named_parameters():
        torch.testing.assert_close(value, expected.model.vision_tower.get_parameter(name), rtol=2**-8, atol=0)
        assert value.dtype == torch.float32
    facts = read_facts(base)
    assert (facts["stage"], facts["steps"]) == ("align", 7)
    assert len(facts["parts"]) == 2


def test_revision_follows_the_connector_only(base):
    without = connector.revision_of(base)
    assert without == connector.revision_of(base)
    assert len(bytes.fromhex(without)) == 6
    save_base(trained(1), base, {})
    first = connector.revision_of(base)
    save_base(trained(2), base, {})
    assert len({without, first, connector.revision_of(base)}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t | {"model.language_model.norm.weight": torch.ones(WIDTH)},
            "'model.language_model.norm.weight'",
        ),
        (
            lambda t: t | {"model.multi_modal_projector.linear_1.bias": torch.ones(5)},
            r"linear_1.bias' is \(5,\)",
        ),
        (lambda t: {k: v for k, v in t.items() if "linear_2.bias" not in k}, "lacks '.*linear_2.bias'"),
    ],
    ids=["unknown", "shape", "missing"],
)
def test_a_connector_that_does_not_fit_is_refused(base, change, message):
    save_base(trained(), base, {})
    save_file(change(load_file(base / "model.safetensors")), base / "model.safetensors")
    with pytest.raises(ConnectorError, match=message):
        load("fp32")


def test_a_damaged_connector_is_one_sentence(base):
    save_base(trained(), base, {})
    (base / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ConnectorError, match="is damaged"):
        load("fp32")


@torch.no_grad()
def test_an_untrained_connector_speaks_in_the_range_of_words():
    """Features as the tower promises them come out around the mean word, as far apart as words are."""
    model = tiny_model()
    connector.start(model)
    again = tiny_model(1)
    again.load_state_dict(model.state_dict())
    connector.start(again)
    assert torch.equal(
        again.model.multi_modal_projector.linear_2.weight, model.model.multi_modal_projector.linear_2.weight
    )
    mean, deviation = model.model.vision_tower.token_statistics()
    features = mean + deviation * torch.randn(4000, 112, generator=torch.Generator().manual_seed(2))
    tokens, words = model.model.multi_modal_projector(features), model.get_input_embeddings().weight
    assert 0.7 < tokens.std(0).mean() / words.std(0).mean() < 1.3
    assert isinstance(model.model.multi_modal_projector.linear_1, nn.Linear)
    assert (tokens.mean(0) - words.mean(0)).abs().mean() < words.std(0).mean()
