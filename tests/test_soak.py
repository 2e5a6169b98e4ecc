"""Several visitors at once on an engine without a model: every answer is the one given alone."""

from __future__ import annotations

import io
import json
import threading

import pytest
from asking import Visitor
from browsing import serving
from fake_engine import FakeEngine
from gradio.state_holder import StateHolder
from PIL import Image
from soak import ask, slope, soak

from smola_demo.ui import theme
from smola_demo.ui.loading import EngineHandle

pytestmark = pytest.mark.filterwarnings("default")  # the server runs in this process


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 18), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return tmp_path


@pytest.mark.parametrize("queue", [None, 2], ids=["roomy", "narrow"])
def test_eight_at_once_get_what_they_would_get_alone(uploads, queue):
    """In a queue of two most are told that it is full, and told so clearly; nobody gets another's answer."""
    engine = FakeEngine(layers=3, token_s=0.002)
    with serving(EngineHandle.of(engine), uploads / "assets", queue) as address:
        found = soak(address, {"teal.png": png("teal"), "gold.png": png("gold")}, 6)
    assert (found["wrong"], found["errors"]) == ([], {})
    assert found["different_answers"] == 10
    calls = found["calls"]
    assert calls["complete"] >= 5, "a slow machine came to ten"
    assert engine.most_running == 1
    assert set(calls) <= {"complete", "refused", "busy", "left", "stopped", "busy, though bad"}
    assert bool(calls.get("busy")) == (queue is not None)


def test_calls_leave_no_session_behind(uploads, monkeypatch):
    """Every call of an endpoint is a session of its own to Gradio, which keeps them: only so many."""
    monkeypatch.setattr(theme, "MOST_SESSIONS", 5)
    kept = []
    state_of = StateHolder.__getitem__

    def counted(self, session):
        found = state_of(self, session)
        kept.append(len(self.session_data))
        return found

    monkeypatch.setattr(StateHolder, "__getitem__", counted)
    with serving(EngineHandle.of(FakeEngine(layers=2)), uploads / "assets") as address:
        visitor = Visitor(address)
        (path,) = visitor.upload("a.png", png("teal")).json()
        assert {ask(visitor.http, path, ("caption", "", ""))[0] for _ in range(12)} == {"complete"}
    assert len(kept) >= 12
    assert max(kept) <= 6


def test_who_waits_is_told_how_many_are_before(uploads):
    engine = FakeEngine(layers=2, token_s=0.05)
    with serving(EngineHandle.of(engine), uploads / "assets") as address:
        first, second = Visitor(address, "first"), Visitor(address, "second")
        (path,) = first.upload("a.png", png("teal")).json()
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        announced = [one.announce() for one in (first, second)]
        said = [json.loads(value)["hint"] for value in announced]
        assert said == ["Waiting for the model …", "Waiting for the model, 1 before you …"]
        for one, value in zip((first, second), announced, strict=True):
            one.join("ask_1", picture, "caption", "", value)
        running = threading.Thread(target=first.events)
        running.start()
        ranks = [event["rank"] for event in second.events() if event["msg"] == "estimation"]
        running.join()
        assert max(ranks) <= 1
        for one in (first, second):
            one.http.close()


def test_growth_is_fitted_after_the_warm_up():
    memory = [(t, 500.0 + min(t, 40) * 5 + t / 36) for t in range(0, 121, 2)]
    assert slope(memory)["growth_per_hour"] == pytest.approx(100, abs=0.5)
