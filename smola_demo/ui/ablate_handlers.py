"""What happens on the Ablate tab: values in, values out. It uses the Ask tab's picture, task and question."""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.
# ruff: noqa: TC001, TC003

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.results import Request
from smola_demo.ui import comparison
from smola_demo.ui.answer import make_request
from smola_demo.ui.asked import asked_of
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.model_runs import ModelRuns, skip, stop_update
from smola_demo.ui.picker import cell_spec, picked_cell, picked_expert, picker_value
from smola_demo.ui.stops import StopFlags
from smola_demo.ui.view import encode

NO_PICTURE = "No picture yet: choose one on the Ask tab."


def asked_line(payload: Any, task: str, question: str | None) -> dict[str, Any]:
    """What an ablation works on, as the value of a note view."""
    if not payload:
        return {"text": NO_PICTURE, "kind": "hint"}
    return {"text": f"On: {asked_of(payload, task, question)}", "kind": "info"}


class AblateHandlers(ModelRuns):
    """Handlers of the Ablate tab but for its ranking. `gpu` wraps the generator that runs the model."""

    def __init__(self, handle: EngineHandle, stops: StopFlags, gpu: Callable[[Any], Any]) -> None:
        super().__init__(handle, stops)

        def run_compare(request: Request) -> Iterator[Any]:
            yield from handle.engine.compare(request)

        self._compare = gpu(run_compare)

    def ablate(
        self,
        payload: Any,
        task: str,
        question: str | None,
        spec: str | None,
        announced: Any,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Answer without and with the ablation and show what changed."""

        def work(flag: threading.Event) -> Iterator[tuple[dict[str, Any]]]:
            if not (spec or "").strip():
                raise ValueError("Choose an expert to take out, for example visual:3.")
            wanted = make_request(payload, task, question, (spec or "").strip())
            for value in comparison.stream_comparison(self._compare(wanted), flag):
                yield (value | {"asked": asked_of(payload, task, question)},)

        yield from self.follow(work, announced, request)

    def buttons(self, *, busy: bool = False) -> tuple[Any, Any, Any]:
        """Ablate, Rank and the run's own Stop: while the model works only Stop; without experts none."""
        info = self.handle.info
        free = gr.update(interactive=(bool(info.groups) if info else self.usable) and not busy)
        return free, free, stop_update(busy=busy)

    def asked(self, payload: Any, task: str, question: str | None) -> str:
        """The line that says what the tab works on."""
        return encode(asked_line(payload, task, question))

    def read_spec(self, text: str | None) -> str:
        """The text has changed: what the chips show."""
        return encode(picker_value(self.handle.info, text))

    def pick_cell(self, event: gr.EventData) -> tuple[Any, ...]:
        """A cell of the Ask tab's map was clicked: the spec, the chips, the button to them, and the cell."""
        cell = picked_cell(getattr(event, "_data", None), self.handle.info)
        if cell is None:
            return skip(4)
        group, expert, layer = cell
        way = gr.update(visible=True, value=f"Take it out: {group} expert {expert}, layer {layer} →")
        return *self.given(cell_spec(*cell)), way, cell_spec(*cell)

    def open_cell(self, spec: str) -> tuple[Any, ...]:
        """The button's own cell, whatever was chosen since, and this tab in front."""
        return *self.given(spec), self.open()

    def take_out(self, event: gr.EventData) -> tuple[Any, ...]:
        """An expert of another tab is to be taken out: the spec, the chips, and this tab in front."""
        spec = picked_expert(getattr(event, "_data", None))
        return skip(3) if spec is None else (*self.given(spec), self.open())

    def given(self, spec: str) -> tuple[str, str]:
        """A spec from elsewhere: its text and the chips that show it."""
        return spec, encode(picker_value(self.handle.info, spec) | {"given": True})

    def open(self) -> Any:
        """Show this tab."""
        return gr.Tabs(selected="ablate")

    def loaded(self, spec: str | None) -> tuple[Any, ...]:
        """Updates once loading has ended, well or not: chips of a spec, experts to look into, buttons."""
        info = self.handle.info
        names = [f"{group}:{e}" for group in info.groups for e in range(info.num_experts)] if info else []
        experts = gr.update(choices=names, value=names[0] if names else None)
        buttons = self.buttons()
        return self.read_spec(spec), experts, *buttons, buttons[-1]
