"""The Model tab: what is loaded, what else there is, and whether it fits. Layout and wiring only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.ui.models import precision_choices
from smola_demo.ui.view import view
from smola_demo.ui.wiring import LATEST, MODEL, QUIET

if TYPE_CHECKING:
    from smola_demo.ui.model_handlers import ModelHandlers


class ModelTab:
    """The tab's components. Call `layout` inside its gr.Tab, then `wire`."""

    def __init__(self, handlers: ModelHandlers) -> None:
        self.handlers = handlers

    def layout(self) -> None:
        """Place what is loaded, the choice, and the facts of what is chosen."""
        with gr.Column(elem_id="model-panel"):
            gr.HTML(
                "<h2>Backbone and experts</h2><p>One model answers on every tab; only Compare may hold a "
                "second beside it. What you choose is described here before anything is loaded; Load then "
                "lets go of what is there.</p>",
                elem_classes="panel-head",
            )
            self.note = view("note", {}, label="What is loaded", elem_id="model-note")
            with gr.Row():
                self.backbone = gr.Dropdown([], label="Backbone", elem_id="model-backbone", min_width=240)
                self.experts = gr.Dropdown([], label="Experts", elem_id="model-experts", min_width=240)
                self.precision = gr.Dropdown(
                    precision_choices(),
                    value="auto",
                    label="Precision",
                    elem_id="model-precision",
                    min_width=160,
                )
            self.facts = view("model", {"state": "idle"}, label="Before it is loaded", elem_id="model-facts")
            self.load_button = gr.Button("Load", variant="primary", interactive=False, elem_id="load-model")

    def wire(self) -> Any:
        """Connect events to handlers. Returns the event after which another model may be there."""
        do = self.handlers
        chosen = [self.backbone, self.precision]
        shown = [self.facts, self.experts, self.load_button]
        # Another backbone has experts of its own; another precision keeps those that were chosen.
        for part, known in ((self.backbone, chosen), (self.precision, [*chosen, self.experts])):
            part.input(do.choose, known, shown, preprocess=False, queue=False, **LATEST)
        said = [self.note, self.load_button, self.backbone, self.experts, self.precision]
        started = self.load_button.click(do.begin, None, said, queue=False, **QUIET)
        run = started.then(
            do.load,
            [self.backbone, self.experts, self.precision],
            said,
            preprocess=False,
            concurrency_id=MODEL,
            concurrency_limit=1,
            **QUIET,
        )
        run.failure(do.refused, None, said, queue=False, **QUIET)
        return run

    @property
    def waiting(self) -> list[Any]:
        """Components that change when another model is there."""
        return [self.note, self.backbone, self.precision, self.facts, self.experts, self.load_button]
