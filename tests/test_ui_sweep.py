"""Ranking all experts on the page, on an engine without a model."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json

import pytest
from fake_engine import FakeEngine
from PIL import Image
from ui_calls import VISITOR, event, picture, rank, rank_handlers, skipped  # noqa: F401  picture is a fixture

from smola_demo.results import Effect, RandomRemoval, Request, Sweep
from smola_demo.ui import ranking

INFO = FakeEngine().info()


def baseline():
    *_, answer = FakeEngine().answer(Request(Image.new("RGB", (8, 8)), "caption"))
    return answer


def sweep_of(deltas, chance):
    """Effects on the text experts in order, and random removals with these effects."""
    effects = tuple(
        Effect("text", i, "all", f"text:{i}", delta, 0.001, 0.1, 0.05, delta < -1, "other")
        for i, delta in enumerate(deltas)
    )
    return Sweep(baseline(), effects, 1.0, tuple(RandomRemoval("visual:0@1", 30, d) for d in chance), 0)


def test_a_ranking_runs_with_progress_and_ends_sorted(picture):
    outs = list(rank(rank_handlers(), picture, "caption", None, "expert", None))
    values = [json.loads(out[0]) for out in outs]
    assert all(v["state"] == "running" for v in values[:-1])
    done = [v["done"] for v in values[:-1]]
    assert done == sorted(done)
    assert {v["total"] for v in values[:-1]} == {24 + 8}
    last = values[-1]
    assert last["asked"] == "beach.png, Caption"
    deltas = [row["delta"] for row in last["rows"]]
    assert len(deltas) == 24
    assert deltas == sorted(deltas)
    assert len(last["random"]) == 8
    assert last["uniform"]["weight"] == pytest.approx(1 / 8)
    assert last["uniform"]["share"] == {g: pytest.approx(1 / 16) for g in ("visual", "text", "multimodal")}
    for said in ("layers 0 to 29", "random removals of 30 pieces", "seed 0", "nats", "prompt and answer"):
        assert said in last["said"]
    assert [b["interactive"] for b in outs[-1][1:]] == [True, True, False]


@pytest.mark.parametrize(("by", "rows", "first"), [("layer", 30, "layer 0"), ("projection", 3, "q_proj")])
def test_within_one_expert_the_order_stays(picture, by, rows, first):
    *_, last = rank(rank_handlers(), picture, "caption", None, by, "visual:3")
    value = json.loads(last[0])
    assert len(value["rows"]) == rows
    assert value["rows"][0]["name"] == first
    assert "visual:3" in value["said"]


def test_effects_are_held_against_the_random_ones():
    found = sweep_of([-2.0, -0.3, 0.05, 0.7], [-0.4, 0.1, -0.1])
    assert ranking.outside(found) == [True, False, False, True]
    said = ranking.verdict(found, "expert")
    assert said == (
        "2 of 4 experts lie outside the range of 3 random removals of the same size; "
        "about 2 would by luck; "
        "text 0 costs the answer most: 2.000 nats."
    )
    for places, drawn, about in ((24, 8, "about 5"), (30, 8, "about 7"), (4, 8, "less than one")):
        many = sweep_of([-0.1] * places, [0.1] * drawn)
        assert f"8 random removals of the same size; {about} would by luck;" in ranking.verdict(many, "layer")
    assert "no random removals to hold them against" in ranking.verdict(sweep_of([-1.0], []), "expert")
    assert "changes nothing at all" in ranking.verdict(sweep_of([0.0, 0.0], [0.0]), "expert")
    assert "none makes the answer less likely" in ranking.verdict(sweep_of([0.5], [0.1]), "expert")


def test_stopping_a_ranking_closes_it(picture):
    engine = FakeEngine()
    do = rank_handlers(engine)
    run = rank(do, picture, "caption", None, "expert", None)
    for _ in range(30):
        value = json.loads(next(run)[0])
    assert value["verdict"].startswith("Taking experts out")
    do.stop(VISITOR)
    (last,) = run
    assert json.loads(last[0])["state"] == "stopped"
    assert engine.running == 0
    assert do.stops.flag(VISITOR.session_hash) is None


@pytest.mark.parametrize(
    ("payload", "by", "said"),
    [
        (False, "expert", "Choose or upload a picture first."),
        (True, "layer", "A sweep by layer looks into one expert: name it, for example visual:3."),
        (True, "nonsense", "There is no ranking by 'nonsense'."),
    ],
)
def test_what_cannot_be_ranked_is_one_sentence(picture, payload, by, said, capsys):
    (out,) = rank(rank_handlers(), picture if payload else None, "caption", None, by, None)
    told = json.loads(out[0])
    assert (told["state"], told["message"]) == ("error", said)
    assert capsys.readouterr().err == ""


def test_a_chosen_bar_goes_into_the_ablation():
    do = rank_handlers()
    spec, chips, within = do.pick_place(event(group="visual", expert=3, spec="visual:3@12"))
    assert (spec, within) == ("visual:3@12", "visual:3")
    assert json.loads(chips)["picked"]["visual"] == [3]
    for bad in (
        {"group": "audio", "expert": 3, "spec": "audio:3"},
        {"group": "visual", "expert": 9, "spec": "visual:9"},
        {"group": "visual", "expert": 3, "spec": "text:1"},
        {"group": "visual", "expert": 3, "spec": "visual:30"},
        {"group": "visual", "expert": 3},
    ):
        assert all(skipped(v) for v in do.pick_place(event(**bad)))


def test_shares_have_no_even_reference_where_tokens_differ():
    assert ranking.sharers("multimodal", ("visual", "multimodal")) is None  # text tokens have it alone
    assert ranking.sharers("visual", ("visual", "multimodal")) == 2
    assert ranking.sharers("text", ("visual", "text")) == 1
    assert ranking.sharers("multimodal", ("multimodal",)) == 1
