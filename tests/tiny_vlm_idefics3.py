"""Tiny Idefics3 and SmolVLM: tiles of 64 pixels, 4 visual tokens each, and a thumbnail."""

from __future__ import annotations

from tiny_vlm import TEXT, VISION, Tiny, byte_tokenizer, random_model
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

MARKS = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
MARKS += [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
# As the published models write it.
CHAT = (
    "<s>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def make(config_kind, model_kind, images_kind):
    tokenizer = byte_tokenizer(MARKS)
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **TEXT}
    config = config_kind(
        text_config=text, vision_config=VISION, scale_factor=2, image_token_id=image_token, pad_token_id=0
    )
    images = images_kind(size={"longest_edge": 128}, max_image_size={"longest_edge": 64})
    end = tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    return random_model(model_kind, config, end=end), images, tokenizer, CHAT


def rows(patches, backbone, row):
    """(tiles, d, 4, 4) patches → (tiles · 4, d · 4): each visual token is a square of four."""
    squares = patches.unfold(2, 2, 2).unfold(3, 2, 2)  # tiles, d, row, column, 2, 2
    return squares.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)


def patches(model):
    return model.model.vision_model.embeddings.patch_embedding


def library(folder):
    return Idefics3Processor.from_pretrained(folder, image_seq_len=4)


TINY = [
    Tiny(
        "idefics3",
        lambda: make(Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil),
        (128, 64),
        patches,
        rows,
        library,
    ),
    Tiny(
        "smolvlm",
        lambda: make(SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil),
        (128, 64),
        patches,
        rows,
    ),
]
