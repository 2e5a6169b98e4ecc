"""What a training run must remember to go on unchanged: parameters, AdamW's moments, the step.

One safetensors file, written beside the old one and renamed over it: a kill at any moment leaves a whole one.
The data need no state: item i of the mixture depends on the seed and i alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import safetensors
import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

STATE_NAME = "state.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")


class StateError(ValueError):
    """A run that cannot be resumed from here; the message says why."""


def save_state(
    folder: Path,
    params: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    step: int,
    config: str,
    seconds: float,
) -> None:
    """Write the state after `step` steps and `seconds` of work; `config` is JSON, to compare."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, parameter in params.items():
        tensors[f"parameter/{name}"] = parameter.detach().cpu().contiguous()
        for moment in MOMENTS:
            if moment in optimizer.state[parameter]:
                tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment].cpu().contiguous()
    partial = folder / (STATE_NAME + ".partial")
    save_file(tensors, partial, metadata={"step": str(step), "config": config, "seconds": str(seconds)})
    partial.replace(folder / STATE_NAME)


def load_state(
    folder: Path, params: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, config: str
) -> tuple[int, float]:
    """Restore a saved state; returns its step and seconds. Raises StateError if it cannot."""
    path = folder / STATE_NAME
    if not path.is_file():
        raise StateError(f"nothing to resume: {path} does not exist; start without --resume")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            _same_config(json.loads(facts["config"]), json.loads(config), path)
            step, seconds = int(facts["step"]), float(facts.get("seconds", 0))
            for name, parameter in params.items():
                with torch.no_grad():
                    parameter.copy_(file.get_tensor(f"parameter/{name}"))
                if step:
                    moments = {m: file.get_tensor(f"{m}/{name}").to(parameter.device) for m in MOMENTS}
                    optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    except (safetensors.SafetensorError, KeyError) as error:
        raise StateError(f"{path} cannot be resumed ({error}): delete it and start again") from None
    return step, seconds


def _same_config(saved: dict[str, object], current: dict[str, object], path: Path) -> None:
    for name in sorted(set(saved) | set(current)):
        if saved.get(name) != current.get(name):
            raise StateError(
                f"{path} was made with {name} = {saved.get(name)!r}, this run has {current.get(name)!r}: "
                "use the same config, or start without --resume"
            )
