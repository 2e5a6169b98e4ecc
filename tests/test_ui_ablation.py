"""Taking an expert out on the page, on an engine without a model."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json
import threading

import pytest
from fake_engine import FakeEngine
from PIL import Image
from ui_calls import VISITOR, ablate, ablation_handlers, event, picture, rank, rank_handlers, skipped  # noqa: F401  picture is a fixture

from smola_demo.results import Comparison, Progress, Request
from smola_demo.ui import comparison
from smola_demo.ui.examples import uploaded
from smola_demo.ui.picker import picked_cell, picker_value


def chosen(text, **info):
    return picker_value(FakeEngine(**info).info(), text)


def test_the_chips_show_what_the_text_says():
    value = chosen("mean!visual:0,4-6;text:*")
    assert value["picked"] == {"visual": [0, 4, 5, 6], "text": list(range(8)), "multimodal": []}
    assert (value["kind"], value["first"], value["last"], value["at"], value["note"]) == (
        "mean",
        None,
        None,
        [],
        "",
    )
    value = chosen("visual:3@8-15/mlp,q_proj")
    assert (value["first"], value["last"], value["at"], value["note"]) == (8, 15, ["mlp", "q_proj"], "")
    assert chosen("*:*@3")["picked"] == {group: list(range(8)) for group in ("visual", "text", "multimodal")}
    assert chosen("")["picked"] == {"visual": [], "text": [], "multimodal": []}


@pytest.mark.parametrize("text", ["visual:3@1,5", "visual:3@8;text:1", "visual:3/mlp;text:1/attn"])
def test_text_beyond_the_chips_is_said_not_lost(text):
    value = chosen(text)
    assert value["spec"] == text
    assert "more than the chips can show" in value["note"]
    assert value["picked"]["visual"] == [3]
    assert "wrong" not in value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<b>", "Cannot read '<b>': write group:experts"),
        ("audio:1", "No expert group 'audio': there are visual, text, multimodal."),
        ("visual:8", "No expert visual:8: each group has 0 to 7."),
        ("visual:1@77", "No experts in layer 77: wrapped layers are 0-29."),
        ("twist!visual:1", "Unknown kind of ablation 'twist'"),
    ],
)
def test_text_that_is_no_spec_gets_a_sentence_at_once(text, said):
    value = chosen(text)
    assert value["note"].startswith(said)
    assert value["wrong"] is True


def test_without_experts_there_is_nothing_to_choose():
    assert (
        chosen("", groups=(), state="none")["note"]
        == "No mixture of experts is loaded, so there is none to take out."
    )
    do = ablation_handlers(FakeEngine(state="none", groups=()))
    assert [b["interactive"] for b in do.buttons()] == [False, False, False]


def test_the_tab_says_what_it_works_on(picture):
    do = ablation_handlers()
    assert json.loads(do.asked(picture, "caption", "left over"))["text"] == "On: beach.png, Caption"
    told = json.loads(do.asked(picture, "count", " How many? "))
    assert told == {"text": "On: beach.png, Count: How many?", "kind": "info"}
    assert json.loads(do.asked(picture, "vqa", "Why?"))["text"] == "On: beach.png, Short question: Why?"
    assert json.loads(do.asked(None, "caption", None))["kind"] == "hint"


def test_a_clicked_cell_is_checked():
    info = FakeEngine().info()
    assert picked_cell({"group": "text", "expert": 2, "layer": "12"}, info) == ("text", 2, "12")
    assert picked_cell({"group": "text", "expert": 2, "layer": "4-5"}, info) == ("text", 2, "4-5")
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
        assert picked_cell(bad, info) is None


def test_clicking_a_cell_of_the_map_chooses_its_expert():
    do = ablation_handlers()
    spec, chips, way, cell = do.pick_cell(event(group="text", expert=2, layer="12"))
    assert spec == cell == "text:2@12"
    value = json.loads(chips)
    assert (value["picked"]["text"], value["first"], value["last"]) == ([2], 12, 12)
    assert way["visible"] is True
    assert "text expert 2, layer 12" in way["value"]
    assert all(skipped(v) for v in do.pick_cell(event(group="audio", expert=2, layer="12")))
    assert do.open().selected == "ablate"
    spec, chips, tabs = do.open_cell(cell)
    assert (spec, json.loads(chips)["picked"]["text"], tabs.selected) == ("text:2@12", [2], "ablate")


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


def test_a_line_break_that_goes_is_seen():
    assert comparison.word_diff("jug\nbongo", "jug bongo") == (
        [("same", "jug"), ("gone", "⏎"), ("same", "bongo")],
        [("same", "jug"), ("same", "bongo")],
    )


def test_ablate_shows_both_answers_and_what_changed(picture):
    do = ablation_handlers()
    outs = list(ablate(do, picture, "caption", None, "visual:3@8-15"))
    assert json.loads(outs[0][0])["state"] == "running"
    value = json.loads(outs[-1][0])
    assert value["state"] == "done"
    assert value["spec"] == "visual:3@8-15"
    assert value["asked"] == "beach.png, Caption"
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
        ("", "Choose an expert to take out, for example visual:3."),
        ("visual:99", "No expert visual:99: each group has 0 to 7."),
        ("audio:1", "No expert group 'audio': there are visual, text, multimodal."),
        ("visual:1@77", "No experts in layer 77: wrapped layers are 0-29."),
        ("<b>", "Cannot read '<b>': write group:experts, for example visual:3."),
    ],
)
def test_a_spec_that_does_not_fit_is_one_sentence(picture, spec, said, capsys):
    (out,) = ablate(ablation_handlers(), picture, "caption", None, spec)
    told = json.loads(out[0])
    assert (told["state"], told["message"]) == ("error", said)
    assert out[1]["interactive"] is True
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("spec", ["*:*", "visual:*;*:*"])
def test_where_no_routing_is_left_a_sentence_stands_for_the_chart(picture, spec):
    *_, last = ablate(ablation_handlers(), picture, "caption", None, spec)
    value = json.loads(last[0])
    assert value["divergence"] is None
    assert value["divergence_said"].startswith("No group keeps two experts in any layer")


def test_stopping_a_comparison_closes_it(picture):
    engine = FakeEngine()
    flag = threading.Event()
    request = Request(uploaded(picture), "caption", ablation="visual:1")
    run = comparison.stream_comparison(engine.compare(request), flag)
    assert next(run)["state"] == "running"
    flag.set()
    assert [v["state"] for v in run] == ["stopped"]
    assert engine.running == 0


def test_stop_ends_a_comparison_during_the_first_answer(picture):
    engine = FakeEngine()
    do = ablation_handlers(engine)
    run = ablate(do, picture, "caption", None, "visual:1")
    values = [json.loads(next(run)[0]) for _ in range(3)]
    assert values[-1]["verdict"].startswith("answering with all experts, 2 tokens")
    do.stop(VISITOR)
    (last,) = run
    assert json.loads(last[0])["state"] == "stopped"
    assert [b["interactive"] for b in last[1:]] == [True, True, False]
    assert (engine.running, engine.closed_early) == (0, 1)


def test_a_second_run_of_the_same_visitor_is_told_to_wait(picture):
    do = ablation_handlers()
    elsewhere = ablation_handlers(stops=do.stops)
    run = ablate(do, picture, "caption", None, "visual:1")
    next(run)
    message, *rest = elsewhere.begin(VISITOR)
    assert "Another run of yours" in json.loads(message)["aside"]
    assert all(skipped(v) for v in rest)
    assert all(skipped(v) for v in do.begin(VISITOR)), "the comparison on screen goes on"
    list(run)
    assert json.loads(do.begin(VISITOR)[0])["state"] == "running"


def test_a_press_during_the_ranking_is_told_to_wait_and_stop_is_the_rankings_own(picture):
    ranks = rank_handlers()
    run = rank(ranks, picture, "caption", None, "expert", None)
    next(run)
    assert "Another run of yours" in json.loads(ranks.ablate.begin(VISITOR)[0])["aside"]
    ranks.ablate.stop(VISITOR)
    assert json.loads(next(run)[0])["state"] == "running"
    ranks.stop(VISITOR)
    assert [json.loads(out[0])["state"] for out in run] == ["stopped"]


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
