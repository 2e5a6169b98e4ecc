"""Our own part of the embedded backbone: the trained connector and, if it was tuned, the vision tower.

Kept in `checkpoints/embedded-base/`: `model.safetensors` under the names of the full model, and `config.json` with how
it was made. Laid over the assembled model after loading.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smola_demo.backbone.download import PARTS, file_sha256, read_json, write_json

CONNECTOR = "model.multi_modal_projector."
TOWER = "model.vision_tower."
WEIGHTS = "model.safetensors"
UNTRAINED = "untrained connector"


class ConnectorError(ValueError):
    """The trained connector does not fit the model; the sentence names the first tensor that does not."""


def base_folder() -> Path:
    """Where the repository keeps the trained connector."""
    return Path(__file__).resolve().parents[2] / "checkpoints" / "embedded-base"


def overlay(model: nn.Module, folder: Path) -> str:
    """Lay the folder's tensors over the model, in place; returns the state to show: "" or "untrained connector".

    Raises ConnectorError for a tensor that is unknown, missing or of another shape, naming the first.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        return UNTRAINED
    from safetensors.torch import load_file

    own = {name: t for name, t in model.state_dict().items() if name.startswith((CONNECTOR, TOWER))}
    given = load_file(file)
    for name, value in given.items():
        if name not in own:
            raise ConnectorError(f"{file} holds '{name}', which is no part of connector or vision tower")
        if value.shape != own[name].shape:
            raise ConnectorError(f"'{name}' in {file} is {tuple(value.shape)}, the model wants {tuple(own[name].shape)}")
    missing = [name for name in own if name.startswith(CONNECTOR) and name not in given]
    if missing:
        raise ConnectorError(f"{file} lacks '{missing[0]}': it must hold the whole connector")
    with torch.no_grad():
        for name, value in given.items():
            own[name].copy_(value)
    return ""


def save_base(model: nn.Module, folder: Path, facts: dict[str, Any], tower: bool = False) -> None:
    """Write connector and, if `tower`, vision tower as an embedded base, with `facts` on how they were made.

    The tower is stored in bfloat16 except for its norms. Both files appear whole; an older base is replaced.
    """
    from safetensors.torch import save_file

    kept = (CONNECTOR, TOWER) if tower else (CONNECTOR,)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items() if name.startswith(kept)}
    for name, value in tensors.items():
        if name.startswith(TOWER) and value.ndim > 1:
            tensors[name] = value.to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (WEIGHTS + ".tmp")
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.replace(folder / WEIGHTS)
    parts = {part.requirement: part.sha256 for part in PARTS}
    write_json(folder / "config.json", {"what": "connector of the embedded backbone", "parts": parts} | facts)


def read_facts(folder: Path) -> dict[str, Any]:
    """How the connector was made, as saved with it; empty when there is none."""
    return read_json(folder / "config.json")


def revision_of(folder: Path) -> str:
    """Twelve hexadecimal digits that change whenever a weight of the embedded backbone does."""
    digest = hashlib.sha256("".join(part.sha256 for part in PARTS).encode())
    file = folder / WEIGHTS
    digest.update(file_sha256(file).encode() if file.is_file() else UNTRAINED.encode())
    return digest.hexdigest()[:12]
