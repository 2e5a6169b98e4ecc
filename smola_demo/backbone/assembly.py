"""Joins language model, vision tower and an untrained connector into one LLaVA model with its processor.

Knows nothing of caches and downloads: files in, objects out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from smola_demo.backbone import connector
from smola_demo.backbone.efficientnet import (
    CELL,
    PIXEL_MEAN,
    PIXEL_STD,
    EfficientNetLiteConfig,
    from_published,
)

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_TOKEN = "<image>"  # noqa: S105  # a token of text


def assemble(language: Path, vision: Path) -> tuple[Any, Any]:
    """Join a GGUF language model and the published tower, in float32.

    Returns (LlavaForConditionalGeneration, LlavaProcessor). The connector is untrained; ours is laid over it
    when the model is loaded.
    """
    from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration

    text, tokenizer = _read_language(language)
    image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    text_config = text.config.to_dict()
    for name in ("quantization_config", "_name_or_path"):  # of the file, not of the float weights
        text_config.pop(name, None)
    vision_config = EfficientNetLiteConfig()
    config = LlavaConfig(
        vision_config=vision_config,
        text_config=type(text.config)(**text_config),
        image_token_index=image_token_id,
        image_seq_length=(vision_config.image_size // CELL) ** 2,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlavaForConditionalGeneration(config).float()
    model.model.vision_tower.load_state_dict(from_published(torch.load(vision, weights_only=True)))
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.tie_weights()
    connector.start(model)
    end = tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=end, pad_token_id=end, do_sample=False
    )
    return model.eval(), make_processor(tokenizer, vision_config.image_size)


def _read_language(file: Path) -> tuple[Any, Any]:
    """Language model and tokenizer of a GGUF file, both with one more token: the image placeholder."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    text = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # The file's reader forgets that this tokenizer was trained with every digit apart.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        words: Any = text.get_input_embeddings().weight
        # The mean word scores the mean logit, so a greedy answer never holds a placeholder.
        words[-1] = words[:-1].mean(0)
    return text, tokenizer


def make_processor(tokenizer: Any, image_size: int) -> Any:
    """A LlavaProcessor that squeezes an image to a square, uncropped, and scales it as the tower wants."""
    from transformers import LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    square = {"height": image_size, "width": image_size}
    images = LlavaImageProcessorPil(
        size=square,
        crop_size=square,
        do_center_crop=False,
        image_mean=[PIXEL_MEAN / 255] * 3,
        image_std=[PIXEL_STD / 255] * 3,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=CELL,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE_TOKEN,
        chat_template=tokenizer.chat_template,
    )
