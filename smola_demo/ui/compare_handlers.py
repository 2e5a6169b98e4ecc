"""What happens on the Compare tab: values in, values out."""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.
# ruff: noqa: TC001, TC003

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.results import Progress, Request
from smola_demo.tasks import TASKS
from smola_demo.ui import comparison
from smola_demo.ui.contrast import Side, loaded_name, loaded_note, stream_contrast
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.model_runs import ModelRuns, skip, stop_update
from smola_demo.ui.stops import StopFlags
from smola_demo.ui.view import encode


class CompareHandlers(ModelRuns):
    """Handlers of the Compare tab. `gpu` wraps the generator that runs the model."""

    def __init__(self, handle: EngineHandle, stops: StopFlags, gpu: Callable[[Any], Any]) -> None:
        super().__init__(handle, stops)

        def run_pair(wanted: tuple[tuple[str, Request], ...]) -> Iterator[Any]:
            for side, (model, request) in enumerate(wanted):
                if model:
                    yield side, Progress(0, 1, f"loading {model}")
                items = handle.variant(model).answer(request)
                try:
                    for item in items:
                        yield side, item
                finally:
                    comparison.close(items)

        self._pair = gpu(run_pair)

    def pair(
        self,
        picture: Any,
        task: str,
        question: str | None,
        picture_a: Any,
        task_a: str,
        question_a: str | None,
        experts_a: str,
        spec_a: str | None,
        model_a: str,
        picture_b: Any,
        task_b: str,
        question_b: str | None,
        experts_b: str,
        spec_b: str | None,
        model_b: str,
        announced: Any,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Run A, then B, and show what differs. What a side leaves open comes from the first three inputs."""
        sides = (
            Side(picture_a, task_a, question_a, experts_a, spec_a, model_a),
            Side(picture_b, task_b, question_b, experts_b, spec_b, model_b),
        )

        def work(flag: threading.Event) -> Iterator[tuple[dict[str, Any]]]:
            info = self.handle.require()
            wanted = tuple((side.model or "", side.request(picture, task, question, info)) for side in sides)
            a, b = (side.asked(picture, task, question) for side in sides)
            (_, first), (_, second) = wanted
            same_picture = first.image == second.image  # PIL compares pixels
            for value in stream_contrast(self._pair(wanted), flag, (a, b), same_picture):
                yield (value,)

        yield from self.follow(work, announced, request)

    def buttons(self, *, busy: bool = False) -> tuple[Any, Any]:
        """Compare and Stop: while the model works only Stop."""
        return gr.update(interactive=self.usable and not busy), stop_update(busy=busy)

    def choose_task(self, task: str) -> Any:
        """Show the question box where the side's own task has one."""
        known = TASKS.get(task)
        if known is None or not known.needs_question:
            return gr.update(visible=False)
        return gr.update(visible=True, placeholder=f"For example: {known.example}")

    def choose_experts(self, experts: str) -> Any:
        """Only where some experts are taken out there is something to write."""
        return gr.update(visible=experts == "some")

    def loaded(self) -> tuple[Any, ...]:
        """Updates once loading has ended, well or not."""
        info, others = self.handle.info, self.handle.variants
        models = gr.update(choices=[(loaded_name(info), ""), *((name, name) for name in others)], value="")
        return encode(loaded_note(info)), *self.buttons(), *self._first_b(), models, models

    def _first_b(self) -> tuple[Any, Any]:
        """B's experts: none of them where there is a mixture, so that A and B differ; else as A's."""
        info = self.handle.info
        if info is None or (info.groups and self.handle.loads == 1):  # as laid out, or chosen while it loaded
            return skip(2)
        return gr.update(value="none" if info.groups else "all"), gr.update(visible=False)
