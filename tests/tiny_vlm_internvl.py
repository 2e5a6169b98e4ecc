"""Tiny InternVL 3.5: Qwen 3 under a tower of 16 patches a tile, shuffled to 4 visual tokens."""

from __future__ import annotations

from tiny_vlm import TEXT, VISION, Tiny, byte_tokenizer, random_model
from transformers import AutoTokenizer, InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

ROLES = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make():
    tokenizer = byte_tokenizer([*ROLES.values(), "<|im_start|>", "<|im_end|>"], **ROLES)
    tower = {"layer_scale_init_value": 1.0, "initializer_range": 0.2, **VISION}
    config = InternVLConfig(
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            "pad_token_id": 0,
            "head_dim": 16,
            **TEXT,
        },
        vision_config={"model_type": "internvl_vision", **tower},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    images = GotOcr2ImageProcessorPil(size={"height": 64, "width": 64}, max_patches=6)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    return random_model(InternVLForConditionalGeneration, config, end=end), images, tokenizer, CHAT


def patches(model):
    return model.model.vision_tower.embeddings.patch_embeddings


def rows(patches, backbone, row):
    """(tiles, 16, d) patches → (tiles · 4, 4 · d), merged by the model itself."""
    grid = patches.unflatten(1, (4, 4)).contiguous()
    return backbone.model.model.pixel_shuffle(grid).flatten(0, 2)


class PictureProcessor(InternVLProcessor):
    """The library's, without the part for videos, which needs torchvision."""

    def check_argument_for_proper_class(self, argument_name, argument):
        return None


def library(folder):
    images, tokenizer = (
        GotOcr2ImageProcessorPil.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    return PictureProcessor(images, tokenizer, image_seq_length=4, chat_template=tokenizer.chat_template)


TINY = [Tiny("internvl", make, (128, 64), patches, rows, library)]
