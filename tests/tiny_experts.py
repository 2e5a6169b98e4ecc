"""Experts on the tiny backbone, with values that change its answers."""

from __future__ import annotations

import torch
from tiny import tiny_backbone

from smola_demo.adapter import Adapter, attach
from smola_demo.backbone.base import Backbone
from smola_demo.config import SmolaConfig
from smola_demo.engine import Engine

CONFIG = SmolaConfig(num_experts=3, rank=2, target_modules=("q_proj", "down_proj"))


def with_experts(config: SmolaConfig = CONFIG, strength: float = 0.3) -> tuple[Backbone, Adapter]:
    """A fresh tiny backbone with experts of a given strength; strength 0 leaves them untrained."""
    backbone = tiny_backbone()
    targets = backbone.target_linears(config.target_modules)
    adapter = attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)
    give_outputs(adapter, strength)
    return backbone, adapter


def give_outputs(adapter: Adapter, strength: float = 0.3) -> None:
    """B of a given strength, always the same, and routing far from uniform."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for site in adapter.sites:
            b = site.linear.mixture.experts.B
            b.copy_(torch.randn(b.shape, generator=generator) * strength)
            site.linear.mixture.router.scale.fill_(4.0)


def tiny_engine(config: SmolaConfig = CONFIG, strength: float = 0.3) -> Engine:
    """An engine on the tiny backbone."""
    backbone, adapter = with_experts(config, strength)
    return Engine(backbone, adapter, "tiny-experts", {"steps": 3}, 0.5)
