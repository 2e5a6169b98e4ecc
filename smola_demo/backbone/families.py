"""Which kinds of models can be loaded: the model_type of a config, and the class that serves it.

Light: a family's module is imported when a model of it is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smola_demo.backbone.family import FamilyBackbone

FAMILIES: dict[str, str] = {
    "idefics3": "idefics3.Idefics3Backbone",
    "smolvlm": "idefics3.Idefics3Backbone",
    "llava": "llava.LlavaBackbone",
    "llava_onevision": "llava_onevision.LlavaOnevisionBackbone",
    "paligemma": "paligemma.PaliGemmaBackbone",
    "internvl": "internvl.InternVLBackbone",
    "gemma3": "gemma3.Gemma3Backbone",
    "qwen2_vl": "qwen_vl.QwenVLBackbone",
    "qwen2_5_vl": "qwen_vl.QwenVLBackbone",
    "qwen3_vl": "qwen_vl.QwenVLBackbone",
}


def family_of(model_type: str) -> type[FamilyBackbone]:
    """The class that serves a model_type. Raises KeyError for one that none serves."""
    module, name = FAMILIES[model_type].split(".")
    return getattr(importlib.import_module(f"smola_demo.backbone.{module}"), name)
