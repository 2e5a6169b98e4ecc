"""An empty cache and parts that assemble to a tiny model: loading works as for the real one, in a moment."""

from __future__ import annotations

import torch
from tiny import tiny_model as any_tiny_model
from tiny import tiny_processor

from smola_demo.backbone import load_backbone, store
from smola_demo.backbone.base import PAD
from smola_demo.backbone.download import cache_dir

WIDTH = 64  # a whole block of NF4


def tiny_model(seed=0):
    return any_tiny_model(seed, WIDTH)


def use_tiny_parts(tmp_path, monkeypatch):
    """An empty cache, no trained connector, parts that make the tiny model; returns what was assembled."""
    calls = []

    def assemble(language, vision):
        calls.append((language.suffix, vision.suffix))
        return tiny_model(), tiny_processor()

    monkeypatch.setenv("SMOLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("smola_demo.backbone.connector.base_folder", lambda: tmp_path / "base")
    monkeypatch.setattr(store, "part_file", lambda part, _progress: tmp_path / part.name)
    monkeypatch.setattr(store, "assemble", assemble)
    return calls


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
