"""First tab: ask about a picture, watch the experts while the answer is written, take one out and compare.

Layout and wiring only. Handlers read values and give values; they are methods, so that a test can call them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.config import GROUPS
from smola_demo.data.images import ImageError
from smola_demo.results import Request
from smola_demo.tasks import TASKS
from smola_demo.ui import answer, comparison
from smola_demo.ui.examples import Example, example_picks, uploaded
from smola_demo.ui.loading import EngineHandle, StopFlags
from smola_demo.ui.view import encode, view

LABELS = {"vqa": "Short question", "read": "Read text", "ask": "Ask freely"}
MODEL = "model"  # one queue for everything that touches the model
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class AskTab:
    """The tab's components and handlers. `gpu` wraps the generators that run the model, as ZeroGPU wants it."""

    def __init__(
        self, handle: EngineHandle, stops: StopFlags, examples: list[Example], gpu: Callable[[Any], Any]
    ) -> None:
        self.handle, self.stops, self.examples = handle, stops, examples

        def run_answer(request: Request) -> Iterator[Any]:
            yield from handle.engine.answer(request)

        def run_compare(request: Request) -> Iterator[Any]:
            yield from handle.engine.compare(request)

        self._answer, self._compare = gpu(run_answer), gpu(run_compare)

    def layout(self) -> None:
        """Place the components; two columns that become one on a phone."""
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=5, min_width=320):
                self._inputs()
                self.answer = view("answer", answer.answer_value(None), label="Answer", elem_id="answer")
            with gr.Column(scale=6, min_width=320):
                self.routing = view("routing", answer.empty_map(None), label="Routing map", elem_id="routing")
                self._ablation_inputs()
        self.comparison = view("comparison", {"state": "idle"}, label="Comparison", elem_id="comparison")

    def _inputs(self) -> None:
        self.gallery = view("picks", example_picks(self.examples), label="Examples", elem_id="examples")
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
            [(LABELS.get(name, name.capitalize()), name) for name in TASKS],
            value="caption",
            label="Task",
            info=TASKS["caption"].description,
            elem_id="task",
        )
        self.question = gr.Textbox(label="Question", lines=1, max_lines=1, visible=False, max_length=500, elem_id="question")
        self.suggestions = view("picks", answer.suggestion_picks("caption"), label="Suggestions", elem_id="suggestions")
        with gr.Row(elem_classes="buttons"):
            self.ask_button = gr.Button("Ask", variant="primary", interactive=False, elem_id="ask", scale=3, min_width=140)
            self.stop_button = gr.Button("Stop", interactive=False, elem_id="stop", scale=1, min_width=80)

    def _ablation_inputs(self) -> None:
        with gr.Column(elem_id="ablate-panel"):
            gr.HTML("<h2>Take an expert out</h2><p>Click a cell of the map, or choose here.</p>", elem_classes="panel-head")
            with gr.Row():
                self.group = gr.Dropdown(list(GROUPS), value=GROUPS[0], label="Group", elem_id="group", min_width=120)
                self.expert = gr.Dropdown(list(range(8)), value=0, label="Expert", elem_id="expert", min_width=90)
                self.layers = gr.Textbox(
                    label="Layers", placeholder="all", lines=1, max_lines=1, max_length=60, elem_id="layers", min_width=110
                )
            self.kind = gr.Radio(list(comparison.KINDS), value="zero", label="How", elem_id="kind")
            self.spec = gr.Textbox(
                comparison.spec_text(GROUPS[0], 0, "", "zero"),
                label="Written as (you may edit it)",
                info="Also visual:0,4-6 · text:* · visual:3@8-15/mlp · several joined by ;",
                lines=1,
                max_lines=1,
                max_length=300,
                elem_id="spec",
            )
            self.ablate_button = gr.Button("Ablate and compare", variant="primary", interactive=False, elem_id="ablate")

    def wire(self) -> None:
        """Connect events to handlers."""
        asked = [self.image, self.task, self.question]
        buttons = [self.ask_button, self.stop_button, self.ablate_button]
        model: dict[str, Any] = {**QUIET, "preprocess": False, "concurrency_id": MODEL, "concurrency_limit": 1}
        gr.on([self.ask_button.click, self.question.submit], self.begin_ask, None, [self.answer, *buttons], queue=False, **QUIET).then(
            self.ask, asked, [self.answer, self.routing, *buttons], **model
        )
        gr.on([self.ablate_button.click, self.spec.submit], self.begin_ablate, None, [self.comparison, *buttons], queue=False, **QUIET).then(
            self.ablate, [*asked, self.spec], [self.comparison, *buttons], **model
        )
        self.stop_button.click(self.stop, None, None, queue=False, **QUIET)
        self.image.input(self.check_picture, self.image, [self.image, self.picture_note], preprocess=False, **QUIET)
        shown = [self.task, self.question, self.suggestions]
        self.task.input(self.choose_task, self.task, shown, queue=False, **QUIET)
        self.gallery.select(self.choose_example, None, [self.image, self.picture_note, *shown], **QUIET)
        self.suggestions.select(self.choose_question, self.task, self.question, queue=False, **QUIET)
        self.routing.select(self.pick_cell, self.kind, [self.group, self.expert, self.layers, self.spec], queue=False, **QUIET)
        parts = [self.group, self.expert, self.layers, self.kind]
        mark = "(g, e, l, k) => { window.smola?.pick?.(g, e, l); return [g, e, l, k]; }"
        gr.on([part.input for part in parts], comparison.spec_text, parts, self.spec, js=mark, queue=False, **QUIET)

    # ------------------------------------------------------------------ handlers

    def begin_ask(self, request: gr.Request) -> tuple[Any, ...]:
        """At once, before the queue: say so, and give Stop something to stop."""
        self.stops.begin(request.session_hash)
        waiting = answer.answer_value(self.handle.info, "waiting", hint="Waiting for the model …")
        return encode(waiting), *_buttons(busy=True)

    def ask(self, payload: Any, task: str, question: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Answer, streaming text, figures and map."""
        flag = self.stops.flag(request.session_hash)
        info = self.handle.info
        busy, free = _buttons(busy=True), _buttons(busy=False, ready=info is not None)
        try:
            if flag.is_set():
                yield encode(answer.answer_value(info, "stopped", message="Stopped.")), gr.skip(), *free
                return
            if info is None:
                self.handle.engine  # noqa: B018  raises the one sentence that says why not
            wanted = answer.make_request(payload, task, question)
            for value, routing in answer.stream_answer(self._answer(wanted), info, flag):
                done = value["state"] in ("done", "stopped")
                yield encode(value), gr.skip() if routing is None else encode(routing), *(free if done else busy)
        except Exception as error:  # noqa: BLE001  whatever happens, the page gets a sentence and its buttons back
            _log(error)
            yield encode(answer.failed(info, error)), gr.skip(), *free

    def begin_ablate(self, request: gr.Request) -> tuple[Any, ...]:
        """At once, before the queue."""
        self.stops.begin(request.session_hash)
        return encode({"state": "running", "verdict": "Waiting for the model …"}), *_buttons(busy=True)

    def ablate(
        self, payload: Any, task: str, question: str | None, spec: str | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answer without and with the ablation and show what changed."""
        flag = self.stops.flag(request.session_hash)
        free = _buttons(busy=False, ready=self.handle.info is not None)
        try:
            if flag.is_set():
                yield encode({"state": "stopped", "message": "Stopped."}), *free
                return
            if not (spec or "").strip():
                raise ImageError("Name an expert to take out, for example visual:3.")
            wanted = answer.make_request(payload, task, question, (spec or "").strip())
            for value in comparison.stream_comparison(self._compare(wanted), flag):
                yield encode(value), *_buttons(busy=value["state"] == "running")
        except Exception as error:  # noqa: BLE001  as above
            _log(error)
            yield encode(comparison.failed(error)), *free

    def stop(self, request: gr.Request) -> None:
        """End this visitor's run before its next token."""
        self.stops.stop(request.session_hash)

    def check_picture(self, payload: Any) -> tuple[Any, str]:
        """A picture was put in or taken away: say at once if it cannot be used, and take it out again."""
        if not payload:
            return gr.skip(), encode({})
        try:
            uploaded(payload)
        except ImageError as error:
            return None, encode({"kind": "error", "text": str(error)})
        return gr.skip(), encode({})

    def choose_task(self, task: str) -> tuple[Any, ...]:
        """Show the question box and suggestions where the task has them."""
        return _task_shown(task)

    def choose_example(self, event: gr.EventData) -> tuple[Any, ...]:
        """Put the clicked example's picture, task and question in."""
        index = _index(event)
        if index is None or index >= len(self.examples):
            return tuple(gr.skip() for _ in range(5))
        example = self.examples[index]
        return str(example.image), encode({}), *_task_shown(example.task, example.question)

    def choose_question(self, task: str, event: gr.EventData) -> Any:
        """Put the clicked suggestion into the question box."""
        index, items = _index(event), answer.suggestion_picks(task)["items"]
        return gr.skip() if index is None or index >= len(items) else items[index]["text"]

    def pick_cell(self, kind: str, event: gr.EventData) -> tuple[Any, ...]:
        """A cell of the map was clicked: choose its expert and layer for the ablation."""
        cell = comparison.picked_cell(getattr(event, "_data", None), self.handle.info)
        if cell is None:
            return tuple(gr.skip() for _ in range(4))
        return *cell, comparison.spec_text(*cell, kind)

    # ------------------------------------------------------------------ loading

    def loaded(self) -> tuple[Any, ...]:
        """Updates of `self.waiting` once loading has ended, well or not."""
        info = self.handle.info
        values: tuple[Any, ...] = (encode(answer.answer_value(info)), encode(answer.empty_map(info)))
        groups = list(info.groups) if info else list(GROUPS)
        experts = list(range(info.num_experts)) if info and info.groups else list(range(8))
        group = gr.update(choices=groups, value=groups[0] if groups else None)
        return *values, group, gr.update(choices=experts, value=0), *_buttons(busy=False, ready=info is not None)

    @property
    def waiting(self) -> list[Any]:
        """Components that change when the engine is there."""
        return [self.answer, self.routing, self.group, self.expert, self.ask_button, self.stop_button, self.ablate_button]


def _buttons(*, busy: bool, ready: bool = True) -> tuple[Any, Any, Any]:
    """Ask, Stop and Ablate: while the model works only Stop can be pressed."""
    rest = gr.update(interactive=ready and not busy)
    return rest, gr.update(interactive=busy), rest


def _task_shown(task: str, question: str | None = None) -> tuple[Any, ...]:
    known = TASKS.get(task)
    if known is None:
        return gr.skip(), gr.skip(), gr.skip()
    box: dict[str, Any] = {"visible": known.needs_question, "placeholder": f"For example: {known.example}"}
    if question is not None:
        box["value"] = question
    radio = gr.update(value=task, info=known.description)
    return radio, gr.update(**box), encode(answer.suggestion_picks(task))


def _index(event: gr.EventData) -> int | None:
    data = getattr(event, "_data", None)
    index = data.get("index") if isinstance(data, dict) else None
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None


def _log(error: Exception) -> None:
    """What was not meant for the user belongs in the log."""
    if not isinstance(error, ValueError):
        traceback.print_exc()
