"""What happens on the Compare tab: values in, values out."""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.
# ruff: noqa: TC001, TC003

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.results import Request
from smola_demo.tasks import TASKS
from smola_demo.ui import comparison
from smola_demo.ui.ablate_handlers import OTHER
from smola_demo.ui.ask_handlers import BUSY, log, skip
from smola_demo.ui.contrast import Side, loaded_note, stream_contrast
from smola_demo.ui.loading import EngineHandle, StopFlags
from smola_demo.ui.view import encode


class CompareHandlers:
    """Handlers of the Compare tab. `gpu` wraps the generator that runs the model."""

    def __init__(self, handle: EngineHandle, stops: StopFlags, gpu: Callable[[Any], Any]) -> None:
        self.handle, self.stops = handle, stops

        def run_pair(requests: tuple[Request, Request]) -> Iterator[Any]:
            for side, wanted in enumerate(requests):
                items = handle.engine.answer(wanted)
                try:
                    for item in items:
                        yield side, item
                finally:
                    comparison.close(items)

        self._pair = gpu(run_pair)

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """At once, before the queue."""
        if not self.stops.begin(request.session_hash):
            return encode({"state": "error", "message": OTHER}), *skip(2)
        return encode({"state": "running", "verdict": "Waiting for the model …"}), *self.buttons(busy=True)

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
        picture_b: Any,
        task_b: str,
        question_b: str | None,
        experts_b: str,
        spec_b: str | None,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Run A, then B, and show what differs. What a side leaves open comes from the first three inputs."""
        flag = self.stops.flag(request.session_hash)
        if flag is None:  # announced while another run was going, which is over now
            yield skip(3)
            return
        try:
            info = self.handle.require()
            if flag.is_set():
                yield encode({"state": "stopped", "message": "Stopped."}), *self.buttons()
                return
            sides = (
                Side(picture_a, task_a, question_a, experts_a, spec_a),
                Side(picture_b, task_b, question_b, experts_b, spec_b),
            )
            wanted = tuple(side.request(picture, task, question) for side in sides)
            for value in stream_contrast(self._pair(wanted), info, flag):
                yield encode(value), *self.buttons(busy=value["state"] == "running")
        except Exception as error:  # noqa: BLE001  whatever happens, the page gets a sentence and its buttons back
            log(error)
            yield encode(comparison.failed(error)), *self.buttons()
        finally:
            self.stops.end(request.session_hash)

    def refused(self, request: gr.Request) -> tuple[Any, ...]:
        """The queue was full, or the server could not take the run."""
        self.stops.end(request.session_hash)
        return encode({"state": "error", "message": BUSY}), *self.buttons()

    def buttons(self, *, busy: bool = False) -> tuple[Any, Any]:
        """Compare and Stop: while the model works only Stop."""
        free = self.handle.info is not None and not busy
        return gr.update(interactive=free), gr.update(interactive=busy)

    def stop(self, request: gr.Request) -> None:
        """End this visitor's run before its next token."""
        self.stops.stop(request.session_hash)

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
        return encode(loaded_note(self.handle.info)), *self.buttons()
