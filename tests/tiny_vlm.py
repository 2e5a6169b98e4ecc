"""Tiny models of the families: the library's own classes with random weights, saved as a real model is.

Each family has a file `tiny_vlm_FAMILY.py` with a list `TINY`; all of them are found here.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_experts import give_outputs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerFast

from smola_demo.adapter import attach
from smola_demo.backbone import load_backbone
from smola_demo.backbone.family import FamilyBackbone
from smola_demo.backbone.store import quiet
from smola_demo.config import SmolaConfig

CONFIG = SmolaConfig(num_experts=3, rank=2, target_modules=("q_proj", "down_proj"))
WIDTH = 64  # a whole block of NF4
# Wide enough that logits differ and greedy answers are stable.
TEXT: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
}
VISION: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 16,
}


@dataclass(frozen=True)
class Tiny:
    """How to make a tiny model of one model_type, and how to look at its patches.

    make     () → model, image processor, tokenizer, chat template or None
    size     (width, height) of a picture that the processor puts on its finest grid without resampling
    patches  model → the module that makes patch embeddings, before any attention
    rows     (its output, backbone, row) → (n, …), one per visual token, 0 for a token that no patch makes
    library  folder → the library's processor, where it needs neither torchvision nor other packages
    """

    name: str
    make: Callable[[], tuple[Any, Any, Any, str | None]]
    size: tuple[int, int]
    patches: Callable[[Any], nn.Module]
    rows: Callable[[Tensor, Any, Any], Tensor]
    library: Callable[[Path], Any] | None = None


@cache
def tiny_models() -> dict[str, Tiny]:
    """Every tiny model by its model_type."""
    files = sorted(Path(__file__).parent.glob("tiny_vlm_*.py"))
    return {tiny.name: tiny for file in files for tiny in importlib.import_module(file.stem).TINY}


def byte_tokenizer(specials: list[str], **roles: Any) -> PreTrainedTokenizerFast:
    """One token per byte after the special tokens; <pad>, <s>, </s> are 0, 1, 2."""
    specials = ["<pad>", "<s>", "</s>", *specials]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*specials, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=specials[3:],
        **roles,
    )


def random_model(kind: Any, config: Any, end: int | list[int] = 2, seed: int = 0) -> Any:
    """A model of the class `kind` whose random weights are the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=end, pad_token_id=0)
    return model.eval()


@cache
def tiny_folder(name: str) -> Path:
    """Folder of a tiny model; it lives as long as the process."""
    folder = Path(_room().name) / name
    model, images, tokenizer, template = tiny_models()[name].make()
    tokenizer.chat_template = template
    with quiet():
        for part in (model, images, tokenizer):
            part.save_pretrained(folder)
    return folder


@cache
def _room() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


@cache
def tiny_vlm(name: str, precision: str = "nf4") -> FamilyBackbone:
    """A tiny model as a user would load it; shared, so leave it as it was."""
    return load_backbone(str(tiny_folder(name)), precision=precision, device="cpu")


@contextmanager
def experts_on(backbone: FamilyBackbone, config: SmolaConfig = CONFIG, strength: float = 0.3):
    """Experts on a backbone for the length of the block; strength 0 leaves them untrained."""
    targets = backbone.target_linears(config.target_modules)
    adapter = attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)
    give_outputs(adapter, strength)
    try:
        yield adapter
    finally:
        adapter.detach()


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A dark picture with a colour of its own everywhere."""
    pixels = np.random.default_rng(seed).integers(20, 120, (size[1], size[0], 3))
    return Image.fromarray(pixels.astype(np.uint8))
