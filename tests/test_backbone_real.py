"""The embedded backbone with its real weights, against the files they come from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from gguf import GGUFReader
from gguf.quants import dequantize
from PIL import Image

from smola_demo.backbone import load_backbone
from smola_demo.backbone.base import PAD
from smola_demo.backbone.download import LANGUAGE, VISION, part_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CAPITAL = "What is the capital of France?"


@pytest.fixture(scope="module")
def exact():
    return load_backbone(precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def kernels():
    return load_backbone(precision="nf4", device="cpu")


@pytest.fixture(scope="module")
def plain():
    return load_backbone(device="cpu")


@pytest.fixture(scope="module")
def cat():
    return Image.open(ROOT / "assets" / "cat.jpg")


@torch.no_grad()
def answer(backbone, image, prompt):
    batch = backbone.collate([backbone.encode(image, prompt)])
    ids = backbone.model.generate(**batch.inputs, max_new_tokens=16)[0]
    return backbone.decode(ids[batch.inputs["input_ids"].shape[1] :])


def test_the_language_model_is_intact(exact):
    assert answer(exact, None, CAPITAL) == "The capital of France is Paris."


@torch.no_grad()
def test_weights_are_those_of_the_file(exact):
    """Read by the format's own library; queries and keys are stored in another order of their halves."""
    tensors = {t.name: t for t in GGUFReader(part_file(LANGUAGE)).tensors}
    layers = exact.decoder.layers
    for name, ours in {
        "blk.7.ffn_down.weight": layers[7].mlp.down_proj.weight,
        "blk.29.attn_v.weight": layers[29].self_attn.v_proj.weight,
        "blk.3.ffn_norm.weight": layers[3].post_attention_layernorm.weight,
        "token_embd.weight": exact.decoder.embed_tokens.weight[:-1],
    }.items():
        stored = dequantize(tensors[name].data, tensors[name].tensor_type)
        np.testing.assert_array_equal(ours.numpy(), stored)
    words = exact.decoder.embed_tokens.weight
    torch.testing.assert_close(words[exact.image_token_id], words[:-1].mean(0))
    assert exact.model.lm_head.weight is words


@torch.no_grad()
def test_the_published_tower_sees_the_cat(cat):
    """The reference package's classifier, fed with our features: ImageNet classes 281-285 are house cats."""
    from smola_demo.backbone.efficientnet import EfficientNetLiteConfig, EfficientNetLiteModel, from_published

    published = torch.load(part_file(VISION), weights_only=True)
    tower = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    tower.load_state_dict(from_published(published))
    reference = EfficientNet.from_name("efficientnet-lite2", image_size=256).eval()
    reference.load_state_dict(published)
    pixels = (torch.from_numpy(np.array(cat.convert("RGB").resize((256, 256)))).float() - 127) / 128
    top = tower.feature_maps(pixels.permute(2, 0, 1)[None])[32]
    head = reference._swish(reference._bn1(reference._conv_head(top))).mean((2, 3))
    assert reference._fc(head).argmax().item() in range(281, 286)


def test_digits_and_blanks_stay_apart(exact):
    """As the tokenizer was trained: every digit a token, blanks before a number in one."""
    texts = exact.token_texts(exact.tokenizer("in 2024  7x")["input_ids"])
    assert texts == ["in", " ", "2", "0", "2", "4", "  ", "7", "x"]


@pytest.mark.parametrize("text", ["Ünïcödé £5 — 12%", "two  blanks\n\nand\ttabs", "🐱 <b>", "0.25"])
def test_any_text_survives(exact, text):
    ids = exact.tokenizer(text)["input_ids"]
    assert exact.tokenizer.decode(ids) == text


@torch.no_grad()
def test_nf4_agrees_with_its_dequantized_form(kernels, plain, cat):
    batch = plain.collate([plain.encode(cat, "Describe the image briefly."), plain.encode(None, CAPITAL)])
    real = batch.modality != PAD
    a, b = (backbone.model(**batch.inputs).logits[real] for backbone in (kernels, plain))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    best = a.topk(2).values
    clear = best[:, 0] - best[:, 1] > 1e-2
    assert clear.float().mean() > 0.9
    assert torch.equal(a.argmax(-1)[clear], b.argmax(-1)[clear])
    assert answer(kernels, cat, "What is this?") == answer(plain, cat, "What is this?")


def test_memory_is_what_the_precision_promises(exact, kernels, plain):
    assert 555 < exact.memory_mb < 570
    assert plain.memory_mb == pytest.approx(exact.memory_mb, rel=1e-3)
    assert 185 < kernels.memory_mb < 200


def test_second_start_opens_no_connection(exact):
    """In a fresh process that is told nothing of being offline, with every connection refused."""
    assert exact
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise OSError('a connection was tried')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from smola_demo.backbone import load_backbone\n"
        "print(load_backbone(precision='fp32', device='cpu').num_layers)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("30\n", "")
