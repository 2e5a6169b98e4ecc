"""Tiny Qwen2-VL, Qwen2.5-VL (windows of 2 × 2 visual tokens) and Qwen3-VL (DeepStack): cells of 16 pixels."""

from __future__ import annotations

from tiny_vlm import TEXT, Tiny, byte_tokenizer, random_model
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

# As the published models write it; the older ones begin with a system turn.
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SYSTEM = "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TOWER = {"depth": 2, "num_heads": 4, "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2}
TOWERS = {
    "qwen2_vl": {"embed_dim": 64, "hidden_size": 64, "mlp_ratio": 1},
    "qwen2_5_vl": {
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 64,
        "window_size": 32,
        "fullatt_block_indexes": [1],
    },
    "qwen3_vl": {
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 64,
        "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0, 1],
    },
}


def make(name, config_kind, model_kind):
    tokenizer = byte_tokenizer(MARKS)
    image, video, start, stop, end = tokenizer.convert_tokens_to_ids(
        ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_end|>"]
    )
    newest = name == "qwen3_vl"
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    config = config_kind(
        text_config={
            "vocab_size": len(tokenizer),
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "rope_parameters": rope | ({"mrope_interleaved": True} if newest else {}),
            **({"head_dim": 16} if newest else {}),
            **TEXT,
        },
        vision_config=TOWER | TOWERS[name],
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=stop,
    )
    model = random_model(model_kind, config, end=[end, 2])
    # The published models come with such settings for sampling.
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.5)
    images = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, size={"shortest_edge": 4 * 16**2, "longest_edge": 48 * 16**2}
    )
    return model, images, tokenizer, CHAT if newest else SYSTEM + CHAT


def rows(patches, backbone, row):
    """(4 n, d) patches, cell by cell → (n, 4 d)."""
    return patches.view(-1, 4 * patches.shape[-1])


def patches(model):
    return model.model.visual.patch_embed


def library(kind, folder):
    """The library's processor without its part for videos, which needs torchvision."""

    class WithoutVideos(kind):
        def check_argument_for_proper_class(self, argument_name, argument):
            return None

    tokenizer = AutoTokenizer.from_pretrained(folder)
    images = Qwen2VLImageProcessorPil.from_pretrained(folder)
    return WithoutVideos(images, tokenizer, None, chat_template=tokenizer.chat_template)


def tiny(name, config_kind, model_kind, processor_kind):
    return Tiny(
        name,
        lambda: make(name, config_kind, model_kind),
        (64, 48),
        patches,
        rows,
        lambda folder: library(processor_kind, folder),
    )


TINY = [
    tiny("qwen2_vl", Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor),
    tiny("qwen2_5_vl", Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor),
    tiny("qwen3_vl", Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor),
]
