"""Colours of the page, for light and dark: a hue per group, a scale for below and above a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# One hue per group, everywhere on the page; blue, vermilion and green stay apart for colour-blind eyes.
GROUP_COLOURS: dict[str, dict[str, str]] = {
    "visual": {"light": "#0b6cb0", "dark": "#62b5f2"},
    "text": {"light": "#b34703", "dark": "#f39a5f"},
    "multimodal": {"light": "#0a7d5c", "dark": "#4bcba3"},
}
OTHER_COLOUR = {"light": "#55606e", "dark": "#a9b4c2"}

# From the page's ground to the deep end of the hue: lightness alone orders the values.
SEQUENTIAL: dict[str, dict[str, list[list[Any]]]] = {
    "visual": {
        "light": [[0, "#edf3f9"], [0.5, "#6ba8d8"], [1, "#05355c"]],
        "dark": [[0, "#131c27"], [0.5, "#2f73a8"], [1, "#c4e6ff"]],
    },
    "text": {
        "light": [[0, "#fbf1ea"], [0.5, "#e59561"], [1, "#642503"]],
        "dark": [[0, "#231a14"], [0.5, "#ab5e2b"], [1, "#ffdcc2"]],
    },
    "multimodal": {
        "light": [[0, "#eaf5f1"], [0.5, "#5fb597"], [1, "#03402e"]],
        "dark": [[0, "#11201b"], [0.5, "#2c8163"], [1, "#c2f5e2"]],
    },
}
# Below and above a reference: purple and amber, both readable with any colour vision, neither a group's hue.
DIVERGING: dict[str, list[list[Any]]] = {
    "light": [[0, "#4b2a86"], [0.25, "#a48fc9"], [0.5, "#f6f5f7"], [0.75, "#dcae4f"], [1, "#7a4b00"]],
    "dark": [[0, "#cbb8f5"], [0.25, "#7459ab"], [0.5, "#17191f"], [0.75, "#a5781f"], [1, "#ffdf9b"]],
}


def scales(groups: Sequence[str]) -> dict[str, Any]:
    """Colours and colour scales of the groups, for light and dark, in the form the page reads."""
    return {
        "colour": {g: GROUP_COLOURS.get(g, OTHER_COLOUR) for g in groups},
        "sequential": {g: SEQUENTIAL.get(g, SEQUENTIAL["visual"]) for g in groups},
        "diverging": DIVERGING,
    }
