"""How a tab's buttons reach the model: one queue for all of them, announced before it, refused after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smola_demo.ui.model_runs import ModelRuns

MODEL = "model"  # the queue of everything that touches the model
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def run_buttons(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """A run's button and its Stop, side by side; both wait for the model. `name` makes their element ids."""
    stop = "stop" if name == "ask" else f"{name}-stop"
    with gr.Row(elem_classes="buttons"):
        return (
            gr.Button(label, variant="primary", interactive=False, elem_id=name, scale=3, min_width=140),
            gr.Button("Stop", interactive=False, elem_id=stop, scale=1, min_width=80),
        )


def connect_run(
    triggers: Sequence[Any],
    do: ModelRuns,
    work: Callable[..., Any],
    inputs: Sequence[Any],
    views: Sequence[Any],
    buttons: Sequence[Any],
) -> Any:
    """Any of `triggers` announces the run and queues `work`; → the event that has it done."""
    told = [views[0], *buttons]
    start = gr.on(list(triggers), do.begin, None, told, queue=False, **QUIET)
    run = start.then(
        work,
        list(inputs),
        [*views, *buttons],
        preprocess=False,
        concurrency_id=MODEL,
        concurrency_limit=1,
        **QUIET,
    )
    run.failure(do.refused, None, told, queue=False, **QUIET)
    return run
