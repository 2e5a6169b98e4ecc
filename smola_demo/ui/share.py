"""Keep and share: a run as a file or a card, runs of this visit, recorded runs, links that open an example.

Runs stay in the visitor's browser: the page hands them from view to view without a round trip, and the server
reads one only to check a file that is opened.
"""

# Gradio reads the annotations of handlers when it connects them, so their names must be there at run time.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.config import GROUPS
from smola_demo.plots.palette import scales
from smola_demo.runs import RunError, read_run_file
from smola_demo.tasks import TASKS
from smola_demo.ui import recorded
from smola_demo.ui.ask_handlers import task_shown
from smola_demo.ui.asked import TASK_NAMES
from smola_demo.ui.links import NAMES, example_names, read_link
from smola_demo.ui.loading import EngineHandle, sentence
from smola_demo.ui.model_runs import skip
from smola_demo.ui.view import decode, encode, view
from smola_demo.ui.wiring import QUIET

if TYPE_CHECKING:
    from smola_demo.ui.ablate_tab import AblateTab
    from smola_demo.ui.ask_tab import AskTab
    from smola_demo.ui.examples import Example

SCRIPTS = ("explorer-data.js", "runs-card.js", "runs-film.js", "runs-link.js")


class Share:
    """The panel that keeps a run. Call `layout` below the map, `layout_note` above the explorer, `wire`.

    assets  folder of the examples; its folder runs/ may hold recorded ones
    """

    def __init__(self, handle: EngineHandle, assets: Path, examples: list[Example]) -> None:
        self.handle, self.examples = handle, examples
        self.shipped = recorded.shipped_runs(assets, examples)

    def layout(self) -> None:
        """Place the panel."""
        with gr.Column(elem_id="share-panel"):
            self.runs = view(
                "runs",
                self._value(),
                label="Keep and share",
                elem_id="runs",
                scripts=SCRIPTS,
                scales=scales(GROUPS),
            )
            self.opener = gr.UploadButton(
                "Open a run from a file", file_types=[".json", ".gz"], elem_id="open-run", size="sm"
            )
            self.message = view("note", {}, label="About the run", elem_id="run-message")

    def layout_note(self) -> None:
        """Place the line that says when the explorer's run is not of now."""
        self.note = view("note", {}, label="Where this run comes from", elem_id="run-note")

    def _value(self) -> dict[str, Any]:
        names = zip(example_names(self.examples), self.examples, strict=True)
        return {
            "examples": [{"name": name, "path": str(example.image)} for name, example in names],
            "tasks": TASK_NAMES,
            "asks": [task.name for task in TASKS.values() if task.needs_question],
            "recorded": [title for _, title in self.shipped],
        }

    def wire(self, ask: AskTab, explorer: gr.HTML, ablate: AblateTab, tabs: gr.Tabs, page: gr.Blocks) -> Any:
        """Connect events to handlers. Returns the event that follows the page's link when it is opened."""
        self.ablation = ablate.handlers
        shown = [ask.answer, ask.routing, explorer, self.note]
        keep: dict[str, Any] = {
            "fn": None,
            "inputs": shown,
            "outputs": self.note,
            "js": "(...all) => window.smola.runs.remember(...all)",
            **QUIET,
        }
        ask.asked.then(**keep)
        opened = self.opener.upload(
            self.reopen, self.opener, [*shown, self.message, tabs], preprocess=False, queue=False, **QUIET
        )
        opened.then(**keep)
        played = self.runs.submit(self.play, None, [*shown, self.message], queue=False, **QUIET)
        played.then(**keep)
        self.runs.select(None, None, shown, js="() => window.smola.runs.chosen()", **QUIET)
        said = [ask.image, ask.task, ask.question, ablate.spec]
        self.runs.copy(None, said, None, js="(...all) => window.smola.runs.copyLink(...all)", **QUIET)
        inputs = [ask.image, ask.picture_note, ask.task, ask.question, ask.suggestions]
        outputs = [*inputs, ablate.spec, ablate.picker, *shown, self.message]
        arrived = page.load(self.arrive, None, outputs, queue=False, **QUIET)
        arrived.then(**keep)
        return arrived

    def reopen(self, payload: dict[str, Any] | None) -> tuple[Any, ...]:
        """A file was opened: show its run, or say in one sentence why not."""
        try:
            run = read_run_file(Path((payload or {}).get("path") or ""))
            said = encode({"text": "The run is open here and in the Routing tab."})
            return *recorded.views(run, "reopened"), said, gr.Tabs(selected="routing")
        except RunError as error:
            return *skip(4), encode({"text": sentence(error), "kind": "error"}), gr.skip()

    def play(self, event: gr.EventData) -> tuple[Any, ...]:
        """A recorded run was chosen."""
        data = getattr(event, "_data", None)
        index = data.get("index") if isinstance(data, dict) else None
        if not isinstance(index, int) or not 0 <= index < len(self.shipped):
            return skip(5)
        return self._shipped(index)

    def arrive(self, request: gr.Request) -> tuple[Any, ...]:
        """The page was opened: do what its link says; without one, show a recorded run while loading."""
        query = dict(request.query_params)
        link = read_link(query, self.examples)
        if not any(name in query for name in NAMES):
            late = self.handle.loading and self.shipped
            return *skip(7), *(self._shipped(0) if late else skip(5))
        picture = gr.skip() if link.example is None else str(self.examples[link.example].image)
        note = gr.skip() if link.example is None else encode({})
        about = task_shown(link.task, link.question) if link.task else skip(3)
        spec = self.ablation.given(link.ablation) if link.ablation else skip(2)
        message = encode({"text": link.said, "kind": "error"}) if link.said else gr.skip()
        return picture, note, *about, *spec, *skip(4), message

    def _shipped(self, index: int) -> tuple[Any, ...]:
        path, _ = self.shipped[index]
        try:
            return *recorded.views(read_run_file(path), "recorded"), encode({})
        except RunError as error:
            return *skip(4), encode({"text": sentence(error), "kind": "error"})


def is_recorded(answer: str | None) -> bool:
    """Whether the answer view shows a run that was not made now, so that it should stay."""
    return bool(decode(answer).get("origin"))
