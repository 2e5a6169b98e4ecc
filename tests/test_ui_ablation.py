"""Taking an expert out on the page, on an engine without a model."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json
import threading

import pytest
from fake_engine import FakeEngine
from PIL import Image
from ui_calls import ablate, event, handlers, picture, skipped  # noqa: F401  picture is a fixture

from smola_demo.results import Comparison, Progress, Request
from smola_demo.ui import comparison
from smola_demo.ui.examples import uploaded


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("visual", 3, "", "zero"), "visual:3"),
        (("visual", 3, None, None), "visual:3"),
        (("text", 0, " 8 - 15 ", "zero"), "text:0@8-15"),
        (("text", 0, "@4", "mean"), "mean!text:0@4"),
        (("multimodal", 7, "*", "renormalize"), "renormalize!multimodal:7"),
        ((None, 3, "", "zero"), ""),
        (("visual", None, "", "zero"), ""),
    ],
)
def test_spec_text(parts, text):
    assert comparison.spec_text(*parts) == text


def test_spec_text_is_what_the_model_side_reads():
    ablation = pytest.importorskip("smola_demo.ablation")
    for kind in ("zero", "renormalize", "mean"):
        text = comparison.spec_text("visual", 3, "8-15", kind)
        spec = ablation.AblationSpec.parse(text)
        assert spec.kind == kind
        assert spec.terms[0].experts == (3,)
        assert spec.terms[0].layers == tuple(range(8, 16))


def test_a_clicked_cell_is_checked():
    info = FakeEngine().info()
    assert comparison.picked_cell({"group": "text", "expert": 2, "layer": "12"}, info) == ("text", 2, "12")
    assert comparison.picked_cell({"group": "text", "expert": 2, "layer": "4-5"}, info) == ("text", 2, "4-5")
    for bad in (
        None,
        "text",
        {"group": "audio", "expert": 2, "layer": "12"},
        {"group": "text", "expert": 8, "layer": "12"},
        {"group": "text", "expert": -1, "layer": "12"},
        {"group": "text", "expert": "2", "layer": "12"},
        {"group": "text", "expert": 2, "layer": "30"},
        {"group": "text", "expert": 2, "layer": "1; drop"},
    ):
        assert comparison.picked_cell(bad, info) is None


def test_clicking_a_cell_fills_the_ablation_form():
    do = handlers()
    assert do.pick_cell("mean", event(group="text", expert=2, layer="12")) == (
        "text",
        2,
        "12",
        "mean!text:2@12",
    )
    assert all(skipped(v) for v in do.pick_cell("mean", event(group="audio", expert=2, layer="12")))


def test_word_diff_keeps_every_word():
    before, after = "a red ball on the green lawn", "a blue ball on a lawn today"
    left, right = comparison.word_diff(before, after)
    assert " ".join(words for _, words in left) == before
    assert " ".join(words for _, words in right) == after
    assert ("gone", "red") in left
    assert ("new", "blue") in right
    assert (
        [w for k, w in left if k == "same"]
        == [w for k, w in right if k == "same"]
        == ["a", "ball on", "lawn"]
    )


def test_ablate_shows_both_answers_and_what_changed(picture):
    do = handlers()
    outs = list(ablate(do, picture, "caption", None, "visual:3@8-15"))
    assert json.loads(outs[0][0])["state"] == "running"
    value = json.loads(outs[-1][0])
    assert value["state"] == "done"
    assert value["spec"] == "visual:3@8-15"
    assert len(value["tokens"]) > 3
    facts = dict(value["facts"])
    assert facts["modules touched"] == "24"
    total = sum(change for _, change in value["tokens"])
    assert float(facts["total Δ log-probability"].removesuffix(" nats").replace("−", "-")) == pytest.approx(
        total, abs=6e-4
    )
    assert len(value["divergence"]["data"][0]["x"]) == 30
    assert outs[-1][1]["interactive"] is True


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "Name an expert to take out, for example visual:3."),
        ("visual:99", "No expert visual:99: each group has 0 to 7."),
        ("audio:1", "No expert group 'audio': there are visual, text, multimodal."),
        ("visual:1@77", "No experts in layer 77: wrapped layers are 0-29."),
        ("<b>", "Cannot read '<b>': write group:experts, for example visual:3."),
    ],
)
def test_a_spec_that_does_not_fit_is_one_sentence(picture, spec, said, capsys):
    (out,) = ablate(handlers(), picture, "caption", None, spec)
    assert json.loads(out[0]) == {"state": "error", "message": said}
    assert out[1]["interactive"] is True
    assert capsys.readouterr().err == ""


def test_stopping_a_comparison_closes_it(picture):
    engine = FakeEngine()
    flag = threading.Event()
    request = Request(uploaded(picture), "caption", ablation="visual:1")
    run = comparison.stream_comparison(engine.compare(request), flag)
    assert next(run)["state"] == "running"
    flag.set()
    assert [v["state"] for v in run] == ["stopped"]
    assert engine.running == 0


def test_verdict_says_which_way():
    engine = FakeEngine()
    image = Image.new("RGB", (8, 8))
    items = list(engine.compare(Request(image, "caption", ablation="visual:1")))
    found = items[-1]
    assert isinstance(found, Comparison)
    assert isinstance(items[0], Progress)
    way = "less likely" if found.delta_logprob < 0 else "more likely"
    assert way in comparison.verdict(found, "visual:1")
    assert comparison.signed(-0.5) == "−0.500"
    assert comparison.signed(0.25, 2) == "+0.25"
