"""Judging an engine: two systems on the same rows, and whether the picture matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_experts import tiny_engine

from smola_demo.data.images import ImageError
from smola_demo.data.row import Row
from smola_demo.evaluate import all_experts, evaluate, predict
from smola_demo.looking import _losses, _with_another, looking
from smola_demo.metrics import bootstrap_ci, difference, score

COLORS = ("red", "green", "blue", "white", "black", "gray")


def rows(task: str = "vqa", source: str = "colours") -> list[Row]:
    pictures = [Image.new("RGB", (32, 32), color) for color in COLORS]
    return [
        Row(picture, task, "What colour?", ("ab",), source, f"{source}/{i}")
        for i, picture in enumerate(pictures)
    ]


def test_the_paired_interval_is_narrower_than_what_two_intervals_allow():
    """Predictions that win on one row in ten and never lose: the difference is sure, the values overlap."""
    rng = np.random.default_rng(0)
    accepted = [["yes"]] * 300
    before = ["yes" if rng.random() < 0.5 else "no" for _ in accepted]
    after = ["yes" if i % 10 == 0 else text for i, text in enumerate(before)]
    found = difference("vqa", after, before, accepted)
    expected = np.array([a != b for a, b in zip(after, before, strict=True)], float)
    assert found["difference"] == pytest.approx(expected.mean())
    assert found["ci95"] == list(bootstrap_ci(expected))
    assert found["ci95"][0] > 0
    assert found["value"] == pytest.approx(score("vqa", before, accepted)["value"])
    assert score("vqa", after, accepted)["ci95"][0] < score("vqa", before, accepted)["ci95"][1]


def test_against_none_is_the_engine_with_all_experts_out():
    engine = tiny_engine()
    own = rows()
    steps: list[int] = []
    result = evaluate(engine, own, against="none", progress=steps.append)
    assert sum(steps) == 2 * len(own)
    bare = predict(engine, own, all_experts(engine))
    found = result["tasks"]["vqa"]["against"]
    assert found["ablation"] == "none"
    assert found["value"] == score("vqa", [p.answer for p in bare], [r.answers for r in own])["value"]
    assert "against" not in evaluate(engine, own)["tasks"]["vqa"]


def test_intervals_know_which_rows_share_a_picture(tmp_path):
    """Two rows on each of the pictures: the numbers stand in the scores, and every interval goes by them."""
    engine = tiny_engine()
    paths = [tmp_path / f"{i}.png" for i in range(len(COLORS))]
    for path, color in zip(paths, COLORS, strict=True):
        Image.new("RGB", (32, 32), color).save(path)
    own = [
        Row(path, "vqa", question, ("ab",), "colours", f"{path.stem}/{question}")
        for path in paths
        for question in ("What?", "Where?")
    ]
    found = evaluate(engine, own, against="none", baselines=True)
    pictures = found["scores"]["vqa"]["pictures"]
    assert pictures == [i // 2 for i in range(len(own))]
    said, blind = ([p.answer for p in predict(engine, own, pictures=looking)] for looking in (True, False))
    accepted = [row.answers for row in own]
    task = found["tasks"]["vqa"]
    assert task["ci95"] == score("vqa", said, accepted, pictures)["ci95"]
    gain = difference("vqa", said, blind, accepted, pictures)
    assert task["baselines"]["question_only"]["gain"]["ci95"] == gain["ci95"]


def test_looking_is_the_loss_under_both_pictures():
    """Against one forward pass per row and picture, written out."""
    engine = tiny_engine()
    own = rows()
    found = looking(engine, own)["colours"]
    losses = []
    for row, other in zip(own, own[1:] + own[:1], strict=True):
        pair = []
        for picture in (row.image, other.image):
            encoded = engine.backbone.encode(picture, engine.backbone.prompt("vqa", row.question), "ab")
            batch = engine.backbone.collate([encoded], side="left")
            with torch.no_grad():
                logits = engine.backbone.model(**batch.inputs).logits[0].float()
            logits[:, engine.backbone.image_token_id] = -torch.inf  # no answer may hold a picture
            table = torch.log_softmax(logits, -1)
            ids = encoded.input_ids
            steps = range(encoded.answer_start, len(ids))
            pair.append(-float(np.mean([float(table[t - 1, ids[t]]) for t in steps])))
        losses.append(pair)
    table = np.array(losses)
    assert found["own"] == pytest.approx(table[:, 0].mean(), rel=1e-4)
    assert found["other"] == pytest.approx(table[:, 1].mean(), rel=1e-4)
    assert found["gain"] == pytest.approx((table[:, 1] - table[:, 0]).mean(), abs=1e-5)
    assert found["n"] == len(COLORS)


def test_a_picture_that_the_backbone_does_not_take_is_one_failure(monkeypatch):
    """It opens, and spoils no answer of the batch it is in."""
    engine = tiny_engine()
    own = rows()
    expected = [p.answer for p in predict(engine, own)]
    encode = type(engine.backbone).encode

    def picky(self, image, prompt, answer=None):
        if image is not None and np.array_equal(np.asarray(image), np.asarray(own[2].open())):
            raise ImageError("cut it")
        return encode(self, image, prompt, answer)

    monkeypatch.setattr(type(engine.backbone), "encode", picky)
    found = predict(engine, own)
    assert [p.failure for p in found] == ["cut it" if i == 2 else "" for i in range(len(own))]
    assert [p.answer for i, p in enumerate(found) if i != 2] == [a for i, a in enumerate(expected) if i != 2]


@pytest.mark.parametrize(
    ("question", "said"),
    [("What is " + "very " * 110 + "red?", "has 562 characters"), ("\0", "needs a question")],
)
def test_a_question_that_cannot_be_asked_is_one_failure(question, said):
    engine = tiny_engine()
    own = rows()
    expected = [p.answer for p in predict(engine, own)]
    asked = [*own[:2], replace(own[2], question=question), *own[3:]]
    found = evaluate(engine, asked, baselines=True)
    assert [failed["row"] for failed in found["failed"]] == [own[2].id]
    assert said in found["failed"][0]["reason"]
    assert found["tasks"]["vqa"]["n"] == len(own)
    assert [p.answer for p in predict(engine, asked)] == [*expected[:2], "", *expected[3:]]


def test_looking_draws_pictures_for_its_interval(tmp_path):
    """Rows of one picture gain alike, so three questions about each tell hardly more than one."""
    own = []
    for i, color in enumerate(COLORS):
        Image.new("RGB", (32, 32), color).save(tmp_path / f"{i}.png")
        asked = ("What colour?", "Which colour is it?", "What?")
        own += [Row(tmp_path / f"{i}.png", "vqa", q, ("ab",), "colours", f"{i}/{q}") for q in asked]
    engine = tiny_engine()
    found = looking(engine, own)["colours"]
    gains = [
        other - mine for mine, other in _losses(engine, _with_another([(row, row.open()) for row in own]))
    ]
    names = [row.image_name for row in own]
    assert found["ci95"] == pytest.approx(bootstrap_ci(gains, pictures=names), abs=1e-6)
    assert found["ci95"] != pytest.approx(bootstrap_ci(gains), abs=1e-6)


def test_looking_leaves_out_what_has_no_other_picture(tmp_path):
    engine = tiny_engine()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    alone = rows(source="alone")[0]
    missing = Row(str(broken), "vqa", "What?", ("ab",), "colours", "x")
    found = looking(engine, [*rows(), missing, alone])
    assert set(found) == {"colours"}
    assert found["colours"]["n"] == len(COLORS)
