"""Pictures of what taking experts out does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def divergence_figure(layers: Sequence[int], values: Sequence[float]) -> dict[str, Any]:
    """A small line: how far the remaining routing moved in each layer, Jensen-Shannon divergence in nats."""
    known = [float(f"{v:.5g}") if math.isfinite(v) else None for v in values]
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(layers),
        "y": known,
        "line": {"width": 2},
        "marker": {"size": 4},
        "hovertemplate": "layer %{x}<br>%{y:.5f} nats<extra></extra>",
    }
    layout = {
        "height": 190,
        "margin": {"l": 72, "r": 12, "t": 8, "b": 40},
        "xaxis": {"title": {"text": "layer"}, "fixedrange": True, "zeroline": False},
        "yaxis": {
            "title": {"text": "nats"},
            "range": [0, 1.1 * max([1e-6, *filter(None, known)])],
            "fixedrange": True,
            "nticks": 5,
            "exponentformat": "power",
        },
        "showlegend": False,
    }
    return {"data": [line], "layout": layout}
