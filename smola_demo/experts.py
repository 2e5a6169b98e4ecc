"""Trained experts on disk: which ones come with the project, and whether they fit a backbone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smola_demo.adapter import AdapterError, attach
from smola_demo.adapter_files import CONFIG_NAME, WEIGHTS_NAME, check_size, load_weights, read_config
from smola_demo.backbone.download import file_sha256
from smola_demo.backbone.hub import check_allowed_experts, why_not
from smola_demo.config import SmolaConfig
from smola_demo.lora import is_lora, load_lora, read_lora_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone

BASE = "base_model_name_or_path"
FILES = (CONFIG_NAME, WEIGHTS_NAME, "README.md", "metrics.json", "atlas.json")  # what is shared, no more
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT_EXPERTS = {"embedded": "embedded-omni"}
UNTRAINED = "untrained"  # experts that change nothing yet, on any backbone: to look around, or to train


class ExpertsError(ValueError):
    """Experts that do not exist or do not fit; one sentence says which would."""


def attach_experts(backbone: Backbone, folder: Path) -> tuple[Adapter | None, dict[str, Any]]:
    """Put the experts or the LoRA of a folder on a backbone.

    Returns the experts, None where a LoRA came alone, and their facts with the file's sha256. A LoRA that
    was trained over experts brings them along.

    Raises AdapterError for damaged files, ExpertsError for another backbone or revision, and ValueError for a
    config that names linears which the backbone lacks.
    """
    with_lora = is_lora(folder)
    config, facts = (None, facts_of(folder)) if with_lora else read_config(folder)
    check_base(facts, backbone, folder)
    adapter = None
    if config is not None:
        adapter = _attach(backbone, config, folder)
    else:
        below = find_experts(str(facts.get("experts") or "none"))
        if below:
            _check_below(facts, below, folder)
            adapter, _ = attach_experts(backbone, below)
        load_lora(backbone.model, folder)
    sha256 = file_sha256(folder / WEIGHTS_NAME)
    return adapter, {**facts, "sha256": sha256, "lora": with_lora}


def _check_below(facts: Mapping[str, Any], below: Path, folder: Path) -> None:
    """A LoRA is an addition to the very experts it was trained over; older files do not tell which."""
    told = facts.get("experts_sha256")
    if told and told != file_sha256(below / WEIGHTS_NAME):
        raise ExpertsError(f"the LoRA in {folder} was trained over other experts than those in {below} now")


def _attach(backbone: Backbone, config: SmolaConfig, folder: Path) -> Adapter:
    """The experts of a folder; a model whose experts cannot be loaded is left as it was."""
    targets = backbone.target_linears(config.target_modules)
    check_size(folder, _numbers(config, [backbone.model.get_submodule(path) for path in targets]))
    adapter = attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)
    try:
        load_weights(adapter, folder)
    except AdapterError:
        adapter.detach()
        raise
    return adapter


def load_experts(
    backbone: Backbone, experts: str, folder: Path | None
) -> tuple[Adapter | None, str, dict[str, Any]]:
    """Put on a backbone what `find_experts` found for a name; returns it, its short name and its facts.

    Raises as `attach_experts` does.
    """
    if folder is None:
        return (attach_untrained(backbone) if experts == UNTRAINED else None), experts, {}
    adapter, facts = attach_experts(backbone, folder)
    name = experts if on_hub(experts) else folder.name
    return adapter, name, {**facts, "folder": str(folder.resolve()), "option": experts}


def attach_untrained(backbone: Backbone) -> Adapter:
    """Put untrained experts of the usual shape on a backbone."""
    config = SmolaConfig()
    targets = backbone.target_linears(config.target_modules)
    return attach(backbone.model, config, targets, backbone.decoder, backbone.modality_of)


def find_experts(experts: str) -> Path | None:
    """Folder of experts by name, path or hub id, fetched from there; None for "none" and "untrained".

    Raises ExpertsError naming what there is, and BackboneError for a hub id that SMOLA_EXPERTS leaves out
    where SMOLA_BACKBONES is set.
    """
    if experts in ("none", UNTRAINED):
        return None
    named = CHECKPOINTS / experts
    if experts in checkpoint_names():
        return named
    folder = Path(experts)
    if (folder / CONFIG_NAME).is_file():
        return folder
    if on_hub(experts):
        return _fetch(experts)
    known = ", ".join([*checkpoint_names(), "none", UNTRAINED])
    raise ExpertsError(
        f"no experts '{experts}': there are {known}, or give the path of a folder with {CONFIG_NAME}"
    )


def on_hub(experts: str) -> bool:
    """Whether it names experts on the model hub: OWNER/NAME, and nothing of that path is here."""
    return HUB_NAME.fullmatch(experts) is not None and not Path(experts).exists()


def _fetch(id: str) -> Path:
    """The files of experts on the hub, at one commit; from the local cache where the hub cannot be asked."""
    from huggingface_hub import errors, snapshot_download

    check_allowed_experts(id)
    try:
        folder = Path(snapshot_download(id, allow_patterns=list(FILES)))
    except (errors.HFValidationError, OSError) as error:
        raise ExpertsError(f"no experts '{id}': {why_not(error, id, CONFIG_NAME)}") from None
    if not (folder / CONFIG_NAME).is_file():
        raise ExpertsError(f"no experts '{id}': it holds no {CONFIG_NAME}")
    return folder


def checkpoint_names(base: str = "") -> list[str]:
    """Names of the experts that come with the project, for one backbone or for all."""
    names = sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{CONFIG_NAME}"))
    return [name for name in names if not base or _made_for(CHECKPOINTS / name) == base]


def facts_of(folder: Path) -> dict[str, Any]:
    """How experts or a LoRA on disk were made. Raises AdapterError for a damaged config."""
    return read_lora_facts(folder) if is_lora(folder) else read_config(folder)[1]


def _made_for(folder: Path) -> Any:
    """The backbone that experts on disk were made for; None for a folder that cannot be read."""
    try:
        return facts_of(folder).get(BASE)
    except AdapterError:
        return None


def _numbers(config: SmolaConfig, linears: Sequence[Any]) -> int:
    """How many numbers these experts have at least: a config may claim any sizes."""
    experts = len(config.groups) * config.num_experts
    layers = [linears[0]] if config.layers else linears
    ranks = sum(config.rank * (linear.in_features + linear.out_features) for linear in layers)
    return experts * (ranks + config.num_slots * linears[0].in_features)


def check_base(facts: dict[str, Any], backbone: Backbone, folder: Path, exact: bool = True) -> None:
    """Experts are only good on the weights they were trained on; not `exact`, on any of that backbone."""
    base, revision = facts.get(BASE), facts.get("revision")
    if base != backbone.id:
        raise ExpertsError(
            f"the experts in {folder} were made for the backbone '{base}', not for '{backbone.id}'"
        )
    if exact and revision != backbone.revision:
        raise ExpertsError(
            f"the experts in {folder} were made for revision {revision} of '{base}', "
            f"this is {backbone.revision}: train them again"
        )
