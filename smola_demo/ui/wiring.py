"""How a tab's buttons reach the model: one queue for all of them, announced before it, refused after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.ui.model_runs import STOP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smola_demo.ui.model_runs import ModelRuns

# The queue of everything that touches the model, and of nothing else: Gradio closes a visitor's stream when
# the last event on it ends, and a run that joins at that moment would wait for ever.
MODEL = "model"
# In the browser, because an answer to the press may come after the run's own last word.
STOPPING = "() => ({ __type__: 'update', value: 'Stopping …', interactive: false })"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Gradio drops what comes while the same event is under way: of choices the last counts, of clicks each.
LATEST: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
EACH: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}


def run_buttons(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """A run's button and its Stop, side by side; both wait for the model. `name` makes their element ids."""
    stop = "stop" if name == "ask" else f"{name}-stop"
    with gr.Row(elem_classes="buttons"):
        return (
            gr.Button(label, variant="primary", interactive=False, elem_id=name, scale=3, min_width=140),
            gr.Button(STOP, interactive=False, elem_id=stop, scale=1, min_width=80),
        )


def connect_run(
    triggers: Sequence[Any],
    do: ModelRuns,
    work: Callable[..., Any],
    inputs: Sequence[Any],
    views: Sequence[Any],
    buttons: Sequence[Any],
) -> Any:
    """Any of `triggers` announces the run and queues `work`; the last of `buttons` stops it.

    `work` gets `inputs`, then the value of the first view. → the event that has it done
    """
    told = [views[0], *buttons]
    start = gr.on(list(triggers), do.begin, None, told, queue=False, **QUIET)
    run = start.then(
        work,
        [*inputs, views[0]],
        [*views, *buttons],
        preprocess=False,
        concurrency_id=MODEL,
        concurrency_limit=1,
        trigger_mode="multiple",  # a run that was stopped in the queue still stands there
        **QUIET,
    )
    run.failure(do.refused, views[0], told, preprocess=False, queue=False, **QUIET)
    stop = buttons[-1]
    stop.click(None, None, stop, js=STOPPING, **QUIET)
    stop.click(do.stop, None, told, queue=False, **QUIET)
    return run
