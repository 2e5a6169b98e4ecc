"""First tab: ask about a picture, watch the experts while the answer is written.

Layout and wiring only; what happens is in ask_handlers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.tasks import TASKS
from smola_demo.ui import answer
from smola_demo.ui.asked import TASK_NAMES
from smola_demo.ui.examples import example_picks
from smola_demo.ui.view import view
from smola_demo.ui.wiring import EACH, LATEST, QUIET, connect_run, run_buttons

if TYPE_CHECKING:
    from collections.abc import Callable

    from smola_demo.ui.ask_handlers import AskHandlers


class AskTab:
    """The tab's components. Call `layout` inside gr.Blocks, then `wire`."""

    def __init__(self, handlers: AskHandlers) -> None:
        self.handlers = handlers

    def layout(self, below: Callable[[], None] = lambda: None) -> None:
        """Place two columns that become one on a phone. `below` places what follows the map."""
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=5, min_width=320):
                self._inputs()
                self.answer = view("answer", answer.answer_value(None), label="Answer", elem_id="answer")
            with gr.Column(scale=6, min_width=320):
                self.routing = view("routing", answer.empty_map(None), label="Routing map", elem_id="routing")
                self.take_out = gr.Button("Take it out", visible=False, elem_id="take-out")
                self.cell = gr.Textbox(visible="hidden", label="Cell of the map", elem_id="cell")
                below()

    def _inputs(self) -> None:
        self.gallery = view(
            "picks", example_picks(self.handlers.examples), label="Examples", elem_id="examples"
        )
        self.image = gr.Image(
            type="filepath",
            image_mode=None,
            sources=["upload", "webcam", "clipboard"],
            label="Picture",
            alt_text="The picture you ask about",
            height=280,
            buttons=["fullscreen"],
            elem_id="picture",
        )
        self.picture_note = view("note", {}, label="About the picture", elem_id="picture-note")
        self.task = gr.Radio(
            [(label, name) for name, label in TASK_NAMES.items()],
            value="caption",
            label="Task",
            info=TASKS["caption"].description,
            elem_id="task",
        )
        self.question = gr.Textbox(
            label="Question", lines=1, max_lines=1, visible=False, max_length=500, elem_id="question"
        )
        self.suggestions = view(
            "picks", answer.suggestion_picks("caption"), label="Suggestions", elem_id="suggestions"
        )
        self.ask_button, self.stop_button = run_buttons("Ask", "ask")

    def wire(self, explorer: gr.HTML) -> None:
        """Connect events to handlers; `explorer` is the view that takes a finished run."""
        do = self.handlers
        asked = [self.image, self.task, self.question]
        self.asked = connect_run(
            [self.ask_button.click, self.question.submit],
            do,
            do.ask,
            asked,
            [self.answer, self.routing, explorer],
            [self.ask_button, self.stop_button],
        )
        checked = [self.image, self.picture_note]
        self.image.input(do.check_picture, self.image, checked, preprocess=False, queue=False, **QUIET)
        shown = [self.task, self.question, self.suggestions]
        self.task.input(do.choose_task, self.task, shown, queue=False, **LATEST)
        self.gallery.select(do.choose_example, None, [*checked, *shown], queue=False, **EACH)
        self.suggestions.select(do.choose_question, self.task, self.question, queue=False, **EACH)

    @property
    def waiting(self) -> list[Any]:
        """Components that change when the engine is there."""
        return [self.answer, self.routing, self.ask_button, self.stop_button, self.take_out]
