"""A page's looks at the model: what another one takes away, and however many pages are open."""

from __future__ import annotations

import gc
import json

import gradio as gr
import pytest
from asking import Visitor
from browsing import serving
from fake_models import BIG, FakeModels, engine
from ui_calls import VISITOR, skipped

from smola_demo import ui
from smola_demo.ui import theme
from smola_demo.ui.loading import EngineHandle


@pytest.fixture
def handle():
    found = EngineHandle(lambda _report: engine(), models=FakeModels)
    found.load()
    return found


@pytest.fixture
def page(handle, tmp_path):
    found = ui.build(handle, assets=tmp_path / "assets")
    yield found
    found.close()
    gc.collect()


# The places of what a look at the model gives back: the answer, and the results on the other tabs.
ANSWER, RESULTS = 2, slice(-4, None)


def look(page, *shown, known=1):
    """What the page's look at the model makes of the answer, the run and three results."""
    tick = next(fn.fn for fn in page.fns.values() if fn.name == "tick")
    noted = json.dumps({"loads": known})
    outputs = tick(*(json.dumps(value) for value in shown), "", noted, VISITOR)
    return [outputs[ANSWER], *outputs[RESULTS]]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_fresh_answer_stays_when_the_page_sees_the_new_model(page, handle):
    assert handle.switch(lambda _report: engine(BIG)) == ""
    old, new = {"state": "done", "loads": 1}, {"state": "done", "loads": 2}
    answer, run, comparison, ranking, contrast = look(page, new, old, new, old)
    assert [skipped(v) for v in (answer, run, ranking)] == [True] * 3
    assert [json.loads(v)["state"] for v in (comparison, contrast)] == ["idle"] * 2
    answer, run, *_ = look(page, old, old, old, old)
    assert (json.loads(answer)["state"], json.loads(run)) == ("idle", {})
    answer, run, *_ = look(page, {"state": "error", "loads": 2}, old, old, old)
    assert (skipped(answer), json.loads(run)) == (True, {})


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_look_changes_nothing_while_a_run_goes_on(page, handle):
    assert handle.switch(lambda _report: engine(BIG)) == ""
    functions = {fn.api_name: fn.fn for fn in page.fns.values()}
    functions["begin"](VISITOR)
    waiting = {"state": "waiting", "loads": 2}
    assert all(skipped(v) for v in look(page, waiting, {}, {}, {}))
    functions["stop"](VISITOR)
    assert not all(skipped(v) for v in look(page, waiting, {}, {}, {}))


@pytest.mark.parametrize("noted", ["{}", '{"loads": "1"}', '{"loads": NaN}', "[", None])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_page_that_says_nothing_readable_is_told_all(page, noted):
    tick = next(fn.fn for fn in page.fns.values() if fn.name == "tick")
    told, *_ = tick("{}", "{}", "{}", "{}", "", noted, VISITOR)
    assert json.loads(told)["loads"] == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_page_keeps_nothing_on_the_server_that_gradio_may_forget(page):
    assert not [block for block in page.blocks.values() if isinstance(block, gr.State)]


@pytest.mark.filterwarnings("default")
def test_more_open_pages_than_gradio_keeps_reset_no_choice(handle, tmp_path, monkeypatch):
    monkeypatch.setattr(theme, "MOST_SESSIONS", 2)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with serving(handle, tmp_path / "assets") as address:
        pages = [Visitor(address, f"page {i}") for i in range(5)]
        lines = ["{}"] * len(pages)
        for again in (False, True):
            for i, one in enumerate(pages):
                data = one.at_once("tick", "{}", "{}", "{}", "{}", "", lines[i]).json()["data"]
                lines[i] = data[0]
                assert ("choices" in json.dumps(data)) != again
        for one in pages:
            one.http.close()
