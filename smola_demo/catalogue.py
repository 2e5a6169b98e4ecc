"""What can be loaded here, told before it is: licence, size, fit, and the experts made for it.

Reads configs and names; touches no weights until it is asked to load some.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from smola_demo.adapter import AdapterError
from smola_demo.backbone import EMBEDDED, BackboneError
from smola_demo.backbone.connector import base_folder, revision_of
from smola_demo.backbone.counts import FitError, count
from smola_demo.backbone.families import FAMILIES
from smola_demo.backbone.fit import choose_fit, free_bytes, known, known_config, known_models, plans
from smola_demo.backbone.footprint import estimate
from smola_demo.backbone.hub import Source, allowed_ids, find, licence, offered_experts, revision
from smola_demo.backbone.pretrained import family_for, source_config
from smola_demo.backbone.quantization import pick_device
from smola_demo.engine import Engine
from smola_demo.experts import (
    BASE,
    CHECKPOINTS,
    DEFAULT_EXPERTS,
    UNTRAINED,
    ExpertsError,
    checkpoint_names,
    facts_of,
    find_experts,
)
from smola_demo.results import OfferedExperts, OfferedModel

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = (OfferedExperts("none", "none"), OfferedExperts(UNTRAINED, "untrained"))


class Catalogue:
    """The backbones and experts on offer.

    started  backbone and experts that the page was started with; they are always offered
    local    the page is for the person at this machine only, who may name any folder or hub id

    SMOLA_BACKBONES narrows the offer down to its list. Where it is unset and the page is not local, what it
    was started with is all there is. SMOLA_EXPERTS adds experts of the hub, to the backbone of each.
    """

    def __init__(self, backbone: str = EMBEDDED, experts: str = "", local: bool = False) -> None:
        self._started = backbone, experts
        self._local = local

    @property
    def open(self) -> bool:
        """Whether ids and folders beyond `choices` are taken."""
        return self._local and not allowed_ids()

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """(name, id) of each backbone on offer."""
        names = {known.id: known.name for known in known_models() if _served(known.config, known.id)}
        started, _ = self._started
        ids = allowed_ids() or ((*names, started) if self._local else (started,))
        return tuple((names.get(name, name), name) for name in dict.fromkeys(ids))

    def model(self, id: str, precision: str = "auto", freed: int = 0) -> OfferedModel:
        """A backbone's facts; `freed` bytes are free on top once what is loaded has gone.

        Raises BackboneError for one that is not offered, not there or of no known family, and PrecisionError.
        """
        return self._facts(_id_of(id), precision, freed)

    def _facts(self, id: str, precision: str, freed: int) -> OfferedModel:
        self._check_offered(id)
        name, terms, config, weights = _described(id)
        device = pick_device()
        tried = plans(device, precision)
        experts = self._experts(id, weights)
        try:
            counts = count(config)
        except (FitError, AdapterError):
            said = "Its size cannot be told before it is loaded"
            return OfferedModel(id, name, terms, 0, 0, tried[0].compute, True, said, experts)
        plan, fits = tried[-1], True
        try:
            fit = choose_fit(counts, free_bytes(device) + freed, tried, name=name)
            plan, said = fit.plan, fit.sentence
        except FitError as error:
            fits, said = False, str(error)
        size = estimate(counts, plan, counts.pictures[0]).weights
        return OfferedModel(id, name, terms, counts.parameters, size, plan.compute, fits, said, experts)

    def check(self, id: str, experts: str = "", precision: str = "auto", freed: int = 0) -> None:
        """Raise what can be known to go wrong before anything is loaded: BackboneError, ExpertsError."""
        offered = self.model(id, precision, freed)
        names = [made.name for made in offered.experts]
        if experts and experts not in names:
            raise ExpertsError(f"no experts '{experts}' for '{id}': there are {', '.join(names)}")
        if not offered.fits:
            raise FitError(offered.fit)

    def load(
        self, id: str, experts: str, precision: str, progress: Callable[[int, int, str], None]
    ) -> Engine:
        """The engine, after what nobody holds any more was given back. Raises as `Engine.load` does."""
        known_id = _id_of(id)
        self._check_offered(known_id)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return Engine.load(known_id, experts, precision, progress=progress)

    def _check_offered(self, id: str) -> None:
        ids = [offered for _, offered in self.choices]
        if not self.open and id not in ids:
            raise BackboneError(f"the backbone '{id}' may not be loaded here: choose {', '.join(ids)}")

    def _experts(self, id: str, weights: str) -> tuple[OfferedExperts, ...]:
        """Those made for these weights, the backbone's own first; then none and untrained ones."""
        names = checkpoint_names(id)
        backbone, experts = self._started
        if id == backbone and experts and experts not in (*names, *(plain.name for plain in PLAIN)):
            names.append(experts)  # a folder, named on the command line
        names += [name for name in offered_experts() if name not in names and _base_of(name) == id]
        made = [_read(name) for name in sorted(names, key=lambda name: name != DEFAULT_EXPERTS.get(id))]
        return (*(found for found, base in made if not weights or base == weights), *PLAIN)


def _id_of(name: str) -> str:
    """The id of a known model's name; anything else is an id or a folder."""
    try:
        return known(name).id
    except KeyError:
        return name


def _served(config: dict[str, Any], id: str) -> bool:
    return id == EMBEDDED or config["model_type"] in FAMILIES


def _described(id: str) -> tuple[str, str, Any, str]:
    """(name, licence, config, revision) of a backbone; the revision of a hub's model only where it was asked.

    Raises BackboneError.
    """
    try:
        model = known(id)
    except KeyError:
        source = find(id)
        family = family_for(source)
        name = id.rstrip("/").rsplit("/", 1)[-1]
        return name, licence(source, family.licence_note), source_config(source), revision(source)
    if id != EMBEDDED:
        family_for(Source(id, model.config, Path()))
    return model.name, model.licence, known_config(id), revision_of(base_folder()) if id == EMBEDDED else ""


def _base_of(experts: str) -> str:
    """The backbone that experts of the hub were made for; empty where they cannot be had."""
    try:
        return str(facts_of(find_experts(experts) or CHECKPOINTS).get(BASE))
    except (AdapterError, BackboneError, ExpertsError):
        return ""


def _read(name: str) -> tuple[OfferedExperts, str]:
    """Experts that come with the project or lie in a folder, and the revision they were made for."""
    folder = find_experts(name) or CHECKPOINTS
    facts = facts_of(folder)
    steps = int(facts.get("steps") or 0)
    state = "trained" if steps else "untrained"
    return OfferedExperts(name, state, steps), str(facts.get("revision"))
