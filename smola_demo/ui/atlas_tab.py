"""The Atlas tab: what each expert does over many pictures, from a file made offline. Drawn in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smola_demo.config import GROUPS
from smola_demo.plots.palette import scales
from smola_demo.ui.atlas import atlas_value
from smola_demo.ui.view import encode, view
from smola_demo.ui.wiring import EACH, QUIET

if TYPE_CHECKING:
    import gradio as gr

    from smola_demo.ui.ablate_tab import AblateTab
    from smola_demo.ui.loading import EngineHandle

# In this order: later ones use what earlier ones define.
SCRIPTS = (
    "explorer-state.js",
    "saves.js",
    "explorer-figure.js",
    "offline.js",
    "atlas-plot.js",
    "atlas-cards.js",
    "atlas-table.js",
)


class AtlasTab:
    """The tab's one view. Call `layout` inside its gr.Tab, then `wire`."""

    def __init__(self, handle: EngineHandle) -> None:
        self.handle = handle

    def layout(self) -> None:
        """Place the view."""
        self.view: Any = view(
            "atlas",
            {"state": "loading"},
            label="Atlas",
            elem_id="atlas",
            scripts=SCRIPTS,
            facts={"scales": scales(GROUPS)},
        )

    def wire(self, ablate: AblateTab, tabs: gr.Tabs) -> None:
        """Connect events to handlers; an expert that is to be taken out goes to the Ablate tab."""
        self.view.expand(self.opened, None, self.view, queue=False, **QUIET)
        chosen = [ablate.spec, ablate.picker, tabs]
        self.view.select(ablate.handlers.take_out, None, chosen, queue=False, **EACH)

    def opened(self) -> str:
        """The tab is seen for the first time: all there is to show."""
        return encode(atlas_value(self.handle.info))

    def loaded(self) -> tuple[str]:
        """The engine is there, or will not come: the browser may ask."""
        if self.handle.error:
            return (encode(atlas_value(None) | {"message": self.handle.error}),)
        # The browser asks for the rest when the tab is seen, once for each engine.
        return (encode({"state": "ask", "engine": self.handle.loads}),)
