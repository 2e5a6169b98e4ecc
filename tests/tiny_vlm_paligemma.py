"""Tiny PaliGemma 2: Gemma 2 with sliding and full attention under a SigLIP tower."""

from __future__ import annotations

from tiny_vlm import TEXT, VISION, Tiny, byte_tokenizer, random_model
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil


def make():
    tokenizer = byte_tokenizer(["<image>"])
    config = PaliGemmaConfig(
        text_config={
            "model_type": "gemma2",
            "vocab_size": len(tokenizer),
            "pad_token_id": 0,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "final_logit_softcapping": 30.0,
            **TEXT,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "vision_use_head": False,
            "projection_dim": 64,
            **VISION,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=64,
        hidden_size=64,
    )
    images = SiglipImageProcessorPil(size={"height": 64, "width": 64})
    images.image_seq_length = 16
    return random_model(PaliGemmaForConditionalGeneration, config), images, tokenizer, None


def rows(patches, backbone, row):
    """(1, d, 4, 4) → (16, d)."""
    return patches.flatten(2).flatten(0, 1).T


def patches(model):
    return model.model.vision_tower.embeddings.patch_embedding


TINY = [Tiny("paligemma", make, (64, 64), patches, rows, PaliGemmaProcessor.from_pretrained)]
