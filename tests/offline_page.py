"""The two tabs of offline results on a page of their own, with the parts of the Ablate tab they reach for."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import gradio as gr
from browsing import WAIT, free_port

from smola_demo import ui
from smola_demo.ui.ablate_handlers import AblateHandlers
from smola_demo.ui.atlas_tab import AtlasTab
from smola_demo.ui.picker import picker_value
from smola_demo.ui.stops import StopFlags
from smola_demo.ui.truth_tab import TruthTab
from smola_demo.ui.view import serve_files, view


@contextlib.contextmanager
def offline_page(handle):
    """Serve it; yields its address. The engine is told to be there by the button #there."""
    serve_files([])
    with gr.Blocks(fill_width=True) as page:
        atlas, truth = AtlasTab(handle), TruthTab(handle)
        there = gr.Button("there", elem_id="there")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Ablate", id="ablate", elem_id="tab-ablate", render_children=True):
                spec = gr.Textbox(label="Spec", elem_id="spec")
                picker = view("picker", picker_value(handle.info, ""), label="Experts", elem_id="picker")
            with gr.Tab("Atlas", id="atlas", elem_id="tab-atlas", render_children=True):
                atlas.layout()
            with gr.Tab("Is it true?", id="truth", elem_id="tab-truth", render_children=True):
                truth.layout()
        do = AblateHandlers(handle, StopFlags(), lambda run: run)
        atlas.wire(SimpleNamespace(spec=spec, picker=picker, handlers=do), tabs)
        truth.wire()
        there.click(lambda: (*atlas.loaded(), *truth.loaded()), None, [atlas.view, truth.view], queue=False)
    number = free_port()
    kwargs = ui.launch_kwargs()
    page.launch(server_name="127.0.0.1", server_port=number, prevent_thread_lock=True, quiet=True, **kwargs)
    try:
        yield f"http://127.0.0.1:{number}/"
    finally:
        page.close()


class Tab:
    """One of the two tabs, opened on a fresh page."""

    def __init__(self, page, url):
        self.page, self.errors, self.asked = page, [], []
        page.set_default_timeout(WAIT)
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on(
            "request", lambda r: self.asked.append(r.url) if "/run/" in r.url or "/join" in r.url else None
        )
        page.goto(url)
        page.wait_for_selector("#there")

    def open(self, name, state="shown", *, told=True):
        self.name = name
        if told:
            self.page.click("#there")
        self.choose({"atlas": "Atlas", "truth": "Is it true?"}[name])
        self.page.wait_for_selector(f"#{name} [data-state={state}]")
        return self

    def choose(self, title):
        self.page.get_by_role("tab", name=title).first.click()

    def data(self, name):
        """A drawing's traces, once it shows the present choice."""
        self.page.locator(f"#explorer-{name}").scroll_into_view_if_needed()
        self.page.wait_for_selector(f"#explorer-{name}[data-current=yes]")
        told = self.page.evaluate(
            f"JSON.stringify(document.querySelector('#explorer-{name} .figure-plot').data.map("
            "({x, y, z, name, text, error_x}) => ({x, y, z, name, text, error_x})))"
        )
        return json.loads(told)

    def order(self):
        return self.page.eval_on_selector_all(".atlas-card", "(all) => all.map((c) => c.dataset.expert)")

    def fits(self):
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
