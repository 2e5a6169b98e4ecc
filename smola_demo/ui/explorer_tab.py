"""Second tab: every picture of one finished run's routing, drawn in the browser from the run itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from smola_demo.config import GROUPS
from smola_demo.plots.palette import scales
from smola_demo.ui.asked import TASK_NAMES
from smola_demo.ui.view import view
from smola_demo.ui.wiring import EACH, QUIET

if TYPE_CHECKING:
    from smola_demo.ui.ablate_tab import AblateTab
    from smola_demo.ui.ask_tab import AskTab

# In this order: later ones use what earlier ones define.
FIGURES = ("heat", "map", "tokens", "groups", "entropy", "words", "patches", "overlay", "served", "anatomy")
SCRIPTS = ("saves.js", *(f"explorer-{name}.js" for name in ("data", "state", "figure", *FIGURES)))


class ExplorerTab:
    """The tab's one view. Its value is a recorded run (see runs), or {} before there is one."""

    def layout(self) -> None:
        """Place the view."""
        self.view: Any = view(
            "explorer",
            {},
            label="Explorer",
            elem_id="explorer",
            scripts=SCRIPTS,
            facts={"scales": scales(GROUPS), "tasks": TASK_NAMES},
        )

    def wire(self, ask: AskTab, ablate: AblateTab, tabs: gr.Tabs) -> None:
        """Connect the view: the answer's words open here, an expert to take out goes to the Ablate tab."""
        ask.answer.select(self.open, None, tabs, queue=False, **QUIET)
        self.view.select(
            ablate.handlers.take_out, None, [ablate.spec, ablate.picker, tabs], queue=False, **EACH
        )

    def open(self) -> gr.Tabs:
        """Show this tab."""
        return gr.Tabs(selected="routing")
