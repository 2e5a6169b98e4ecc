"""Our own part of the embedded backbone: the trained connector and, if it was tuned, the vision tower.

Kept in `checkpoints/embedded-base/`: `model.safetensors` under the names of the full model, and `config.json`
with how it was made. Laid over the assembled model after loading.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from smola_demo.backbone.download import PARTS, file_sha256, read_json, write_json
from smola_demo.tensor_files import write_tensors

if TYPE_CHECKING:
    from torch import Tensor

CONNECTOR = "model.multi_modal_projector."
TOWER = "model.vision_tower."
WEIGHTS = "model.safetensors"
UNTRAINED = "untrained connector"


class ConnectorError(ValueError):
    """The trained connector does not fit the model; the sentence names the first tensor that does not."""


def base_folder() -> Path:
    """Where the repository keeps the trained connector."""
    return Path(__file__).resolve().parents[2] / "checkpoints" / "embedded-base"


def start(model: Any, seed: int = 0) -> None:
    """Give the connector of a LLaVA model its untrained values, the same on every machine.

    The first layer takes each number relative to its mean and deviation, with an equal say for each stride
    of the tower; the second makes tokens that lie around the mean word, as far apart as words. So training
    starts in range.
    """
    generator = torch.Generator().manual_seed(seed)
    connector, tower = model.model.multi_modal_projector, model.model.vision_tower
    words = model.get_input_embeddings().weight.detach().float().cpu()  # where the generator draws
    mean, deviation = (values.cpu() for values in tower.token_statistics())
    share = torch.cat([torch.full((n,), 1 / (3 * n)) for n in tower.config.token_parts()])
    first, second = connector.linear_1, connector.linear_2
    with torch.no_grad():
        inward = torch.empty(first.weight.shape).normal_(generator=generator).mul_(share.sqrt() / deviation)
        first.weight.copy_(inward)
        first.bias.copy_(-inward @ mean)
        # GELU of a standard normal has a mean square of 0.425.
        spread = words.std(0).mean() / math.sqrt(0.425 * second.in_features)
        second.weight.copy_(torch.empty(second.weight.shape).normal_(generator=generator).mul_(spread))
        second.bias.copy_(words.mean(0))


def shorten(model: Any, pixel_values: Tensor) -> float:
    """Scale the connector's last layer so that visual tokens are as far from the mean word as words are.

    pixel_values (b, 3, h, w) of typical pictures, over whose tokens the distance is a mean. Directions from
    the mean word stay. A visual token many times as long as a word is hardly changed by what the language
    model's layers add to it, so they can tell it little of what stands around it.

    Returns the factor.
    """
    words = model.get_input_embeddings().weight.detach().float()
    connector, middle = model.model.multi_modal_projector, words.mean(0)
    with torch.no_grad():
        visual = connector(model.model.vision_tower(pixel_values).hidden_states[-1]).float()
        factor = (words - middle).norm(dim=-1).mean() / (visual - middle).norm(dim=-1).mean()
        connector.linear_2.weight.mul_(factor)
        connector.linear_2.bias.sub_(middle).mul_(factor).add_(middle)
    return float(factor)


def overlay(model: Any, folder: Path) -> str:
    """Lay the folder's tensors over the model, in place.

    Returns the state to show: empty, or "untrained connector" when there is no such folder.
    Raises ConnectorError for a tensor that is unknown, missing or of another shape, naming the first.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        return UNTRAINED
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        given = load_file(file)
    except SafetensorError as error:
        raise ConnectorError(f"{file} is damaged ({error}): fetch it from the repository again") from error
    own = _state(model, tower=True)
    for name, value in given.items():
        if name not in own:
            raise ConnectorError(f"{file} holds '{name}', which is no part of connector or vision tower")
        if value.shape != own[name].shape:
            there, here = tuple(value.shape), tuple(own[name].shape)
            raise ConnectorError(f"'{name}' is {there} in {file}, but {here} in the model")
    if missing := [name for name in _state(model, tower=False) if name not in given]:
        raise ConnectorError(f"{file} lacks '{missing[0]}': it must hold the whole connector")
    with torch.no_grad():
        for name, value in given.items():
            own[name].copy_(value)
    return ""


def save_base(model: Any, folder: Path, facts: dict[str, Any], tower: bool = False) -> None:
    """Write connector and, if `tower`, vision tower as an embedded base, with `facts` on how it was made.

    Matrices and convolutions are stored in bfloat16, biases and statistics as they are. An older base is
    replaced.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in _state(model, tower).items()}
    for name, value in tensors.items():
        if value.ndim > 1:
            tensors[name] = value.to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(tensors, folder / WEIGHTS)
    parts = {part.requirement: part.sha256 for part in PARTS}
    what = "connector of the embedded backbone"
    if tower:
        what += " and its vision tower: EfficientNet-Lite2, late blocks tuned"
    write_json(folder / "config.json", {"what": what, "parts": parts} | facts)


def holds_tower(folder: str | Path) -> bool:
    """Whether the folder's weights have a vision tower of their own beside the connector."""
    from safetensors import safe_open

    with safe_open(Path(folder) / WEIGHTS, framework="pt") as file:
        return any(name.startswith(TOWER) for name in file.keys())  # noqa: SIM118  a safe_open file has no `in`


def read_facts(folder: Path) -> dict[str, Any]:
    """How the connector was made, as saved with it; empty when there is none."""
    return read_json(folder / "config.json")


def revision_of(folder: Path) -> str:
    """Twelve hexadecimal digits that change whenever a weight of the embedded backbone does."""
    digest = hashlib.sha256("".join(part.sha256 for part in PARTS).encode())
    file = folder / WEIGHTS
    digest.update(file_sha256(file).encode() if file.is_file() else UNTRAINED.encode())
    return digest.hexdigest()[:12]


def _state(model: Any, tower: bool) -> dict[str, Tensor]:
    """Live tensors of the connector and, if `tower`, of the tower, under their names in the full model."""
    parts = model.model.multi_modal_projector.state_dict(prefix=CONNECTOR)
    return parts | model.model.vision_tower.state_dict(prefix=TOWER) if tower else parts
