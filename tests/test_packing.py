"""A packed sequence gives every row the loss it has alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny import tiny_backbone
from tiny_experts import with_experts

from smola_demo.config import DataSource
from smola_demo.context import PAD, TokenContext
from smola_demo.data.images import ImageError
from smola_demo.data.mixture import Mixture
from smola_demo.data.row import RowError
from smola_demo.losses import AnswerLoss
from smola_demo.packing import IGNORED, pack, prepared

QUESTIONS = (("What is it?", "a dog"), ("How many are there in all?", "3"), ("Where?", "on the left"))


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (64, 48), (shade, 90, 255 - shade))


@pytest.mark.parametrize("written_out", [False, True])
def test_packed_loss_is_the_rows_own_loss(written_out):
    """A row's answer tokens get the same log-probs packed or alone; an answer of n tokens weighs √n."""
    backbone, adapter = with_experts()
    if written_out:
        backbone.write_out_attention()
    groups = [
        [backbone.encode(picture(10), q, a) for q, a in QUESTIONS],
        [backbone.encode(picture(200), "Say it.", "no")],
    ]
    batch = pack(groups, backbone.tokenizer.pad_token_id)
    packed = AnswerLoss(backbone, adapter)(batch)
    total, weight = torch.zeros(()), 0.0
    for row in (row for group in groups for row in group):
        single = backbone.collate([row])
        with adapter.context(TokenContext(single.modality, single.is_answer)):
            logits = backbone.model(**single.inputs).logits[0]
        answer = row.input_ids[row.answer_start :]
        own = F.cross_entropy(logits[row.answer_start - 1 : -1], answer)
        total = total + own * len(answer) ** 0.5
        weight += len(answer) ** 0.5
    torch.testing.assert_close(packed, total / weight, atol=1e-5, rtol=1e-5)


def test_only_answers_are_labelled_and_padding_is_marked():
    backbone = tiny_backbone()
    long, short = (backbone.encode(picture(1), q, a) for q, a in QUESTIONS[1:])
    batch = pack([[long, short], [short]], backbone.tokenizer.pad_token_id)
    said = backbone.tokenizer.decode(batch.labels[0][batch.labels[0] != IGNORED])
    assert said == "3<|im_end|>on the left<|im_end|>"
    assert (batch.modality[1] == PAD).sum() == batch.input_ids.shape[1] - len(short.input_ids)
    assert torch.equal(batch.is_answer, batch.labels != IGNORED)
    assert batch.attention_mask.any(-1).all(), "every token must see something, or softmax gives NaN"


def test_a_picture_that_the_backbone_does_not_take_ends_no_training(monkeypatch):
    """It opens, so only `prepare` can tell; the group far outside the stream takes its place."""
    backbone = tiny_backbone()
    mixture = Mixture([DataSource("shapes", tasks=("count",))], seed=0)
    prepare = type(backbone).prepare
    first = np.asarray(mixture[0].open())

    def picky(self, image):
        if np.array_equal(np.asarray(image), first):
            raise ImageError("cut it")
        return prepare(self, image)

    monkeypatch.setattr(type(backbone), "prepare", picky)
    with pytest.warns(UserWarning, match="left out of the training: cut it"):
        group, _ = next(prepared(backbone, mixture, 0))
    assert group.key == mixture[10_000_019].key
    monkeypatch.setattr(type(backbone), "prepare", lambda *_: (_ for _ in ()).throw(ImageError("cut it")))
    with (
        pytest.raises(RowError, match="look at this file: cut it"),
        pytest.warns(UserWarning, match="left out"),
    ):
        next(prepared(backbone, mixture, 0))


def test_rows_of_different_prompts_are_refused():
    backbone = tiny_backbone()
    row = backbone.encode(picture(1), "Say it.", "no")
    other = backbone.encode(
        None, "Say it, and say it in many more words than there are visual tokens in all.", "no"
    )
    with pytest.raises(ValueError, match="share"):
        pack([[row, other]], backbone.tokenizer.pad_token_id)
