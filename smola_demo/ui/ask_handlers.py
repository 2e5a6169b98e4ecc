"""What happens when something on the first tab is pressed: values in, values out, so that a test can call it.

Generators end with the buttons given back, whatever goes wrong: the page gets one sentence, the log the rest.
"""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.
# ruff: noqa: TC001, TC003

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.data.images import ImageError
from smola_demo.results import Request
from smola_demo.tasks import TASKS
from smola_demo.ui import answer
from smola_demo.ui.examples import Example, uploaded
from smola_demo.ui.loading import EngineHandle, StopFlags
from smola_demo.ui.view import encode

BUSY = "Many people are asking at the moment: try again in a minute."


class AskHandlers:
    """Handlers of the first tab. `gpu` wraps the generators that run the model, as ZeroGPU wants it."""

    def __init__(
        self, handle: EngineHandle, stops: StopFlags, examples: list[Example], gpu: Callable[[Any], Any]
    ) -> None:
        self.handle, self.stops, self.examples = handle, stops, examples

        def run_answer(request: Request) -> Iterator[Any]:
            yield from handle.engine.answer(request)

        self._answer = gpu(run_answer)

    def begin_ask(self, request: gr.Request) -> tuple[Any, ...]:
        """At once, before the queue: say so, and give Stop something to stop."""
        if not self.stops.begin(request.session_hash):
            return skip(3)
        waiting = answer.answer_value(self.handle.info, "waiting", hint="Waiting for the model …")
        return encode(waiting), *self.buttons(busy=True)

    def ask(
        self, payload: Any, task: str, question: str | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answer, streaming text, figures and map; then the whole run for the explorer."""
        flag = self.stops.flag(request.session_hash)
        if flag is None:  # announced while another run was going, which is over now
            yield skip(5)
            return
        try:
            info = self.handle.require()
            if flag.is_set():
                value = answer.answer_value(info, "stopped", message="Stopped.")
                yield encode(value), *skip(2), *self.buttons()
                return
            wanted = answer.make_request(payload, task, question)
            steps = self._answer(wanted)
            for value, *drawn in answer.stream_answer(steps, info, flag, wanted.image):
                shown = (gr.skip() if view is None else encode(view) for view in drawn)
                yield encode(value), *shown, *self.buttons(busy=value["state"] == "writing")
        except Exception as error:  # noqa: BLE001  whatever happens, the page gets a sentence and its buttons back
            log(error)
            yield encode(answer.failed(self.handle.info, error)), *skip(2), *self.buttons()
        finally:
            self.stops.end(request.session_hash)

    def ask_refused(self, request: gr.Request) -> tuple[Any, ...]:
        """The queue was full, or the server could not take the run."""
        self.stops.end(request.session_hash)
        return encode(answer.answer_value(self.handle.info, "error", message=BUSY)), *self.buttons()

    def buttons(self, *, busy: bool = False) -> tuple[Any, Any]:
        """Ask and Stop: while the model works only Stop."""
        ask = self.handle.info is not None and not busy
        return gr.update(interactive=ask), gr.update(interactive=busy)

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
        return task_shown(task)

    def choose_example(self, event: gr.EventData) -> tuple[Any, ...]:
        """Put the clicked example's picture, task and question in."""
        index = _index(event)
        if index is None or index >= len(self.examples):
            return skip(5)
        example = self.examples[index]
        return str(example.image), encode({}), *task_shown(example.task, example.question)

    def choose_question(self, task: str, event: gr.EventData) -> Any:
        """Put the clicked suggestion into the question box."""
        index, items = _index(event), answer.suggestion_picks(task)["items"]
        return gr.skip() if index is None or index >= len(items) else items[index]["text"]

    def loaded(self) -> tuple[Any, ...]:
        """Updates once loading has ended, well or not."""
        info = self.handle.info
        return encode(answer.answer_value(info)), encode(answer.empty_map(info)), *self.buttons()


def skip(count: int) -> tuple[Any, ...]:
    """Outputs that stay as they are."""
    return tuple(gr.skip() for _ in range(count))


def task_shown(task: str, question: str | None = None) -> tuple[Any, ...]:
    """Updates of the task's choice, the question box and the suggestions."""
    known = TASKS.get(task)
    if known is None:
        return skip(3)
    box: dict[str, Any] = {"visible": known.needs_question, "placeholder": f"For example: {known.example}"}
    if question is not None:
        box["value"] = question
    radio = gr.update(value=task, info=known.description)
    return radio, gr.update(**box), encode(answer.suggestion_picks(task))


def _index(event: gr.EventData) -> int | None:
    data = getattr(event, "_data", None)
    index = data.get("index") if isinstance(data, dict) else None
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None


def log(error: Exception) -> None:
    """What was not meant for the user belongs in the log."""
    if not isinstance(error, ValueError):
        traceback.print_exc()
