"""A visitor's runs on an engine without a model: announced, queued, stopped, refused, pressed twice."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from fake_engine import FakeEngine
from ui_calls import VISITOR, ablation_handlers, ask, handlers, picture, skipped  # noqa: F401  picture is a fixture

from smola_demo.ui.stops import StopFlags


def test_stop_ends_between_two_tokens_and_closes_the_engine(picture):
    engine = FakeEngine()
    do = handlers(engine)
    run = ask(do, picture, "caption", None)
    next(run)
    next(run)
    assert engine.running == 1
    do.stop(VISITOR)
    rest = list(run)
    assert len(rest) == 1
    value = json.loads(rest[0][0])
    assert value["state"] == "stopped"
    assert "Stopped after 3 tokens" in value["message"]
    assert (engine.running, engine.closed_early) == (0, 1)


def test_stop_before_the_queue_lets_go_starts_nothing(picture):
    engine = FakeEngine()
    do = handlers(engine)
    first, *_ = do.begin(VISITOR)
    said, *buttons = do.stop(VISITOR)
    assert json.loads(said)["message"] == "Stopped."
    assert [b["interactive"] for b in buttons] == [True, False]
    second, *_ = do.begin(VISITOR)
    (stale,) = do.ask(picture, "caption", None, first, VISITOR)
    assert all(skipped(v) for v in stale)
    assert engine.most_running == 0
    *_, last = do.ask(picture, "caption", None, second, VISITOR)
    assert json.loads(last[0])["state"] == "done"


def test_stop_leaves_what_a_running_run_shows_to_the_run(picture):
    """The button says in the browser that it stops; nothing takes that back before the end."""
    do = handlers()
    run = ask(do, picture, "caption", None)
    next(run)
    assert all(skipped(v) for v in next(run)[3:])
    assert all(skipped(v) for v in do.stop(VISITOR))
    (last,) = run
    assert [(b["value"], b["interactive"]) for b in last[4:]] == [("Stop", False)]
    over, *buttons = do.stop(VISITOR)  # pressed as the run ended
    assert skipped(over)
    assert [b["interactive"] for b in buttons] == [True, False]


def test_a_refused_press_never_takes_a_later_run(picture):
    """Ask runs, Ablate is pressed and refused; its turn comes when the visitor asks again."""
    do, engine = handlers(), FakeEngine()
    other = ablation_handlers(engine, do.stops)
    run = ask(do, picture, "caption", None)
    next(run)
    refused, *rest = other.begin(VISITOR)
    assert json.loads(refused).keys() == {"aside", "ticket", "press"}, "nothing that a view would draw"
    assert all(skipped(v) for v in [*rest, *other.refused(refused, VISITOR)])
    assert other.begin(VISITOR)[0] != refused, "a second press is told so too"
    list(run)
    again, *_ = do.begin(VISITOR)
    (nothing,) = other.ablate(picture, "caption", None, "visual:1", refused, VISITOR)
    assert all(skipped(v) for v in nothing)
    assert engine.most_running == 0
    *_, last = do.ask(picture, "caption", None, again, VISITOR)
    assert json.loads(last[0])["state"] == "done"


def test_a_refused_press_that_finds_the_queue_full_leaves_the_run(picture):
    do = handlers()
    run = ask(do, picture, "caption", None)
    shown, *_ = next(run)
    assert all(skipped(v) for v in do.refused(shown, VISITOR))
    *_, last = run
    assert json.loads(last[0])["state"] == "done"


def test_a_press_during_a_run_never_takes_a_later_one(picture):
    """Enter pressed twice stands in the queue behind another visitor's run, until the visitor asks again."""
    do = handlers()
    run = ask(do, picture, "caption", None)
    during, *_ = next(run)
    assert all(skipped(v) for v in do.begin(VISITOR))
    *_, (after, *_) = run
    again, *_ = do.begin(VISITOR)
    for stale in (during, after):
        (nothing,) = do.ask(picture, "caption", None, stale, VISITOR)
        assert all(skipped(v) for v in nothing)
    *_, last = do.ask(picture, "caption", None, again, VISITOR)
    assert json.loads(last[0])["state"] == "done"


def test_a_lost_ticket_and_a_full_queue_leave_nothing_behind():
    do = handlers()
    do.begin(VISITOR)
    value, *_ = do.refused("{}", VISITOR)
    assert "try again" in json.loads(value)["message"]
    assert do.stops.owner(VISITOR.session_hash) is None


@pytest.mark.parametrize("odd", [None, "", "[]", "x", "[" * 100_000, '{"state": "idle"}', 7])
def test_a_ticket_that_the_page_lost_runs_its_owners_run(picture, odd):
    """A look at the model may answer late and write over the view that holds the ticket, and the buttons."""
    do = handlers()
    do.begin(VISITOR)
    (nothing,) = ablation_handlers(stops=do.stops).ablate(picture, "caption", None, "visual:1", odd, VISITOR)
    assert all(skipped(v) for v in nothing)
    first, *_, last = do.ask(picture, "caption", None, odd, VISITOR)
    assert [button["interactive"] for button in first[-2:]] == [False, True]
    assert json.loads(last[0])["state"] == "done"


@pytest.mark.parametrize("odd", ['{"ticket": {}}', '{"ticket": 99}', '{"ticket": 0}'])
def test_with_another_ticket_nothing_runs(picture, odd):
    do = handlers()
    do.begin(VISITOR)
    (nothing,) = do.ask(picture, "caption", None, odd, VISITOR)
    assert all(skipped(v) for v in nothing)
    assert do.stops.flag(VISITOR.session_hash) is not None


def test_stop_is_for_one_visitor_only(picture):
    do = handlers()
    do.stop(SimpleNamespace(session_hash="somebody else"))
    *_, last = ask(do, picture, "caption", None)
    assert json.loads(last[0])["state"] == "done"


def test_closing_the_page_closes_the_engine(picture):
    engine = FakeEngine()
    run = ask(handlers(engine), picture, "caption", None)
    next(run)
    run.close()
    assert (engine.running, engine.closed_early) == (0, 1)


def test_leaving_forgets_the_flag_and_ends_the_run():
    flags = StopFlags()
    assert flags.begin("a")
    flag = flags.flag("a")
    flags.end("a")
    assert flag.is_set()
    assert flags.flag("a") is None


def test_pressing_enter_twice_asks_once(picture):
    engine = FakeEngine()
    do = handlers(engine)
    run = ask(do, picture, "caption", None)
    next(run)
    assert all(skipped(v) for v in do.begin(VISITOR))
    list(run)
    (ignored,) = do.ask(picture, "caption", None, None, VISITOR)
    assert all(skipped(v) for v in ignored)
    assert engine.most_running == 1
    *_, last = ask(do, picture, "caption", None)
    assert json.loads(last[0])["state"] == "done"


def test_a_full_queue_gives_the_buttons_back():
    do = handlers()
    announced, *_ = do.begin(VISITOR)
    value, *rest = do.refused(announced, VISITOR)
    assert "try again" in json.loads(value)["message"]
    assert [b["interactive"] for b in rest] == [True, False]
    assert do.stops.flag(VISITOR.session_hash) is None
