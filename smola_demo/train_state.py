"""What a training run must remember to go on unchanged: parameters, AdamW's moments and steps, recent losses.

One safetensors file, written beside the old one and renamed over it: a kill at any moment leaves a whole one.
The data need no state: item i of the mixture depends on the seed and i alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import safetensors
import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

STATE_NAME = "state.safetensors"
# A parameter's own step may lag behind the run's: where it got no gradient, AdamW did not count.
MEMORY = ("exp_avg", "exp_avg_sq", "step")


class StateError(ValueError):
    """A run that cannot be resumed from here; the message says why."""


class Done(NamedTuple):
    """How far a run has come: steps, seconds of work, and the losses of its last steps, the newest last."""

    step: int = 0
    seconds: float = 0.0
    losses: tuple[float, ...] = ()


def save_state(
    folder: Path,
    params: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    config: str,
    done: Done,
) -> None:
    """Write the state of a run; `config` is JSON, to compare."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, parameter in params.items():
        tensors[f"parameter/{name}"] = parameter.detach().cpu().contiguous()
        for kind, value in optimizer.state.get(parameter, {}).items():
            if kind in MEMORY:
                tensors[f"{kind}/{name}"] = value.cpu().contiguous()
    partial = folder / (STATE_NAME + ".partial")
    facts = {"step": done.step, "seconds": done.seconds, "losses": list(done.losses)}
    save_file(tensors, partial, metadata={"config": config} | {k: json.dumps(v) for k, v in facts.items()})
    partial.replace(folder / STATE_NAME)


def load_state(
    folder: Path, params: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, config: str
) -> Done:
    """Restore a saved state; returns how far it had come. Raises StateError if it cannot."""
    path = folder / STATE_NAME
    if not path.is_file():
        raise StateError(f"nothing to resume: {path} does not exist; start without --resume")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            _same_config(json.loads(facts["config"]), json.loads(config), path)
            done = Done(int(facts["step"]), float(facts["seconds"]), tuple(json.loads(facts["losses"])))
            known = set(file.keys())
            for name, parameter in params.items():
                with torch.no_grad():
                    parameter.copy_(file.get_tensor(f"parameter/{name}"))
                if f"step/{name}" in known:
                    memory = {kind: file.get_tensor(f"{kind}/{name}") for kind in MEMORY}
                    moments = {kind: memory[kind].to(parameter.device) for kind in MEMORY[:2]}
                    optimizer.state[parameter] = {"step": memory["step"], **moments}
    except (safetensors.SafetensorError, KeyError) as error:
        raise StateError(f"{path} cannot be resumed ({error}): delete it and start again") from None
    return done


def _same_config(saved: dict[str, object], current: dict[str, object], path: Path) -> None:
    for name in sorted(set(saved) | set(current)):
        if saved.get(name) != current.get(name):
            raise StateError(
                f"{path} was made with {name} = {saved.get(name)!r}, this run has {current.get(name)!r}: "
                "use the same config, or start without --resume"
            )
