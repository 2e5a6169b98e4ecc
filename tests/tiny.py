"""A backbone of the same classes as the embedded one, built in a moment; no network, no cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from smola_demo.backbone.assembly import IMAGE_TOKEN, make_processor
from smola_demo.backbone.efficientnet import EfficientNetLiteConfig
from smola_demo.backbone.embedded import EmbeddedBackbone

LAYERS, WIDTH = 2, 32
# Strides 4, 8, 16, 32 after the stem's 2; a visual token is 16 + 4 * 8 + 16 * 4 = 112 wide.
STAGES = ((1, 3, 2, 1, 4), (1, 3, 2, 2, 4), (1, 3, 2, 2, 8), (1, 3, 2, 2, 16))


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, with the special tokens of the embedded model at the same ids 0, 1, 2."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*specials, *letters, IMAGE_TOKEN])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=[IMAGE_TOKEN],
    )


@cache
def tiny_processor() -> Any:
    """The LlavaProcessor of the tiny model; it has no state, so all tests share one."""
    return make_processor(tiny_tokenizer(), 256)


def tiny_model(seed: int = 0, width: int = WIDTH, layers: int = LAYERS) -> LlavaForConditionalGeneration:
    """A random Llava: grouped-query attention, tied head, over a tiny tower."""
    processor = tiny_processor()
    text = LlamaConfig(
        vocab_size=len(processor.tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.2,  # wide enough that logits differ and greedy answers are stable
    )
    config = LlavaConfig(
        vision_config=EfficientNetLiteConfig(stages=STAGES),
        text_config=text,
        image_token_index=processor.image_token_id,
        image_seq_length=64,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
        for module in model.model.vision_tower.modules():
            if isinstance(
                module, torch.nn.Conv2d
            ):  # the library's narrow start would fade to nothing by the last block
                torch.nn.init.kaiming_normal_(module.weight)
    model.generation_config = GenerationConfig(
        eos_token_id=2, pad_token_id=2, bos_token_id=1, do_sample=False
    )
    return model.eval().requires_grad_(False)


def tiny_backbone(seed: int = 0, layers: int = LAYERS) -> EmbeddedBackbone:
    """A fresh backbone, the same for the same seed: 256 x 256 pixels, 64 visual tokens 112 wide."""
    return EmbeddedBackbone(
        id="tiny",
        name="tiny random Llava",
        licence="none",
        revision=f"tiny-{seed}",
        model=tiny_model(seed, layers=layers),
        processor=tiny_processor(),
        precision="fp32",
        compute="float32",
        device=torch.device("cpu"),
    )
