"""Tiny Gemma 3: a sliding and a full layer; a SigLIP tower of 64 patches, averaged to 16 visual tokens."""

from __future__ import annotations

from tiny_vlm import TEXT, VISION, Tiny, byte_tokenizer, random_model
from torch import nn
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

ROLES = {"boi_token": "<start_of_image>", "image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"}
WINDOW = 24  # holds a picture, but not the question after it too
CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def make():
    tokenizer = byte_tokenizer([*ROLES.values(), "<start_of_turn>", "<end_of_turn>"], **ROLES)
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "pad_token_id": 0,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
            **TEXT,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
            **VISION,
            "image_size": 128,
        },
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        mm_tokens_per_image=16,
    )
    images = Gemma3ImageProcessorPil(size={"height": 128, "width": 128})
    ends = tokenizer.convert_tokens_to_ids(["</s>", "<end_of_turn>"])
    model = random_model(Gemma3ForConditionalGeneration, config, end=ends)
    # The library starts it at zero, where every picture would look the same.
    nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.2)
    return model, images, tokenizer, CHAT


def patches(model):
    return model.model.vision_tower.embeddings.patch_embedding


def rows(patches, backbone, row):
    """(1, d, 8, 8) → (16, d), averaged by the model itself."""
    return backbone.model.model.multi_modal_projector.avg_pool(patches).flatten(2).flatten(0, 1).T


def library(folder):
    return Gemma3Processor.from_pretrained(folder, image_seq_length=16)


TINY = [Tiny("gemma3", make, (128, 128), patches, rows, library)]
