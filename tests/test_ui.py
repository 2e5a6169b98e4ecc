"""Asking, on an engine without a model, and the engine while it loads."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from fake_engine import FakeEngine
from ui_calls import VISITOR, ask, handlers, picture, skipped  # noqa: F401  picture is a fixture

from smola_demo.results import Request
from smola_demo.tasks import TaskError
from smola_demo.ui import answer
from smola_demo.ui.asked import asked_of
from smola_demo.ui.examples import uploaded
from smola_demo.ui.loading import EngineHandle, sentence


def test_ask_streams_text_then_figures(picture):
    do = handlers()
    values = [json.loads(out[0]) for out in ask(do, picture, "caption", None)]
    assert [v["state"] for v in values[:-1]] == ["writing"] * (len(values) - 1)
    lengths = [len(v["text"]) for v in values]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 5
    last = values[-1]
    assert last["state"] == "done"
    labels = dict(last["run"])
    assert set(labels) >= {"time", "speed", "tokens", "confidence", "memory after answer"}
    engine = dict(last["engine"])
    assert engine["precision"] == "NF4 weights, computed in fp32"
    assert "4,000 steps" in engine["experts"]
    assert "often wrong" in last["notice"]


def test_an_answer_says_what_it_was_asked_from_its_first_word_on(picture):
    values = [json.loads(out[0]) for out in ask(handlers(), picture, "vqa", " What colour? ")]
    assert {dict(v["run"])["asked"] for v in values} == {"beach.png, Short question: What colour?"}
    assert values[-1]["state"] == "done"


@pytest.mark.parametrize(
    ("picture", "task", "question", "said"),
    [
        ({"path": "/tmp/x/1.png", "orig_name": "stars.png"}, "count", "Two?", "stars.png, Count: Two?"),
        ({"path": "/tmp/x/1.png"}, "caption", "left over", "1.png, Caption"),
        ("/tmp/x/cat.jpg", "read", None, "cat.jpg, Read text"),
        ({"url": "data:image/png;base64,AA"}, "ask", " ", "picture, Ask freely"),
        (None, "nonsense", "Why?", "picture, nonsense: Why?"),
    ],
)  # fmt: skip
def test_what_was_asked_in_one_line(picture, task, question, said):
    assert asked_of(picture, task, question) == said


def test_buttons_come_back(picture):
    do = handlers()
    *_, last = ask(do, picture, "caption", None)
    assert [b["interactive"] for b in last[3:]] == [True, False]
    first = do.begin(VISITOR)
    assert [b["interactive"] for b in first[1:]] == [False, True]
    without = handlers(FakeEngine(state="none", groups=()))
    assert [b["interactive"] for b in without.buttons()] == [True, False]


def test_confidence_is_the_mean_token_probability(picture):
    request = Request(uploaded(picture), "caption")
    *_, found = FakeEngine().answer(request)
    expected = sum(float(np.exp(t.logprob)) for t in found.tokens) / len(found.tokens)
    assert answer.confidence(found.tokens) == f"{100 * expected:.0f} %"
    assert answer.confidence([]) == "–"


def test_map_comes_at_most_eight_times_a_second_and_at_the_end(picture):
    request = Request(uploaded(picture), "caption")
    ticks = iter(np.arange(0, 100, 0.05))
    engine = FakeEngine()
    pairs = list(
        answer.stream_answer(
            engine.answer(request),
            engine.info(),
            threading.Event(),
            request.image,
            clock=lambda: next(ticks),
        )
    )
    drawn = [i for i, (_, routing, _) in enumerate(pairs) if routing is not None]
    assert drawn[0] == 0
    assert drawn[-1] == len(pairs) - 1
    gaps = np.diff(drawn[:-1]) * 0.05
    assert (gaps >= 0.12).all()
    assert len(pairs) > len(drawn) > 3
    runs = [run for _, _, run in pairs]
    assert not any(runs[:-1])
    assert runs[-1]["answer"]["text"] == pairs[-1][0]["text"]


def test_map_of_a_run_has_prompt_and_answer(picture):
    do = handlers()
    maps = [json.loads(out[1]) for out in ask(do, picture, "caption", None) if not skipped(out[1])]
    assert set(maps[0]["frames"]) == {"prompt"}
    last = maps[-1]["frames"]
    assert last["prompt"]["served"] == [True, True, True]
    assert last["answer"]["served"] == [False, True, True]


@pytest.mark.parametrize(
    ("payload", "task", "question", "said"),
    [
        (None, "caption", None, "Choose or upload a picture first."),
        ("picture", "vqa", "  ", "needs a question"),
        ("picture", "count", "x" * 501, "501 characters"),
        ("picture", "nonsense", None, "There is no task 'nonsense'"),
    ],
)
def test_bad_input_is_one_sentence_on_the_page(picture, payload, task, question, said, capsys):
    outs = list(ask(handlers(), picture if payload else None, task, question))
    assert len(outs) == 1
    value = json.loads(outs[0][0])
    assert value["state"] == "error"
    assert said in value["message"]
    assert outs[0][3]["interactive"] is True
    assert capsys.readouterr().err == ""


def test_a_bug_shows_no_details_and_is_logged(picture, capsys):
    *_, last = ask(handlers(FakeEngine(fail=True)), picture, "caption", None)
    value = json.loads(last[0])
    assert value["message"] == "Something went wrong on the server; its log says what."
    assert "secret" not in last[0]
    assert "RuntimeError: a bug" in capsys.readouterr().err
    assert last[3]["interactive"] is True


def test_a_kept_run_is_called_as_the_picture_that_was_asked_about(picture):
    *_, last = ask(handlers(), picture, "caption", None)
    assert json.loads(last[0])["picture"] == "beach.png"


def test_handle_tells_progress_then_readiness():
    gate, reported = threading.Event(), threading.Event()

    def build(report):
        report(40_000_000, 116_000_000, "language model")
        reported.set()
        gate.wait(20)
        return FakeEngine()

    handle = EngineHandle(build).start()
    assert reported.wait(20)
    assert handle.loading
    assert "fetching the language model, 40 of 116 MB" in handle.status
    with pytest.raises(ValueError, match="still loading"):
        handle.require()
    gate.set()
    assert handle.ready.wait(20)
    assert handle.status == ""
    assert handle.engine.info() == handle.info


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ValueError("no experts at /x: name a folder"),
            "The model could not be loaded: No experts at /x: name a folder.",
        ),
        (
            RuntimeError("CUDA exploded"),
            "The model could not be loaded: Something went wrong on the server; its log says what.",
        ),
    ],
)
def test_a_failed_load_is_one_sentence(error, said, picture, capsys):
    def build(_report):
        raise error

    handle = EngineHandle(build)
    handle.load()
    assert handle.status == said
    assert ("CUDA exploded" in capsys.readouterr().err) == isinstance(error, RuntimeError)
    (out,) = ask(handlers(handle=handle), picture, "caption", None)
    assert json.loads(out[0])["message"] == said
    assert out[3]["interactive"] is False


def test_asking_while_loading_is_told_so(picture):
    handle = EngineHandle(lambda _report: FakeEngine())
    (out,) = ask(handlers(handle=handle), picture, "caption", None)
    assert "still loading" in json.loads(out[0])["message"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("untrained", "UNTRAINED"),
        ("none", "none: the plain backbone answers"),
        ("trained", "trained for 4,000 steps"),
    ],
)
def test_training_state_is_always_on_screen(state, said):
    groups = () if state == "none" else ("visual", "text", "multimodal")
    info = FakeEngine(state=state, groups=groups).info()
    value = answer.answer_value(info)
    assert said in dict(value["engine"])["experts"]
    if state != "trained":
        assert state in value["notice"] or "No experts" in value["notice"]


def test_without_experts_the_map_says_so(picture):
    do = handlers(FakeEngine(state="none", groups=(), experts=0, layers=0))
    assert "No mixture of experts is loaded" in json.loads(do.loaded()[1])["notice"]
    *_, last = ask(do, picture, "caption", None)
    assert json.loads(last[0])["state"] == "done"


def test_sentences():
    assert sentence(TaskError("pick one")) == "Pick one."
    assert sentence(ValueError("two\nlines!")) == "Two lines!"
    assert "log" in sentence(KeyError("x"))
    assert "log" in sentence(ValueError(""))
