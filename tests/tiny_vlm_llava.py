"""Tiny LLaVA 1.5 (CLIP with a class token, the ends of the picture cut off) and LLaVA-OneVision (tiles)."""

from __future__ import annotations

from tiny_vlm import TEXT, VISION, Tiny, byte_tokenizer, random_model
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

CHAT = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
CHAT_OV = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>' }}"
    "{% else %}{{ '\n' + part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PINPOINTS = [[64, 64], [64, 128], [128, 64], [128, 128]]


def make_llava():
    tokenizer = byte_tokenizer(["<image>"])
    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **TEXT},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 64, **VISION},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    return random_model(LlavaForConditionalGeneration, config), images, tokenizer, CHAT


def make_onevision():
    tokenizer = byte_tokenizer(["<image>", "<video>", "<|im_start|>", "<|im_end|>"])
    ids = tokenizer.convert_tokens_to_ids(["<image>", "<video>", "<|im_end|>"])
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), "pad_token_id": 0, **TEXT},
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        image_token_index=ids[0],
        video_token_index=ids[1],
        image_grid_pinpoints=PINPOINTS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_3",
    )
    images = LlavaOnevisionImageProcessorPil(size={"height": 64, "width": 64}, image_grid_pinpoints=PINPOINTS)
    return (
        random_model(LlavaOnevisionForConditionalGeneration, config, end=ids[2]),
        images,
        tokenizer,
        CHAT_OV,
    )


def rows(patches, backbone, row):
    """(1, d, 4, 4) → (16, d)."""
    return patches.flatten(2).flatten(0, 1).T


def rows_onevision(patches, backbone, row):
    """As the model itself puts the tiles together, with zeros for the ends of lines."""
    each = patches.flatten(2).mT
    packed, _ = backbone.model.model.pack_image_features(
        [each],
        row.more["image_sizes"],
        each.new_zeros(each.shape[-1]),
        backbone.model.config.vision_aspect_ratio,
    )
    return packed[0]


def patches(model):
    return model.model.vision_tower.embeddings.patch_embedding


def library(folder):
    return LlavaProcessor.from_pretrained(
        folder, patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


TINY = [
    Tiny("llava", make_llava, (96, 64), patches, rows, library),
    Tiny("llava_onevision", make_onevision, (128, 96), patches, rows_onevision),
]
