"""What happens when something on the first tab is pressed: values in, values out, as a test calls it."""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.
# ruff: noqa: TC001, TC003

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.data.images import ImageError
from smola_demo.results import Request
from smola_demo.tasks import TASKS
from smola_demo.ui import answer
from smola_demo.ui.asked import asked_of, picture_name
from smola_demo.ui.examples import Example, uploaded
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.model_runs import ModelRuns, skip, stop_update
from smola_demo.ui.stops import StopFlags
from smola_demo.ui.view import encode


class AskHandlers(ModelRuns):
    """Handlers of the first tab. `gpu` wraps the generators that run the model, as ZeroGPU wants it."""

    beside = 2  # the map and the explorer

    def __init__(
        self, handle: EngineHandle, stops: StopFlags, examples: list[Example], gpu: Callable[[Any], Any]
    ) -> None:
        super().__init__(handle, stops)
        self.examples = examples

        def run_answer(request: Request) -> Iterator[Any]:
            yield from handle.engine.answer(request)

        self._answer = gpu(run_answer)

    def waiting(self, said: str) -> dict[str, Any]:
        """Value of the answer while the run stands in the queue."""
        return answer.answer_value(self.handle.info, "waiting", hint=said)

    def told(self, state: str, message: str) -> dict[str, Any]:
        """Value of the answer for one sentence."""
        return answer.answer_value(self.handle.info, state, message=message)

    def ask(
        self, payload: Any, task: str, question: str | None, announced: Any, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answer, streaming text, figures and map; then the whole run for the explorer."""

        def work(flag: threading.Event) -> Iterator[tuple[Any, ...]]:
            wanted = answer.make_request(payload, task, question)
            assert wanted.image is not None  # noqa: S101  what the page asks comes with a picture
            steps, info = self._answer(wanted), self.handle.require()
            name, about = picture_name(payload), asked_of(payload, task, question)
            yield from answer.stream_answer(steps, info, flag, wanted.image, name, about)

        yield from self.follow(work, announced, request)

    def buttons(self, *, busy: bool = False) -> tuple[Any, Any]:
        """Ask and Stop: while the model works only Stop."""
        return gr.update(interactive=self.usable and not busy), stop_update(busy=busy)

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
        """Show the question box and suggestions where the task has them.

        The choice itself stays: it may have gone on since.
        """
        return task_shown(task, chosen=False)

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
        """Updates once loading has ended, well or not. The cell that was picked is of another map."""
        info, hidden = self.handle.info, gr.update(visible=False)
        return encode(answer.answer_value(info)), encode(answer.empty_map(info)), *self.buttons(), hidden


def task_shown(task: str, question: str | None = None, chosen: bool = True) -> tuple[Any, ...]:
    """Updates of the task's choice (`chosen`: made here), the question box and the suggestions."""
    known = TASKS.get(task)
    if known is None:
        return skip(3)
    box: dict[str, Any] = {"visible": known.needs_question, "placeholder": f"For example: {known.example}"}
    if question is not None:
        box["value"] = question
    choice: dict[str, Any] = {"value": task} if chosen else {}
    return (
        gr.update(**choice, info=known.description),
        gr.update(**box),
        encode(answer.suggestion_picks(task)),
    )


def _index(event: gr.EventData) -> int | None:
    data = getattr(event, "_data", None)
    index = data.get("index") if isinstance(data, dict) else None
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None
