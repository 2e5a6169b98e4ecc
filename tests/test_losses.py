"""The losses against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image
from tiny import tiny_backbone

from smola_demo.losses import COMMON, LENGTH_WEIGHT, VisualWordsLoss, token_weights
from smola_demo.packing import IGNORED, pack

PICTURES = (("red", ("a", "bc")), ("green", ("ad",)), ("blue", ("a", "d")), ("white", ("e",)))


def batch_of(backbone):
    groups = []
    for color, answers in PICTURES:
        image = Image.new("RGB", (32, 32), color)
        groups.append([backbone.encode(image, "Say.", answer) for answer in answers])
    return pack(groups, backbone.tokenizer.pad_token_id)


def test_equals_loops_over_pictures_and_tokens():
    backbone = tiny_backbone()
    loss = VisualWordsLoss(backbone)
    batch = batch_of(backbone)
    model = backbone.model.model
    words = backbone.model.get_input_embeddings().weight.double()
    middle = words.mean(0)
    visual = (
        model.multi_modal_projector(model.vision_tower(batch.pixel_values).hidden_states[-1]).double()
        - middle
    )
    held = [set("".join(answers)) for _, answers in PICTURES]  # the tiny tokenizer has one token per letter
    letters = sorted(set().union(*held))
    telling = [c for c in letters if sum(c in one for one in held) / len(held) <= COMMON]
    assert telling == ["b", "c", "e"], "'a' and 'd' are in several of four pictures and tell little"

    def strength(i: int, letter: str) -> float:
        (token,) = backbone.tokenizer(letter, add_special_tokens=False)["input_ids"]
        word = words[token] - middle
        cosines = [float(v @ word / (v.norm() * word.norm())) for v in visual[i]]
        return math.log(sum(math.exp(float(loss.log_sharpness.detach().exp()) * c) for c in cosines))

    table = [[strength(i, c) for c in telling] for i in range(4)]
    by_picture, by_token, pairs = [], 0.0, 0
    for w, c in enumerate(telling):
        total = math.log(sum(math.exp(table[i][w]) for i in range(4)))
        losses = [total - table[i][w] for i in range(4) if c in held[i]]
        by_picture.append(sum(losses) / len(losses))
    for i in range(4):
        total = math.log(sum(math.exp(value) for value in table[i]))
        for w, c in enumerate(telling):
            if c in held[i]:
                by_token, pairs = by_token + total - table[i][w], pairs + 1
    typical = float((words - middle).norm(dim=-1).mean())
    length = sum((float(v.norm()) / typical - 1) ** 2 for v in visual.flatten(0, 1)) / (4 * 64)
    expected = sum(by_picture) / len(telling) + by_token / pairs + LENGTH_WEIGHT * length
    assert float(loss(batch).detach()) == pytest.approx(expected, rel=1e-4)


def test_pictures_with_the_same_words_teach_only_length():
    backbone = tiny_backbone()
    row = backbone.encode(Image.new("RGB", (32, 32), "red"), "Say.", "a")
    loss = VisualWordsLoss(backbone)
    features = backbone.model.model.vision_tower(row.pixel_values).hidden_states[-1]
    visual = backbone.model.model.multi_modal_projector(features) - loss.middle
    expected = LENGTH_WEIGHT * float((visual.norm(dim=-1) / loss.length - 1).square().mean())
    value = loss(pack([[row], [row]], backbone.tokenizer.pad_token_id))
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_a_token_weighs_one_over_the_root_of_its_answers_length():
    x = IGNORED
    labels = torch.tensor([[x, 7, 7, 7, 7, x, 5, x], [3, x, 9, 9, x, x, x, 2], [x] * 8])
    half = 0.5**0.5
    expected = [[0, 0.5, 0.5, 0.5, 0.5, 0, 1, 0], [1, 0, half, half, 0, 0, 0, 1], [0] * 8]
    torch.testing.assert_close(token_weights(labels), torch.tensor(expected, dtype=torch.float))
