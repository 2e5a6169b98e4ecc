"""Which experts are chosen for an ablation: the text of the spec and the chips that show it, kept in step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeGuard

from smola_demo.ablation_spec import ALL, BLOCKS, AblationError, AblationSpec, Term, check_names
from smola_demo.config import GROUPS
from smola_demo.plots.palette import scales
from smola_demo.ui.loading import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.results import EngineInfo

KINDS = (
    ("zero", "Remove", "The expert's output is left out; the others keep their weights."),
    (
        "renormalize",
        "Remove and re-weight",
        "The output is left out and the others of its group are re-weighted to sum to 1.",
    ),
    ("mean", "Replace by its mean", "The output is replaced by its mean over the prompt's tokens."),
)
MOST = 10_000  # above any number of experts or layers
BEYOND = "This text says more than the chips can show. It holds; pressing a chip writes it anew."


def picker_value(info: EngineInfo | None, text: str | None) -> dict[str, Any]:
    """Value of the picker view: what there is to choose and what a spec's text has chosen.

    `note` is empty, says that the chips cannot show all of the text, or what is wrong with it.
    """
    groups = info.groups if info else ()
    value: dict[str, Any] = {
        "groups": list(groups),
        "experts": info.num_experts if info else 0,
        "layers": list(info.layers) if info else [],
        "where": [*BLOCKS, *(info.projections if info else ())],
        "kinds": KINDS,
        "colours": scales(groups)["colour"],
        "spec": (text or "").strip(),
        "picked": {group: [] for group in groups},
        "first": None,
        "last": None,
        "at": [],
        "kind": "zero",
        "note": "",
    }
    if info is None or not groups:
        value["note"] = "No mixture of experts is loaded, so there is none to take out." if info else ""
        return value
    try:
        return value | _chosen(info, AblationSpec.parse(text))
    except AblationError as error:
        return value | {"note": sentence(error), "wrong": True}


def _chosen(info: EngineInfo, spec: AblationSpec) -> dict[str, Any]:
    check_names(spec, info.groups, info.num_experts, info.layers, info.projections)
    picked = {group: set[int]() for group in info.groups}
    for term in spec.terms:
        for group in info.groups if term.group == ALL else [term.group]:
            picked[group] |= set(range(info.num_experts) if term.experts is None else term.experts)
    layers, where = _shared(spec.terms)
    one_run = layers is None or list(layers) == [n for n in info.layers if layers[0] <= n <= layers[-1]]
    simple = one_run and len({(term.layers, term.where) for term in spec.terms}) <= 1
    return {
        "picked": {group: sorted(experts) for group, experts in picked.items()},
        "first": layers[0] if layers and one_run else None,
        "last": layers[-1] if layers and one_run else None,
        "at": list(where or ()),
        "kind": spec.kind,
        "note": "" if simple else BEYOND,
    }


def _shared(terms: Sequence[Term]) -> tuple[tuple[int, ...] | None, tuple[str, ...] | None]:
    """Layers and projections of all terms, None for all of them or when terms differ."""
    found = {(term.layers, term.where) for term in terms}
    return next(iter(found)) if len(found) == 1 else (None, None)


def picked_expert(data: Any) -> str | None:
    """Spec of an expert of an atlas card or the explorer, in one layer if the page names one.

    None for what can be none. Whether the loaded model has it, the chips tell: the run that is shown may be
    another model's, or stand there before any is loaded.
    """
    if not isinstance(data, dict):
        return None
    group, expert, layer = data.get("group"), data.get("expert"), data.get("layer")
    if group not in GROUPS or not _number(expert) or not (layer is None or _number(layer)):
        return None
    return f"{group}:{expert}" if layer is None else cell_spec(group, expert, str(layer))


def _number(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < MOST


def picked_cell(data: Any, info: EngineInfo | None) -> tuple[str, int, str] | None:
    """(group, expert, layer) of a click on the map, or None when the page sent what is not there."""
    if info is None or not isinstance(data, dict):
        return None
    group, expert, layer = data.get("group"), data.get("expert"), str(data.get("layer", ""))
    if group not in info.groups or type(expert) is not int or not 0 <= expert < info.num_experts:
        return None
    named = re.fullmatch(r"(\d+)(?:-(\d+))?", layer)
    if not named or not all(int(n) in info.layers for n in named.groups() if n):
        return None
    return group, expert, layer


def cell_spec(group: str, expert: int, layer: str) -> str:
    """The text form of taking one expert out of one layer, or of a range of them."""
    return f"{group}:{expert}@{layer}"
