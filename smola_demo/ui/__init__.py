"""The web page: `build` makes it from a handle on the engine, `launch_kwargs` is what launching takes.

page          header, loading line, tabs, footer
ask_tab       first tab: ask, watch, take an expert out; ask_handlers is what its buttons do
atlas_tab, truth_tab    last two tabs, of results made offline; shipped reads their files
view          parts that draw themselves in the browser, from files in static/
answer, comparison, examples    values for those parts: pure functions
model_tab     what is loaded and what else can be; model_handlers changes it, models is how it is told
api           endpoints for programs and MCP clients
share         runs kept, exported and reopened; recorded: runs made before; links: what a link restores
loading       the engine while it loads, and Stop
theme         looks
"""

from __future__ import annotations

from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.page import build
from smola_demo.ui.theme import launch_kwargs

__all__ = ["EngineHandle", "build", "launch_kwargs"]
