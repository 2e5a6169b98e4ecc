"""Trained experts on disk: which ones come with the project, and whether they fit a backbone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smola_demo.adapter import attach
from smola_demo.adapter_files import CONFIG_NAME, WEIGHTS_NAME, load_weights, read_config
from smola_demo.config import SmolaConfig
from smola_demo.lora import is_lora, load_lora, read_lora_facts

if TYPE_CHECKING:
    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone

BASE = "base_model_name_or_path"
CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT_EXPERTS = {"embedded": "embedded-omni"}
UNTRAINED = "untrained"  # experts that change nothing yet, on any backbone: to look around, or to train


class ExpertsError(ValueError):
    """Experts that do not exist or do not fit; one sentence says which would."""


def attach_experts(backbone: Backbone, folder: Path) -> tuple[Adapter | None, dict[str, Any]]:
    """Put the experts or the LoRA of a folder on a backbone.

    Returns the experts, None where a LoRA came alone, and their facts with the file's sha256. A LoRA that
    was trained over experts brings them along.

    Raises AdapterError for damaged files and ExpertsError for another backbone or revision.
    """
    with_lora = is_lora(folder)
    config, facts = (None, read_lora_facts(folder)) if with_lora else read_config(folder)
    _check_base(facts, backbone, folder)
    adapter = None
    if config is not None:
        targets = backbone.target_linears(config.target_modules)
        adapter = attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)
        load_weights(adapter, folder)
    else:
        if facts.get("experts"):
            adapter, _ = attach_experts(backbone, Path(facts["experts"]))
        load_lora(backbone.model, folder)
    with (folder / WEIGHTS_NAME).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return adapter, {**facts, "sha256": sha256, "lora": with_lora}


def attach_untrained(backbone: Backbone) -> Adapter:
    """Put untrained experts of the usual shape on a backbone."""
    config = SmolaConfig()
    targets = backbone.target_linears(config.target_modules)
    return attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)


def find_experts(experts: str) -> Path | None:
    """Folder of experts by name or path; None for "none" and "untrained".

    Raises ExpertsError naming what there is.
    """
    if experts in ("none", UNTRAINED):
        return None
    named = CHECKPOINTS / experts
    if experts in checkpoint_names():
        return named
    folder = Path(experts)
    if (folder / CONFIG_NAME).is_file():
        return folder
    known = ", ".join([*checkpoint_names(), "none", UNTRAINED])
    raise ExpertsError(
        f"no experts '{experts}': there are {known}, or give the path of a folder with {CONFIG_NAME}"
    )


def checkpoint_names(base: str = "") -> list[str]:
    """Names of the experts that come with the project, for one backbone or for all."""
    names = sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{CONFIG_NAME}"))
    return [n for n in names if not base or read_config(CHECKPOINTS / n)[1].get(BASE) == base]


def _check_base(facts: dict[str, Any], backbone: Backbone, folder: Path) -> None:
    """Experts are only good on the weights they were trained on."""
    base, revision = facts.get(BASE), facts.get("revision")
    if base != backbone.id:
        raise ExpertsError(
            f"the experts in {folder} were made for the backbone '{base}', not for '{backbone.id}'"
        )
    if revision != backbone.revision:
        raise ExpertsError(
            f"the experts in {folder} were made for revision {revision} of '{base}', "
            f"this is {backbone.revision}: train them again"
        )
