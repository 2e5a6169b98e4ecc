"""The Routing tab on a page of its own, some runs to show there, and their numbers by numpy alone."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import gradio as gr
import numpy as np
import pytest
from browsing import SCREENS, WAIT, free_port
from fake_engine import FakeEngine
from PIL import Image

from smola_demo import ui
from smola_demo.results import Answer, Request
from smola_demo.runs import run_record, unpack
from smola_demo.ui.explorer_tab import ExplorerTab
from smola_demo.ui.view import encode, serve_files

NAMES = ("words", "overlay", "served", "map", "tokens", "groups", "entropy", "anatomy")
PLOTS = ("served", "map", "tokens", "groups", "entropy", "anatomy")


def made(question="what?", colour="teal", **fake):
    engine = FakeEngine(layers=5, experts=4, **fake)
    image = Image.new("RGB", (300, 200), colour)
    *_, answer = engine.answer(Request(image, "vqa", question))
    assert isinstance(answer, Answer)
    return run_record(answer, engine.info(), image, "2026-01-02T03:04:05")


class Numbers:
    """The record's routing by numpy alone. Axes: G groups, L layers, P projections, T tokens, E experts."""

    def __init__(self, record):
        routing = record["routing"]
        self.groups, self.tokens = routing["groups"], routing["tokens"]
        for name in ("weight", "contribution", "alignment", "base_norm", "random_entropy"):
            setattr(self, name, unpack(routing[name]).astype(float))
        visual, answer = np.array(routing["modality"]) == 1, np.array(routing["phase"]) == 1
        self.visual, self.answer = visual, answer
        kinds = {"visual": visual, "text": ~visual, "multimodal": np.ones_like(visual)}
        self.serves = np.stack([kinds[g] for g in self.groups])  # (G, T)
        total = self.contribution.sum((0, 4), keepdims=True)
        share = np.divide(self.contribution, total, out=np.zeros_like(self.contribution), where=total > 0)
        self.missing = np.isnan(self.base_norm).any(-1)  # (L, P)
        gaps = self.missing[None, :, :, None, None]
        # (G, L, T, E), mean over the projections that are there
        self.mean = {
            "weight": np.nanmean(np.where(gaps, np.nan, self.weight), 2),
            "share": np.nanmean(np.where(gaps, np.nan, share), 2),
        }
        logs = np.log(np.where(self.weight > 0, self.weight, 1))
        entropy = -np.where(gaps[..., 0], np.nan, (self.weight * logs).sum(-1))
        self.entropy = np.nanmean(entropy, 2)  # (G, L, T)
        experts = self.weight.shape[-1]
        self.even = {
            "weight": np.full(len(self.tokens), 1 / experts),
            "share": 1 / (experts * self.serves.sum(0)),
        }

    def rows(self, group, phase):
        """Rows of a group in a phase, in the other phase if it has none there."""
        for kept in (self.answer == (phase == "answer"), self.answer, ~self.answer):
            found = np.flatnonzero(self.serves[group] & kept)
            if len(found):
                return found
        raise AssertionError("a group without tokens")


class Explorer:
    """The tab on a page of its own, whose button puts the next of some records in."""

    def __init__(self, page, url):
        self.page, self.errors = page, []
        page.set_default_timeout(WAIT)
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.goto(url)
        page.wait_for_selector("#explorer .explorer", state="attached")

    def show(self, runs=2):
        self.page.click("#next")
        self.page.wait_for_selector(f"#explorer .explorer[data-runs='{runs}']")
        return self

    def drawn(self, name):
        """Scroll to a picture and wait until it shows the present choice."""
        self.page.locator(f"#explorer-{name}").scroll_into_view_if_needed()
        self.page.wait_for_selector(f"#explorer-{name}[data-current=yes]")
        return self.page.locator(f"#explorer-{name}")

    def data(self, name):
        self.drawn(name)
        told = self.page.evaluate(
            f"JSON.stringify(document.querySelector('#explorer-{name} .figure-plot').data.map("
            "({x, y, z, name, customdata, colorbar}) => ({x, y, z, name, customdata, colorbar})))"
        )
        return json.loads(told)

    def switch(self, **wanted):
        for name, value in wanted.items():
            self.page.locator(f"input[name=explorer-{name}][value={value}]").check(force=True)

    def layer(self, index):
        self.page.locator(".pick-layer").fill(str(index))

    def click_point(self, name, curve, x, y):
        """Press where a point of a plot stands."""
        for each in (*NAMES, name):  # one drawn later would move it
            self.drawn(each)
        at = self.page.evaluate(
            """([name, curve, x, y]) => {
              const plot = document.querySelector(`#explorer-${name} .figure-plot`);
              plot.scrollIntoView({block: "center"});
              const trace = plot._fullData[curve], box = plot.getBoundingClientRect();
              const axis = (id) => plot._fullLayout[id[0] + "axis" + id.slice(1)];
              const [h, v] = [axis(trace.xaxis), axis(trace.yaxis)];
              return [box.left + h._offset + h.d2p(x), box.top + v._offset + v.d2p(y)];
            }""",
            [name, curve, x, y],
        )
        self.page.mouse.click(*at)

    @property
    def chosen(self):
        return self.page.inner_text(".explorer-choice")


RECORDS = {"trained": made(), "again": made("and now?", "maroon"), "untrained": made(state="untrained"),
           "none": made(groups=(), state="none"), "lora": made(groups=(), state="lora")}  # fmt: skip


@contextlib.contextmanager
def exploring(records):
    serve_files([])
    shown = Counter()  # of each open page

    def following(request: gr.Request):
        shown[request.session_hash] += 1
        return encode(records[shown[request.session_hash] - 1])

    with gr.Blocks(fill_width=True) as page:
        tab = ExplorerTab()
        tab.layout()
        gr.Button("next", elem_id="next").click(following, None, tab.view)
    number = free_port()
    kwargs = ui.launch_kwargs()
    page.launch(server_name="127.0.0.1", server_port=number, prevent_thread_lock=True, quiet=True, **kwargs)
    yield f"http://127.0.0.1:{number}/"
    page.close()


def close(drawn, expected):
    """Equal to what half precision leaves, gaps (None) being gaps on both sides."""
    found = np.array(drawn, dtype=float)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6)


@pytest.fixture(scope="module")
def url():
    with exploring([RECORDS["trained"], RECORDS["again"]]) as address:
        yield address


@pytest.fixture
def explorer(browser, url, request):
    context = browser.new_context(**SCREENS[getattr(request, "param", "wide")])
    with contextlib.ExitStack() as stack:
        stack.callback(context.close)
        page = context.new_page()
        found = Explorer(page, url)
        yield found


@pytest.fixture(scope="module")
def numbers():
    return Numbers(RECORDS["trained"])
