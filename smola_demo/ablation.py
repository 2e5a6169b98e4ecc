"""Which experts to take out of one call, as masks on a model; `ablation_spec` has their text form.

A spec is data of one call, resolved to masks per batch row: K ablations of one prompt run as one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from smola_demo.ablation_spec import ALL, BLOCKS, KINDS, AblationError, AblationSpec, Term, check_names
from smola_demo.context import Removal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from smola_demo.adapter import Site
    from smola_demo.config import SmolaConfig

__all__ = ["KINDS", "AblationError", "AblationSpec", "Resolved", "Term", "resolve"]


@dataclass(frozen=True)
class Resolved:
    """Masks for a batch of specs: `removals` for TokenContext, and how many linears each row touches."""

    removals: dict[nn.Module, Removal]
    modules_touched: tuple[int, ...]


def resolve(specs: Sequence[AblationSpec], config: SmolaConfig, sites: Sequence[Site]) -> Resolved:
    """Masks of a batch, one spec per row; empty specs leave their row whole.

    Raises AblationError when a spec names a group, expert, layer or projection that is not there, or touches
    nothing.
    """
    touched = [0] * len(specs)
    removals: dict[nn.Module, Removal] = {}
    layers, projections = ({site.layer for site in sites}, {site.projection for site in sites})
    for spec in specs:
        check_names(spec, config.groups, config.num_experts, layers, projections)
    renormalize = torch.tensor([spec.kind == "renormalize" for spec in specs])
    mean = torch.tensor([spec.kind == "mean" for spec in specs])
    any_mean = bool(mean.any())
    for site in sites:
        keep = torch.ones(len(specs), len(config.groups), config.num_experts, dtype=torch.bool)
        for row, spec in enumerate(specs):
            for term in spec.terms:
                if _applies(term, site):
                    experts = slice(None) if term.experts is None else list(term.experts)
                    for g, group in enumerate(config.groups):
                        if term.group in (group, ALL):
                            keep[row, g, experts] = False
            touched[row] += not bool(keep[row].all())
        if not bool(keep.all()):
            mixture = site.linear.mixture
            device = mixture.experts.A.device
            masks = keep.to(device), renormalize.to(device), mean.to(device)
            removals[mixture] = Removal(*masks, any_mean=any_mean)
    for spec, count in zip(specs, touched, strict=True):
        if spec and not count:
            raise AblationError(
                f"'{spec}' touches no module: those layers carry no experts on that projection"
            )
    return Resolved(removals, tuple(touched))


def _applies(term: Term, site: Site) -> bool:
    in_layer = term.layers is None or site.layer in term.layers
    return in_layer and (term.where is None or any(_is_at(site, name) for name in term.where))


def _is_at(site: Site, name: str) -> bool:
    if name in BLOCKS:
        return any(word in site.path.rsplit(".", 1)[0].rsplit(".", 1)[-1] for word in BLOCKS[name])
    return site.projection == name
