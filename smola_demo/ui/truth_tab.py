"""The tab "Is it true?": what the experts gain and whether the maps mean anything. Made offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smola_demo.config import GROUPS
from smola_demo.plots.palette import scales
from smola_demo.ui.truth import truth_value
from smola_demo.ui.view import encode, view
from smola_demo.ui.wiring import QUIET

if TYPE_CHECKING:
    from smola_demo.ui.loading import EngineHandle

# In this order: later ones use what earlier ones define.
SCRIPTS = ("explorer-state.js", "saves.js", "explorer-figure.js", "offline.js", "truth-plots.js")


class TruthTab:
    """The tab's one view. Call `layout` inside its gr.Tab, then `wire`."""

    def __init__(self, handle: EngineHandle) -> None:
        self.handle = handle

    def layout(self) -> None:
        """Place the view."""
        self.view: Any = view(
            "truth",
            {"state": "loading"},
            label="Is it true?",
            elem_id="truth",
            scripts=SCRIPTS,
            facts={"scales": scales(GROUPS)},
        )

    def wire(self) -> None:
        """Connect events to handlers."""
        self.view.expand(self.opened, None, self.view, queue=False, **QUIET)

    def opened(self) -> str:
        """The tab is seen for the first time: all there is to show."""
        return encode(truth_value(self.handle.info))

    def loaded(self) -> tuple[str]:
        """The engine is there, or will not come: the browser may ask."""
        if self.handle.error:
            return (encode(truth_value(None) | {"message": self.handle.error}),)
        # The browser asks for the rest when the tab is seen, once for each engine.
        return (encode({"state": "ask", "engine": self.handle.loads}),)
