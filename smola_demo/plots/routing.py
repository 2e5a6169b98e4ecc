"""The layer by expert map: what the page draws while the model answers, with all it needs to switch views.

Axes: G groups, L layers, E experts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo.plots.palette import scales

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CELLS = 5000
NEARLY_EVEN = 1.3
IDLE = "These experts are routed to but contribute nothing: their output is zero, as before training."

ROW_PX, HEAD_PX, LEGEND_HEAD_PX, LEGEND_PX, FOOT_PX = 17, 26, 46, 24, 34


def shares(contribution: np.ndarray) -> np.ndarray:
    """(G, L, E) norms → each expert's share of its group's sum in that layer; NaN where none contributes."""
    total = contribution.sum(-1, keepdims=True)
    return np.divide(contribution, total, out=np.full_like(contribution, np.nan), where=total > 0)


def pool_layers(
    values: np.ndarray, layers: Sequence[int], cells: int = MAX_CELLS
) -> tuple[np.ndarray, list[str]]:
    """(G, L, E) → (G, L', E) of at most `cells` numbers, neighbouring layers averaged; the columns' names."""
    groups, count, experts = values.shape
    step = max(1, math.ceil(groups * count * experts / cells))
    while groups * math.ceil(count / step) * experts > cells and step < count:
        step += 1
    starts = range(0, count, step)
    pooled = np.stack([values[:, i : i + step].mean(1) for i in starts], axis=1)
    spans = [(layers[i], layers[min(i + step, count) - 1]) for i in starts]
    return pooled, [str(a) if a == b else f"{a}-{b}" for a, b in spans]


def frame(weight: np.ndarray, contribution: np.ndarray, note: str) -> dict[str, Any]:
    """One phase of the map as lists: weight, share and norm of the contribution; which groups had tokens."""
    return {
        "weight": _lists(weight, 4),
        "share": _lists(shares(contribution), 4),
        "norm": _lists(contribution, 4),
        "served": [bool(np.nan_to_num(w).any()) for w in weight],
        "note": note,
    }


def routing_view(
    groups: Sequence[str], layers: Sequence[int], experts: int, frames: dict[str, Any]
) -> dict[str, Any]:
    """All the page needs to draw the map and switch its views.

    frames  "prompt" and "answer", each (weight, contribution, note), arrays (G, L, E); either may be missing
    """
    drawn: dict[str, Any] = {}
    names = [str(layer) for layer in layers]
    for phase, (weight, contribution, note) in frames.items():
        pooled, names = pool_layers(weight, layers)
        drawn[phase] = frame(pooled, pool_layers(contribution, layers)[0], note)
    uniform = 1 / experts if experts else 0.0
    return {
        "groups": list(groups),
        "layers": names,
        "experts": experts,
        "uniform": uniform,
        "frames": drawn,
        "range": {m: _top(drawn, m, uniform) for m in ("weight", "share")},
        "reach": {m: _reach(drawn, m, uniform) for m in ("weight", "share")},
        "titles": titles(layers, names),
        "notice": IDLE if frames and not any(np.nansum(c) for _, c, _ in frames.values()) else "",
        "summary": summary(groups, names, uniform, drawn),
        "scales": scales(groups),
        "figure": _skeleton(groups, names, experts),
    }


class RunningRouting:
    """The map of one answer while it is written: the prompt, and the mean over the answer tokens so far."""

    def __init__(self, groups: Sequence[str], layers: Sequence[int], experts: int) -> None:
        self._axes = (tuple(groups), tuple(layers), experts)
        self._frames: dict[str, tuple[np.ndarray, np.ndarray, str]] = {}
        self._read = 0

    def add(self, phase: str, weight: np.ndarray | None, contribution: np.ndarray | None) -> None:
        """Take in one step, arrays (G, L, E); a step without routing changes nothing."""
        if weight is None or contribution is None or not weight.size:
            return
        if phase == "prompt":
            self._frames["prompt"] = (weight, contribution, "prompt")
            return
        self._read += 1
        before = self._frames.get("answer", (np.zeros_like(weight), np.zeros_like(contribution), ""))
        mean = [
            old + (new - old) / self._read
            for old, new in zip(before[:2], (weight, contribution), strict=True)
        ]
        note = "answer, 1 token" if self._read == 1 else f"answer, mean of {self._read} tokens"
        self._frames["answer"] = (mean[0], mean[1], note)

    def view(self) -> dict[str, Any]:
        """The map so far, see `routing_view`."""
        return routing_view(*self._axes, self._frames)


def titles(layers: Sequence[int], names: Sequence[str]) -> dict[str, str]:
    """What is drawn, for each of the four views: measure, normalisation and layer set."""
    where = (
        f"layers {layers[0]} to {layers[-1]}"
        if len(layers) > 1
        else f"layer {layers[0]}"
        if layers
        else "no layers"
    )
    if len(names) < len(layers):
        where += ", neighbours averaged"
    mean = f"{where}, mean over projections and tokens"
    return {
        "weight/value": f"Routing weight: a group's experts sum to 1 per token. {mean.capitalize()}.",
        "weight/difference": f"Routing weight minus uniform: 0 means an even share. {mean.capitalize()}.",
        "share/value": "Contribution, the length of what an expert adds: share of its group's sum in the "
        f"layer. {mean.capitalize()}.",
        "share/difference": f"Share in group minus uniform: 0 means an even share. {mean.capitalize()}.",
    }


def summary(groups: Sequence[str], layers: Sequence[str], uniform: float, frames: dict[str, Any]) -> str:
    """One sentence: the largest weight of the served groups, where it is, against an even share; or empty."""
    best: tuple[float, str] | None = None
    for phase, drawn in frames.items():
        for g, group in enumerate(groups):
            values = np.array(drawn["weight"][g], float)
            if not drawn["served"][g] or not np.isfinite(values).any():
                continue
            layer, expert = divmod(int(np.nanargmax(values)), values.shape[1])
            top = float(values[layer, expert])
            where = f"{group} expert {expert} in layer {layers[layer]} ({phase}): {top:.3f}"
            if best is None or top > best[0]:
                best = (top, where)
    if best is None:
        return ""
    said = f"Largest weight: {best[1]}, {best[0] / uniform:.2f} times an even share of {uniform:.3f}."
    if best[0] < NEARLY_EVEN * uniform:
        said += " All shares are nearly even: choose Minus uniform to see the small differences."
    return said


def _skeleton(groups: Sequence[str], layers: Sequence[str], experts: int) -> dict[str, Any]:
    """The figure without values: a panel per group, layers across, experts down, and the colour bar below."""
    rows, last = max(experts, 1), len(groups)
    heads = [HEAD_PX] * last + [LEGEND_HEAD_PX]
    heights = [rows * ROW_PX] * last + [LEGEND_PX]
    total = sum(heads) + sum(heights)
    layout: dict[str, Any] = {
        "height": total + FOOT_PX,
        "margin": {"l": 22, "r": 16, "t": 0, "b": FOOT_PX},
        "showlegend": False,
        "annotations": [],
    }
    data, top = [], 0
    for i, (head, height) in enumerate(zip(heads, heights, strict=True)):
        top += head
        domain = [max(0.0, 1 - (top + height) / total), 1 - top / total]
        top += height
        axis, legend = "" if i == 0 else str(i + 1), i == last
        layout[f"xaxis{axis}"] = (
            _legend_axis(axis) if legend else _layer_axis(axis, layers, labelled=i == last - 1)
        )
        layout[f"yaxis{axis}"] = _row_axis(axis, domain, rows, last, legend=legend)
        heat = {"type": "heatmap", "xaxis": f"x{axis}", "yaxis": f"y{axis}", "showscale": False}
        if legend:
            data.append({**heat, "name": "colour bar", "ygap": 2, "hoverinfo": "skip"})
            continue
        layout["annotations"].append({"x": 0, "y": domain[1], "text": f"{groups[i]} experts"})
        hover = (
            f"<b>{groups[i]} expert %{{y}}</b>, layer %{{customdata[0]}}<br>weight %{{customdata[1]}}"
            "<br>share in group %{customdata[2]}<br>contribution norm %{customdata[3]}<extra></extra>"
        )
        cells = {
            "x": list(range(len(layers))),
            "y": list(range(rows)),
            "xgap": 1,
            "ygap": 1,
            "hoverongaps": False,
        }
        data.append({**heat, **cells, "name": groups[i], "hovertemplate": hover})
    return {"data": data, "layout": layout}


def _legend_axis(axis: str) -> dict[str, Any]:
    return {
        "anchor": f"y{axis}",
        "fixedrange": True,
        "zeroline": False,
        "showgrid": False,
        "ticks": "outside",
        "ticklen": 4,
    }


def _layer_axis(axis: str, layers: Sequence[str], *, labelled: bool) -> dict[str, Any]:
    """Columns are numbered 0, 1, …; the labels carry the layers' names. All panels zoom together."""
    at = list(range(0, len(layers), max(1, round(len(layers) / 6))))
    found: dict[str, Any] = {
        "anchor": f"y{axis}",
        "range": [-0.5, len(layers) - 0.5],
        "zeroline": False,
        "showgrid": False,
        "tickvals": at,
        "ticktext": [layers[i] for i in at],
        "showticklabels": labelled,
    }
    if labelled:
        found["title"] = {"text": "layer", "standoff": 2}
    return found if not axis else {**found, "matches": "x"}


def _row_axis(axis: str, domain: list[float], rows: int, groups: int, *, legend: bool) -> dict[str, Any]:
    plain = {"domain": domain, "anchor": f"x{axis}", "zeroline": False, "showgrid": False, "fixedrange": True}
    if legend:
        return {**plain, "range": [groups - 0.5, -0.5], "showticklabels": False}
    return {
        **plain,
        "range": [rows - 0.5, -0.5],
        "tickvals": list(range(0, rows, max(1, math.ceil(rows / 8)))),
    }


def _lists(values: np.ndarray, digits: int) -> list[Any]:
    """Nested lists with few digits; what is not a number becomes None, which Plotly leaves blank."""
    rounded = np.round(np.asarray(values, float), digits).astype(object)
    rounded[~np.isfinite(values)] = None
    return rounded.tolist()


def _largest(frames: dict[str, Any], measure: str) -> np.ndarray:
    found = [np.array(f[measure], float).ravel() for f in frames.values()]
    values = np.concatenate(found) if found else np.zeros(0)
    return values[np.isfinite(values)]


def _top(frames: dict[str, Any], measure: str, uniform: float) -> float:
    """Upper end of the colour scale: twice an even share, so that even is its middle, or more if needed."""
    values = _largest(frames, measure)
    top = float(values.max()) if values.size else 0.0
    return min(1.0, max(2 * uniform, math.ceil(top * 20) / 20)) or 1.0


def _reach(frames: dict[str, Any], measure: str, uniform: float) -> float:
    """Half width of the difference scale: the largest distance from uniform of a served group, rounded up."""
    far = 0.0
    for drawn in frames.values():
        for values, served in zip(drawn[measure], drawn["served"], strict=True):
            if served:
                far = max(far, float(np.nanmax(np.abs(np.array(values, float) - uniform), initial=0.0)))
    if far <= 0:
        return 0.01
    digit = 10.0 ** math.floor(math.log10(far))
    return max(0.01, math.ceil(far / digit) * digit)
