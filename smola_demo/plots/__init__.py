"""Arrays and labels in, Plotly figures out, as plain dicts for JSON; the browser only shows and switches.

Knows numpy and nothing else: no torch, no gradio, no file. Colours that depend on light or dark are given for
both and chosen in the browser.
"""

from __future__ import annotations

from smola_demo.plots.effects import divergence_figure
from smola_demo.plots.palette import GROUP_COLOURS, scales
from smola_demo.plots.routing import RunningRouting, routing_view

__all__ = ["GROUP_COLOURS", "RunningRouting", "divergence_figure", "routing_view", "scales"]
