"""Experts to others and back: a folder of two files and a card, pushed to the model hub or read from it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smola_demo.adapter_files import WEIGHTS_NAME, read_config, save
from smola_demo.backbone import EMBEDDED, load_backbone
from smola_demo.backbone.hub import why_not
from smola_demo.experts import BASE, FILES, HUB_NAME, ExpertsError, attach_experts, find_experts
from smola_demo.model_card import write_card

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone


def save_pretrained(adapter: Adapter, folder: str | Path, facts: Mapping[str, Any]) -> Path:
    """Write experts and their model card. `facts` name the backbone and its revision at least."""
    save(adapter, folder, facts)
    write_card(folder)
    return Path(folder)


def from_pretrained(
    experts: str, backbone: Backbone | None = None, precision: str = "auto", device: str = "auto"
) -> tuple[Backbone, Adapter, dict[str, Any]]:
    """Experts of a name, a folder or a hub id, on their backbone, which is loaded unless it is given.

    Returns the backbone, the experts on it and their facts. Raises as `find_experts`, `load_backbone` and
    `attach_experts` do.
    """
    folder = find_experts(experts)
    if folder is None:
        raise ExpertsError(f"'{experts}' names no trained experts: give a name, a folder or a hub id")
    _, facts = read_config(folder)
    backbone = backbone or load_backbone(facts.get(BASE, EMBEDDED), precision, device)
    adapter, facts = attach_experts(backbone, folder)
    assert adapter is not None, "read_config lets no LoRA through"  # noqa: S101  told to the type checker
    return backbone, adapter, facts


def push_to_hub(folder: str | Path, repo_id: str, private: bool = False) -> dict[str, Any]:
    """Upload the experts of a folder as a repository of the model hub, made if it is not there.

    The card is written anew and says how to load them. The login is the user's (`hf auth login`). Returns
    {repository, commit, sha256 of the weights, files, private}. Raises AdapterError for a folder without
    experts, ExpertsError where they cannot be shared or the hub refuses, each with one sentence.
    """
    from huggingface_hub import HfApi, errors, get_token

    folder = Path(folder)
    _, facts = read_config(folder)
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        raise ExpertsError(f"no experts at {folder}: {WEIGHTS_NAME} is missing")
    if HUB_NAME.fullmatch(repo_id) is None:
        raise ExpertsError(f"'{repo_id}' is no name for a repository: give OWNER/NAME")
    base = str(facts.get(BASE))
    if base != EMBEDDED and (Path(base).exists() or HUB_NAME.fullmatch(base) is None):
        raise ExpertsError(
            f"the experts in {folder} belong to the model in the folder {base}, which others do not have: "
            "train them on a model of the hub, by its id"
        )
    if get_token() is None:
        raise ExpertsError("there is no login for the hub: run: hf auth login")
    write_card(folder, repo_id)
    api = HfApi()
    try:
        where = api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=list(FILES), commit_message="Experts"
        )
    except (errors.HFValidationError, OSError) as error:
        raise ExpertsError(f"'{repo_id}' cannot be pushed: {why_not(error, repo_id, WEIGHTS_NAME)}") from None
    return {
        "repository": str(where),
        "commit": done.oid,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "files": [name for name in FILES if (folder / name).is_file()],
        "private": private,
    }
