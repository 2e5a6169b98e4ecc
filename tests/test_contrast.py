"""Two runs held against each other: means, differences and divergence, with numbers worked out by hand."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image
from ui_calls import VISITOR, picture, skipped  # noqa: F401  picture is a fixture

from smola_demo.plots.contrast import contrast, mean_divergence, mean_over_tokens
from smola_demo.results import Request
from smola_demo.ui.compare_handlers import CompareHandlers
from smola_demo.ui.contrast import Side, contrast_value, loaded_note
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.stops import StopFlags

ENGINE = FakeEngine(experts=3, layers=2)
INFO = FakeEngine().info()
UNTOUCHED = (None, "", None, "all", None, "")
BACKBONE = (None, "", None, "none", None, "")


def trace(seed=0, words=("a", "b", "c")):
    return ENGINE.trace(seed, list(words), grid=2, words=2)


def test_means_are_plain_means_over_the_tokens_a_group_serves():
    found = trace()
    visual = mean_over_tokens(found, found.weight, 0)[0]
    np.testing.assert_allclose(visual, found.weight[0, :, :, :4].mean(2), rtol=1e-6)
    text_answer = mean_over_tokens(found, found.weight, 1)[1]
    np.testing.assert_allclose(text_answer, found.weight[1, :, :, -3:].mean(2), rtol=1e-6)
    assert np.isnan(mean_over_tokens(found, found.weight, 1)[0]).all()  # answers have no visual token


def test_a_projection_that_a_layer_lacks_takes_no_part():
    found = trace()
    base, weight = found.base_norm.copy(), found.weight.copy()
    base[1, 2], weight[:, 1, 2] = np.nan, np.nan
    holed = replace(found, base_norm=base, weight=weight, contribution=np.where(np.isnan(weight), np.nan, 0))
    both = contrast(holed, holed)
    assert np.isfinite(np.array(both["prompt"]["weight"], float)).all()
    assert np.isfinite(np.array(both["prompt"]["js"], float)).all()


@pytest.mark.parametrize(
    ("p", "q", "js"),
    [
        ((0.5, 0.5, 0.0), (0.5, 0.5, 0.0), 0.0),
        # of (3/4, 1/4) and (1/4, 3/4) the middle is even: log 2 less the entropy of (3/4, 1/4)
        ((0.75, 0.25, 0.0), (0.25, 0.75, 0.0), math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)),
        # the third expert is out of q: the others weigh the same after re-normalising
        ((0.4, 0.4, 0.2), (0.5, 0.5, 0.0), 0.0),
        ((0.6, 0.4, 0.0), (0.0, 0.4, 0.6), None),  # one expert in both: nothing to compare
    ],
)
def test_divergence_of_mean_routings(p, q, js):
    (found,) = mean_divergence(np.array([[[p]]], float), np.array([[[q]]], float)).ravel()
    assert math.isnan(found) if js is None else found == pytest.approx(js, abs=1e-12)


def test_contrast_is_b_minus_a_and_turns_its_sign_around():
    a, b = trace(1), trace(2, ("other", "words"))
    there, back = contrast(a, b), contrast(b, a)
    difference = np.array(there["prompt"]["weight"], float)
    np.testing.assert_allclose(difference, -np.array(back["prompt"]["weight"], float), atol=1e-9)
    expected = b.weight[1, :, :, 4:6].mean((1, 2)) - a.weight[1, :, :, 4:6].mean((1, 2))
    np.testing.assert_allclose(difference[1], expected, atol=1e-5)
    np.testing.assert_allclose(difference.sum(-1), 0, atol=3e-5)  # both sum to 1
    assert there["prompt"]["js"] == back["prompt"]["js"]
    assert there["answer"]["tokens"] == [[0, 0], [3, 2], [3, 2]]
    assert there["answer"]["weight"][0] == [[None] * 3] * 2
    assert np.array(contrast(a, a)["prompt"]["js"]).max() == 0


def test_what_a_run_has_taken_out_is_marked_in_both_phases():
    a, b = trace(1), trace(2)
    weight = b.weight.copy()
    weight[1, 0, 2, :, 1] = 0  # text expert 1 in layer 0, in one projection
    found = contrast(a, replace(b, weight=weight))
    for phase in ("prompt", "answer"):
        assert np.argwhere(found[phase]["out"]["weight"]).tolist() == [[1, 0, 1]]
        assert not np.any(found[phase]["out"]["share"]), "replaced by its mean: it still has a share"
    nothing = b.contribution.copy()
    nothing[1, 0, 2, :, 1] = 0
    found = contrast(a, replace(b, weight=weight, contribution=nothing))
    assert np.argwhere(found["answer"]["out"]["share"]).tolist() == [[1, 0, 1]]


def test_patches_of_two_pictures_are_not_the_same_tokens():
    found = trace(1)
    assert [phase["same"] for phase in contrast(found, found).values()] == [True, True]
    assert [phase["same"] for phase in contrast(found, found, same_picture=False).values()] == [False, True]


def handlers(engine=None, variants=None):
    handle = EngineHandle.of(engine or FakeEngine(), variants)
    return CompareHandlers(handle, StopFlags(), lambda run: run)


def pair(do, asked, a, b):
    return do.pair(*asked, *a, *b, do.begin(VISITOR)[0], VISITOR)


def test_both_sides_answer_and_the_routing_is_compared(picture):
    some = (None, "count", "How many?", "some", " visual:3 ", "")
    outs = list(pair(handlers(), (picture, "caption", None), UNTOUCHED, some))
    values = [json.loads(out[0]) for out in outs]
    assert {v["state"] for v in values[:-1]} == {"running"}
    assert values[-2]["verdict"].startswith("B is answering")
    last = values[-1]
    assert [side["asked"] for side in last["sides"]] == ["beach.png, Caption", "beach.png, Count: How many?"]
    assert dict(last["sides"][1]["facts"])["experts taken out"] == "visual:3"
    assert dict(last["sides"][0]["facts"])["modules touched"] == "0"
    assert set(last["routing"]["phases"]) == {"prompt", "answer"}
    assert [last["routing"]["phases"][phase]["same"] for phase in ("prompt", "answer")] == [True, False]
    assert last["no_routing"] == ""
    assert [b["interactive"] for b in outs[-1][1:]] == [True, False]


def test_a_side_with_a_picture_of_its_own_holds_other_tokens(picture, tmp_path):
    path = tmp_path / "other.png"
    Image.new("RGB", (64, 48), "navy").save(path)
    own = ({"path": str(path), "url": None, "orig_name": "other.png"}, "", None, "all", None, "")
    *_, last = pair(handlers(), (picture, "caption", None), UNTOUCHED, own)
    assert json.loads(last[0])["routing"]["phases"]["prompt"]["same"] is False


def test_the_plain_backbone_has_no_routing_to_compare(picture):
    *_, last = pair(handlers(), (picture, "caption", None), UNTOUCHED, BACKBONE)
    value = json.loads(last[0])
    assert dict(value["sides"][1]["facts"])["experts taken out"] == "*:*"
    assert value["routing"] is None
    assert value["no_routing"].startswith("B answers without a mixture of experts")


def test_a_side_may_run_on_another_checkpoint_or_precision(picture):
    built = []

    def variant(name, **shape):
        def build():
            built.append(name)
            return FakeEngine(**shape)

        return build

    made = {"fine in fp32": variant("fine"), "wide in nf4": variant("wide", experts=5)}
    do = handlers(variants=lambda _info: made)
    choice = do.loaded()[-1]
    assert [value for _, value in choice["choices"]] == ["", *made]
    asked = (picture, "caption", None)
    values = [json.loads(out[0]) for out in pair(do, asked, UNTOUCHED, (*UNTOUCHED[:-1], "fine in fp32"))]
    assert any(v.get("verdict") == "B: loading fine in fp32, this takes some seconds …" for v in values)
    assert values[-1]["routing"]["groups"] == list(FakeEngine().info().groups)
    assert len(dict(values[-1]["sides"][1]["facts"])["model"]) > 4
    *_, last = pair(do, asked, (*UNTOUCHED[:-1], "fine in fp32"), (*UNTOUCHED[:-1], "wide in nf4"))
    assert "not of one shape" in json.loads(last[0])["no_routing"]
    assert built == ["fine", "wide"], "the last one loaded is kept"
    list(pair(do, asked, UNTOUCHED, (*UNTOUCHED[:-1], "fine in fp32")))
    assert built == ["fine", "wide", "fine"], "and only the last"


def test_a_side_has_its_own_inputs_or_those_of_the_ask_tab(picture, tmp_path):
    other = tmp_path / "night.png"
    Image.new("RGB", (7, 5), "black").save(other)
    side = Side({"path": str(other)}, "vqa", "What?", "some", "text:1")
    own = side.request(picture, "count", "How many?", INFO)
    assert side.asked(picture, "count", "How many?") == "night.png, Short question: What?"
    assert (own.image.size, own.task, own.question, own.ablation) == ((7, 5), "vqa", "What?", "text:1")
    open_ = Side(None, "", "left over", "all", "text:1").request(picture, "count", "How many?", INFO)
    assert (open_.image.size, open_.task, open_.question, open_.ablation) == (
        (40, 30),
        "count",
        "How many?",
        "",
    )


@pytest.mark.parametrize(
    ("asked", "side", "said"),
    [
        ((None, "caption", None), UNTOUCHED, "Choose or upload a picture first."),
        (("picture", "caption", None), (None, "", None, "some", " ", ""), "Say which experts to take out"),
        (("picture", "caption", None), (None, "", None, "some", "visual:9", ""), "No expert visual:9"),
        (("picture", "caption", None), (None, "vqa", "", "all", None, ""), "needs a question"),
        (("picture", "caption", None), (None, "", None, "nonsense", None, ""), "Say which experts"),
        (
            ("picture", "caption", None),
            (None, "", None, "all", None, "/etc/x"),
            "No model '/etc/x'",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(picture, asked, side, said, capsys):
    asked = (picture if asked[0] else None, *asked[1:])
    *_, last = pair(handlers(), asked, UNTOUCHED, side)
    value = json.loads(last[0])
    assert value["state"] == "error"
    assert said in value["message"]
    assert capsys.readouterr().err == ""
    assert [b["interactive"] for b in last[1:]] == [True, False]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("visul:3", "No expert group 'visul': there are visual, text, multimodal."),
        ("text:8", "No expert text:8: each group has 0 to 7."),
        ("text:1@30", "No experts in layer 30: wrapped layers are 0-29."),
        ("text:1/q_poj", "No projection 'q_poj'"),
        ("text", "Cannot read 'text'"),
    ],
)
def test_a_slip_in_b_is_told_before_a_runs(picture, spec, said):
    engine = FakeEngine()
    *_, last = pair(
        handlers(engine), (picture, "caption", None), UNTOUCHED, (None, "", None, "some", spec, "")
    )
    assert said in json.loads(last[0])["message"]
    assert engine.most_running == 0


@pytest.mark.parametrize("state", ["none", "lora"])
def test_without_a_mixture_b_is_as_a_and_nothing_runs_for_nothing(picture, state):
    engine = FakeEngine(groups=(), state=state, layers=0, experts=0)
    do = handlers(engine)
    first = do.loaded()[3]
    assert first["value"] == "all"
    *_, last = pair(do, (picture, "caption", None), UNTOUCHED, BACKBONE)
    assert "none can be taken out" in json.loads(last[0])["message"]
    assert engine.most_running == 0
    *_, last = pair(do, (picture, "caption", None), UNTOUCHED, (None, "", None, first["value"], None, ""))
    assert json.loads(last[0])["state"] == "done"


def test_b_is_the_plain_backbone_again_when_a_mixture_comes_back():
    do = handlers()
    assert all(skipped(update) for update in do.loaded()[3:5]), "what was chosen while it loaded stays"
    assert do.handle.switch(lambda _report: FakeEngine(groups=(), state="none", layers=0, experts=0)) == ""
    assert [update.get("value", update.get("visible")) for update in do.loaded()[3:5]] == ["all", False]
    assert do.handle.switch(lambda _report: FakeEngine()) == ""
    assert [update.get("value", update.get("visible")) for update in do.loaded()[3:5]] == ["none", False]


@pytest.mark.parametrize(("steps", "side"), [(3, "A"), (16, "B")])
def test_stop_ends_either_side_between_two_tokens(picture, steps, side):
    engine = FakeEngine()
    do = handlers(engine)
    run = pair(do, (picture, "caption", None), UNTOUCHED, BACKBONE)
    for _ in range(steps):
        next(run)
    do.stop(VISITOR)
    (last,) = run
    said = json.loads(last[0])
    assert (said["state"], said["message"]) == ("stopped", f"Stopped while {side} was answering.")
    assert engine.running == 0
    assert engine.closed_early == 1


def test_a_second_run_of_the_same_visitor_is_told_to_wait(picture):
    do, elsewhere = handlers(), handlers()
    elsewhere.stops = do.stops
    run = pair(do, (picture, "caption", None), UNTOUCHED, BACKBONE)
    next(run)
    message, *rest = elsewhere.begin(VISITOR)
    assert "Another run of yours" in json.loads(message)["aside"]
    assert all(skipped(v) for v in rest)
    list(run)


def test_without_experts_only_answers_are_compared(picture):
    engine = FakeEngine(groups=(), state="none", layers=0, experts=0)
    *_, last = pair(handlers(engine), (picture, "caption", None), UNTOUCHED, UNTOUCHED)
    value = json.loads(last[0])
    assert value["verdict"] == "Both runs give the same answer."
    assert value["routing"] is None
    assert "no routing" in loaded_note(engine.info())["text"]
    assert "Another checkpoint or precision loads" in loaded_note(FakeEngine().info())["text"]


def test_a_finished_comparison_is_plain_json():
    image = Image.new("RGB", (8, 8))
    answers = [
        list(FakeEngine().answer(Request(image, "caption", ablation=spec)))[-1] for spec in ("", "text:1")
    ]
    json.dumps(contrast_value(*answers, ("a", "b")), allow_nan=False)
