"""Fourth tab: two runs side by side, each with its own picture, question and experts. Wiring only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.ui.asked import TASK_NAMES
from smola_demo.ui.contrast import EXPERTS
from smola_demo.ui.view import view
from smola_demo.ui.wiring import LATEST, connect_run, run_buttons

if TYPE_CHECKING:
    from smola_demo.ui.ask_tab import AskTab
    from smola_demo.ui.compare_handlers import CompareHandlers

SAME = "as on the Ask tab"


@dataclass(frozen=True)
class SideInputs:
    """The components of one side."""

    picture: gr.Image
    task: gr.Dropdown
    question: gr.Textbox
    experts: gr.Radio
    spec: gr.Textbox
    model: gr.Dropdown

    @property
    def all(self) -> list[Any]:
        """In the order of the handler's parameters."""
        return [self.picture, self.task, self.question, self.experts, self.spec, self.model]


class CompareTab:
    """The tab's components. Call `layout` inside its gr.Tab, then `wire`."""

    def __init__(self, handlers: CompareHandlers) -> None:
        self.handlers = handlers

    def layout(self) -> None:
        """Place the two sides, which stand below each other on a phone, and what came out."""
        with gr.Column(elem_id="compare-panel"):
            gr.HTML(
                "<h2>Two runs side by side</h2><p>What a side leaves open comes from the Ask tab. As "
                "first set, a mixture of experts is compared with its plain backbone.</p>",
                elem_classes="panel-head",
            )
            self.note = view("note", {}, label="What is loaded", elem_id="compare-note")
            with gr.Row(elem_classes="columns"):
                self.a, self.b = self._side("A", "all"), self._side("B", "none")
            self.compare_button, self.stop_button = run_buttons("Compare A and B", "compare")
            self.contrast = view(
                "contrast",
                {"state": "idle"},
                label="Two runs",
                elem_id="contrast",
                scripts=("saves.js", "contrast-plots.js"),
            )

    def _side(self, name: str, experts: str) -> SideInputs:
        low = name.lower()
        tasks = [(SAME, ""), *((label, task) for task, label in TASK_NAMES.items())]
        with gr.Column(min_width=300, elem_id=f"side-{low}"):
            return SideInputs(
                picture=gr.Image(
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    label=f"Picture {name} (empty: {SAME})",
                    alt_text=f"The picture of side {name}",
                    height=210,
                    buttons=[],
                    elem_id=f"picture-{low}",
                ),
                task=gr.Dropdown(tasks, value="", label=f"Task {name}", elem_id=f"task-{low}"),
                question=gr.Textbox(
                    label=f"Question {name}",
                    lines=1,
                    max_lines=1,
                    max_length=500,
                    visible=False,
                    elem_id=f"question-{low}",
                ),
                experts=gr.Radio(
                    list(EXPERTS), value=experts, label=f"Experts {name}", elem_id=f"experts-{low}"
                ),
                spec=gr.Textbox(
                    label=f"Taken out in {name}",
                    info="For example visual:3 · multimodal:0,4-6 · text:*@8-15/mlp",
                    lines=1,
                    max_lines=1,
                    max_length=300,
                    visible=False,
                    elem_id=f"spec-{low}",
                ),
                model=gr.Dropdown(
                    [("as loaded", "")],
                    value="",
                    label=f"Checkpoint and precision {name}",
                    elem_id=f"model-{low}",
                ),
            )

    def wire(self, ask: AskTab) -> None:
        """Connect events to handlers."""
        do = self.handlers
        inputs = [ask.image, ask.task, ask.question, *self.a.all, *self.b.all]
        buttons = [self.compare_button, self.stop_button]
        connect_run([self.compare_button.click], do, do.pair, inputs, [self.contrast], buttons)
        for side in (self.a, self.b):
            side.task.input(do.choose_task, side.task, side.question, queue=False, **LATEST)
            side.experts.input(do.choose_experts, side.experts, side.spec, queue=False, **LATEST)

    @property
    def waiting(self) -> list[Any]:
        """Components that change when the engine is there."""
        return [
            self.note,
            self.compare_button,
            self.stop_button,
            self.b.experts,
            self.b.spec,
            self.a.model,
            self.b.model,
        ]
