"""Trained experts on disk: which ones come with the project, and whether they fit a backbone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smola_demo.adapter import AdapterError, attach
from smola_demo.adapter_files import CONFIG_NAME, WEIGHTS_NAME, check_size, load_weights, read_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone
    from smola_demo.config import SmolaConfig

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT_EXPERTS = {"embedded": "embedded-omni"}


class ExpertsError(ValueError):
    """Experts that do not exist or do not fit; one sentence says which would."""


def attach_experts(backbone: Backbone, folder: Path) -> tuple[Adapter, dict[str, Any]]:
    """Put the experts of a folder on a backbone; returns them and their facts, with their file's sha256.

    Raises AdapterError for damaged files and ExpertsError for experts of another backbone or revision.
    """
    config, facts = read_config(folder)
    _check_base(facts, backbone, folder)
    targets = backbone.target_linears(config.target_modules)
    check_size(folder, _numbers(config, [backbone.model.get_submodule(path) for path in targets]))
    adapter = attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)
    try:
        load_weights(adapter, folder)
    except AdapterError:
        adapter.detach()
        raise
    with (folder / WEIGHTS_NAME).open("rb") as file:
        return adapter, {**facts, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def find_experts(experts: str) -> Path | None:
    """Folder of experts by name or path; None for "none". Raises ExpertsError naming what there is."""
    if experts == "none":
        return None
    named = CHECKPOINTS / experts
    if experts in checkpoint_names():
        return named
    folder = Path(experts)
    if (folder / CONFIG_NAME).is_file():
        return folder
    known = ", ".join([*checkpoint_names(), "none"])
    raise ExpertsError(
        f"no experts '{experts}': there are {known}, or give the path of a folder with {CONFIG_NAME}"
    )


def checkpoint_names() -> list[str]:
    """Names of the experts that come with the project."""
    return sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{CONFIG_NAME}"))


def _numbers(config: SmolaConfig, linears: Sequence[Any]) -> int:
    """How many numbers these experts have at least: a config may claim any sizes."""
    experts = len(config.groups) * config.num_experts
    layers = [linears[0]] if config.layers else linears
    ranks = sum(config.rank * (linear.in_features + linear.out_features) for linear in layers)
    return experts * (ranks + config.num_slots * linears[0].in_features)


def _check_base(facts: dict[str, Any], backbone: Backbone, folder: Path) -> None:
    """Experts are only good on the weights they were trained on."""
    base, revision = facts.get("base_model_name_or_path"), facts.get("revision")
    if base != backbone.id:
        raise ExpertsError(
            f"the experts in {folder} were made for the backbone '{base}', not for '{backbone.id}'"
        )
    if revision != backbone.revision:
        raise ExpertsError(
            f"the experts in {folder} were made for revision {revision} of '{base}', "
            f"this is {backbone.revision}: train them again"
        )
