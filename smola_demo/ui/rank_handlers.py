"""What happens in the Ablate tab's ranking: values in, values out. It uses the Ask tab's inputs."""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.
# ruff: noqa: TC001, TC003

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from smola_demo.results import Request
from smola_demo.ui import ranking
from smola_demo.ui.ablate_handlers import AblateHandlers
from smola_demo.ui.answer import make_request
from smola_demo.ui.asked import asked_of
from smola_demo.ui.model_runs import ModelRuns, skip


class RankHandlers(ModelRuns):
    """Handlers of the ranking beside `ablate`. `gpu` wraps the generator that runs the model."""

    def __init__(self, ablate: AblateHandlers, gpu: Callable[[Any], Any]) -> None:
        super().__init__(ablate.handle, ablate.stops)
        self.ablate = ablate

        def run_sweep(request: Request, by: str, expert: str | None) -> Iterator[Any]:
            yield from self.handle.engine.sweep(request, by, expert)

        self._sweep = gpu(run_sweep)

    def rank(
        self,
        payload: Any,
        task: str,
        question: str | None,
        by: str,
        expert: str | None,
        announced: Any,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Take every expert out, one at a time, or one expert layer by layer or projection by projection."""

        def work(flag: threading.Event) -> Iterator[tuple[dict[str, Any]]]:
            if by not in ranking.PLACES:
                raise ValueError(f"There is no ranking by '{by}'.")
            info, wanted = self.handle.require(), make_request(payload, task, question)
            steps = self._sweep(wanted, by, None if by == "expert" else expert)
            for value in ranking.stream_ranking(steps, by, info, flag):
                yield (value | {"asked": asked_of(payload, task, question)},)

        yield from self.follow(work, announced, request)

    def buttons(self, *, busy: bool = False) -> tuple[Any, Any, Any]:
        """Ablate, Rank and the ranking's Stop, as for an ablation."""
        return self.ablate.buttons(busy=busy)

    def pick_place(self, event: gr.EventData) -> tuple[Any, ...]:
        """A bar of the ranking was chosen: the spec, the chips, and the expert to look into."""
        place = ranking.picked_place(getattr(event, "_data", None), self.handle.info)
        if place is None:
            return skip(3)
        spec, name = place
        return *self.ablate.given(spec), name

    def choose_by(self, by: str) -> Any:
        """Only a ranking within one expert needs one."""
        return gr.update(visible=by != "expert")
