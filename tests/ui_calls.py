"""The page's handlers, called as plain functions the way the page calls them."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest
from fake_engine import FakeEngine
from PIL import Image

from smola_demo.ui.ablate_handlers import AblateHandlers
from smola_demo.ui.ask_handlers import AskHandlers
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.rank_handlers import RankHandlers
from smola_demo.ui.stops import StopFlags

VISITOR = SimpleNamespace(session_hash="visitor")


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # where Gradio puts uploads
    path = tmp_path / "beach.png"
    Image.new("RGB", (40, 30), "#9cc7e8").save(path)
    return {"path": str(path), "url": None, "orig_name": "beach.png"}


def handlers(engine=None, handle=None, examples=()):
    handle = handle or EngineHandle.of(engine or FakeEngine())
    return AskHandlers(handle, StopFlags(), list(examples), lambda run: run)


def ablation_handlers(engine=None, stops=None):
    return AblateHandlers(EngineHandle.of(engine or FakeEngine()), stops or StopFlags(), lambda run: run)


def rank_handlers(engine=None, stops=None):
    return RankHandlers(ablation_handlers(engine, stops), lambda run: run)


def ask(do, *inputs):
    return do.ask(*inputs, do.begin(VISITOR)[0], VISITOR)


def ablate(do, *inputs):
    return do.ablate(*inputs, do.begin(VISITOR)[0], VISITOR)


def rank(do, *inputs):
    return do.rank(*inputs, do.begin(VISITOR)[0], VISITOR)


def event(**data):
    return gr.EventData(target=None, _data=data)


def skipped(value):
    return value == gr.skip()
