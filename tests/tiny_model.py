"""A random two-layer language model with experts on it: all that the tests of the mixture need of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from smola_demo.adapter import Adapter, attach
from smola_demo.config import SmolaConfig
from smola_demo.context import PAD, TEXT, VISUAL, TokenContext

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGE, PAD_ID, VOCABULARY, WIDTH, LAYERS = 5, 0, 64, 32, 3
SMALL = SmolaConfig(num_experts=3, rank=2)
PREFIX = SmolaConfig(num_experts=3, rank=2, num_slots=2, routing="prefix")
BOTH = (SMALL, PREFIX)


def routing_name(config: SmolaConfig) -> str:
    return config.routing


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    """Grouped-query attention, frozen as backbones are, weights wide enough that all logits differ."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        pad_token_id=PAD_ID,
        bos_token_id=1,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def modality_of(ids: Tensor, mask: Tensor | None) -> Tensor:
    modality = torch.where(ids == IMAGE, VISUAL, TEXT).to(torch.int8)
    return modality if mask is None else modality.masked_fill(mask == 0, PAD)


def targets(model: nn.Module) -> dict[str, tuple[int, str]]:
    """Every linear inside the decoder's layers."""
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in path:
            found[path] = (int(path.split(".")[2]), path.rsplit(".", 1)[1])
    return found


def tiny_adapter(
    config: SmolaConfig = SMALL, trained: bool = True, seed: int = 0, model: LlamaForCausalLM | None = None
) -> Adapter:
    """A tiny model with experts; `trained` fills B and moves the scales, so that the experts matter."""
    model = model or tiny_llama()
    adapter = attach(model, config, targets(model), model.model, modality_of, seed=seed)
    if trained:
        scramble(adapter, seed)
    return adapter


def scramble(adapter: Adapter, seed: int = 0) -> None:
    """Random numbers in place of training; the scales get large enough that routing is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("scale"):
                parameter.copy_(4 + noise.abs())
            elif name.endswith("B"):
                parameter.copy_(noise * 0.5)


def context_of(ids: Tensor, answer_start: int | None = None, mask: Tensor | None = None) -> TokenContext:
    """The facts of a call: image tokens by their id, everything from `answer_start` on is answer text."""
    modality, is_answer = modality_of(ids, mask), torch.zeros_like(ids, dtype=torch.bool)
    if answer_start is not None:
        modality[:, answer_start:], is_answer[:, answer_start:] = TEXT, True
    return TokenContext(modality, is_answer)


def prompt(rows: int = 2, images: int = 4, text: int = 5, seed: int = 0) -> Tensor:
    """(rows, images + text) ids: the image's tokens, then words."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(6, VOCABULARY, (rows, text), generator=generator)
    return torch.cat([torch.full((rows, images), IMAGE), words], dim=1)
