"""Second tab: every picture of one finished run's routing, drawn in the browser from the run itself."""

from __future__ import annotations

from typing import Any

from smola_demo.config import GROUPS
from smola_demo.plots.palette import scales
from smola_demo.ui.view import view

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
            facts={"scales": scales(GROUPS)},
        )
