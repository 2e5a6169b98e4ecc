"""The web page: `build` makes it from a handle on the engine, `launch_kwargs` is what launching takes.

page          header, loading line, tabs, footer
ask_tab       ask about a picture and watch the experts; ask_handlers is what its buttons do
explorer_tab  Routing: every picture of one finished run, drawn from the run itself
ablate_tab    take experts out (picker), compare, rank (ranking); ablate_handlers and rank_handlers
compare_tab   two runs side by side (contrast); compare_handlers is what its buttons do
atlas_tab, truth_tab    of results made offline; atlas, truth, truth_checks: values; shipped reads their files
view          parts that draw themselves in the browser, from files in static/
answer, asked, comparison, examples    values for those parts: pure functions
model_tab     what is loaded and what else can be; model_handlers changes it, models is how it is told
model_runs    what the handlers of every tab that runs the model share; wiring connects their buttons
api           endpoints for programs and MCP clients
share         runs kept, exported and reopened; recorded: runs made before; links: what a link restores
loading       the engine while it loads · stops: one run a visitor, which Stop ends
theme         looks
"""

from __future__ import annotations

from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.page import build
from smola_demo.ui.theme import launch_kwargs

__all__ = ["EngineHandle", "build", "launch_kwargs"]
