"""What a training run must remember to go on unchanged: parameters, their means, moments, recent losses.

One safetensors file, written beside the old one and renamed over it: a kill at any moment leaves a whole one.
The data need no state: item i of the mixture depends on the seed and i alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import safetensors
import torch

from smola_demo.backbone.optimizers import put_back
from smola_demo.tensor_files import write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from smola_demo.backbone.base import Backbone
    from smola_demo.config import TrainConfig

STATE_NAME = "state.safetensors"
STEP = "step"  # the only thing an optimizer remembers that is no tensor, or one on the CPU
FREE_TO_CHANGE = frozenset({"about", "num_workers", "save_every"})
NOT_ALWAYS_TOLD = frozenset({"backbone_precision", "backbone_revision"})  # older states do not hold them
PARAMETER, MEAN = "parameter", "mean"  # all other kinds of tensors are the optimizer's


class StateError(ValueError):
    """A run that cannot be resumed from here; the message says why."""


class Done(NamedTuple):
    """How far a run has come: steps, seconds of work, and the losses of its last steps, the newest last."""

    step: int = 0
    seconds: float = 0.0
    losses: tuple[float, ...] = ()


def what_counts(config: TrainConfig, backbone: Backbone, mixed_precision: str, processes: int) -> str:
    """As JSON, what two runs must share for one to go on where the other stopped: what "auto" came to and the
    frozen weights count, how data are loaded and how often a state is saved does not.
    """
    values = config.to_dict() | {
        "mixed_precision": mixed_precision,
        "processes": processes,
        "backbone_precision": backbone.precision,
        "backbone_revision": backbone.revision,
    }
    return json.dumps({k: v for k, v in values.items() if k not in FREE_TO_CHANGE}, sort_keys=True)


def save_state(
    folder: Path,
    params: Mapping[str, nn.Parameter],
    means: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    config: str,
    done: Done,
) -> None:
    """Write the state of a run; `config` is JSON, to compare.

    Steps are kept by parameter: where one got no gradient, the optimizer did not count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{MEAN}/{name}": mean.cpu().contiguous() for name, mean in means.items()}
    for name, parameter in params.items():
        tensors[f"{PARAMETER}/{name}"] = parameter.detach().cpu().contiguous()
        for kind, value in optimizer.state.get(parameter, {}).items():
            # Whole numbers go as tensors; a copy, because parameters may share a table.
            tensors[f"{kind}/{name}"] = torch.as_tensor(value).cpu().contiguous().clone()
    facts = {"step": done.step, "seconds": done.seconds, "losses": list(done.losses)}
    told = {"config": config} | {k: json.dumps(v) for k, v in facts.items()}
    write_tensors(tensors, folder / STATE_NAME, told)


def load_state(
    folder: Path,
    params: Mapping[str, nn.Parameter],
    means: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    config: str,
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
            kinds: defaultdict[str, set[str]] = defaultdict(set)
            for key in file.keys():  # noqa: SIM118  the file is no mapping
                kind, _, name = key.partition("/")
                kinds[name].add(kind)
            with torch.no_grad():
                for name, mean in means.items():
                    mean.copy_(file.get_tensor(f"{MEAN}/{name}"))
                for name, parameter in params.items():
                    parameter.copy_(file.get_tensor(f"{PARAMETER}/{name}"))
                    own = kinds[name] - {PARAMETER, MEAN}
                    if own:
                        memory = {kind: file.get_tensor(f"{kind}/{name}") for kind in own}
                        _remember(optimizer, parameter, memory)
    except (safetensors.SafetensorError, KeyError) as error:
        raise StateError(f"{path} cannot be resumed ({error}): delete it and start again") from None
    return done


def _remember(
    optimizer: torch.optim.Optimizer, parameter: nn.Parameter, memory: Mapping[str, Tensor]
) -> None:
    """Give the optimizer back what it knew of a parameter; its step stays where the optimizer keeps it."""
    moved = {kind: value if kind == STEP else value.to(parameter.device) for kind, value in memory.items()}
    if isinstance(optimizer, torch.optim.AdamW):
        optimizer.state[parameter] = moved
    else:
        put_back(optimizer, parameter, {**moved, STEP: int(memory[STEP])})


def _same_config(saved: dict[str, object], current: dict[str, object], path: Path) -> None:
    for name in sorted((set(saved) | set(current)) - (NOT_ALWAYS_TOLD - set(saved))):
        if saved.get(name) != current.get(name):
            raise StateError(
                f"{path} was made with {name} = {saved.get(name)!r}, this run has {current.get(name)!r}: "
                "use the same config and backbone, or start without --resume"
            )
