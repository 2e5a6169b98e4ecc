"""Random models of the real classes, built in a moment, with one row of input each."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from smola_demo.adapter import Adapter, attach
from smola_demo.backbone.pictures import Picture
from smola_demo.config import SmolaConfig
from smola_demo.context import TEXT as SAID
from smola_demo.context import VISUAL

TEXT = {
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 448,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 112,
    "patch_size": 14,
}
IMAGE = 5
OWN: dict[str, dict[str, Any]] = {
    "llava": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {"model_type": "clip_vision_model", **VISION},
        "image_seq_length": 64,
    },
    "idefics3": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": VISION,
        "scale_factor": 4,
        "image_token_id": IMAGE,
    },
    "paligemma": {
        "text_config": {"model_type": "gemma2", **TEXT},
        "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        "projection_dim": TEXT["hidden_size"],
    },
    "qwen2_5_vl": {
        "text_config": {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6]}},
        "vision_config": {
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_heads": 4,
            "out_hidden_size": TEXT["hidden_size"],
            "fullatt_block_indexes": [1],
        },
        "image_token_id": IMAGE,
    },
}
FAMILIES = tuple(OWN)


def tiny_config(family: str) -> Any:
    tokens = {"image_token_index": IMAGE} if "image_token_id" not in OWN[family] else {}
    return AutoConfig.for_model(family, **OWN[family], **tokens)


def tiny_family(family: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForImageTextToText.from_config(tiny_config(family)).eval().requires_grad_(False)


def row(
    family: str, picture: Picture, text: int, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Inputs of one picture and so many random words."""
    words = torch.randint(6, TEXT["vocab_size"], (1, picture.markers + text))
    ids = torch.cat([torch.full((1, picture.tokens), IMAGE), words], dim=1)
    pixels = torch.randn(picture.tiles, 3, picture.side, picture.side, dtype=dtype)
    inputs = {"input_ids": ids, "pixel_values": pixels}
    if family == "idefics3":
        inputs["pixel_values"] = pixels[None]
    elif family == "paligemma":
        inputs["token_type_ids"] = torch.zeros_like(ids)
    elif family == "qwen2_5_vl":
        side = picture.side // 14
        inputs["pixel_values"] = torch.randn(side * side, 3 * 2 * 14 * 14, dtype=dtype)
        inputs["image_grid_thw"] = torch.tensor([[1, side, side]])
        inputs["mm_token_type_ids"] = (ids == IMAGE).int()
    return inputs


def modality_of(ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return torch.where(ids == IMAGE, VISUAL, SAID).to(torch.int8)


def with_experts(model: Any, smola: SmolaConfig) -> Adapter:
    """Untrained experts on the language model's linears."""
    decoder = model.get_decoder()
    path = next(name for name, part in model.named_modules() if part is decoder)
    targets = {
        f"{path}.{name}": (int(name.split(".")[1]), name.rsplit(".", 1)[1])
        for name, part in decoder.named_modules()
        if isinstance(part, nn.Linear)
    }
    return attach(model, smola, targets, decoder, modality_of)
