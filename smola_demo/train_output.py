"""What a finished run leaves: a checkpoint with all that made it, its card, and its losses step by step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from smola_demo.adapter_files import WEIGHTS_NAME, save
from smola_demo.backbone import connector
from smola_demo.backbone.download import file_sha256
from smola_demo.experts import find_experts
from smola_demo.lora import save_lora
from smola_demo.model_card import LOG_NAME, called, terms_of, write_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.backbone.base import Backbone
    from smola_demo.config import TrainConfig
    from smola_demo.trainable import Trainable

ELSEWHERE = ("about", "smola", "output", "experts_output", "seed", "steps")  # said in other places or nowhere


@dataclass(frozen=True)
class TrainResult:
    """What a finished run reports; losses as its stage counts them, dev_loss on held-out rows."""

    checkpoint: str
    steps: int
    seconds: float
    samples: int
    final_loss: float
    dev_loss: float


def write_checkpoint(
    config: TrainConfig,
    backbone: Backbone,
    parts: Trainable,
    result: TrainResult,
    tasks: Sequence[str],
    made: dict[str, Any],
    log: Path,
) -> None:
    """Write an adapter's files, or the connector's, or both.

    tasks  what the held-out rows ask · made  what became of "auto" and the like · log  the run's losses
    """
    facts: dict[str, Any] = {
        "steps": result.steps,
        "samples": result.samples,
        "seconds": round(result.seconds),
        "samples_per_s": round(result.samples / max(result.seconds, 1e-9), 3),
        "final_loss": round(result.final_loss, 4),
        "dev_loss": round(result.dev_loss, 4),
        "seed": config.seed,
        "precision": backbone.precision,
        "compute": backbone.compute,
        "device": str(backbone.device),
        "parameters": sum(p.numel() for p in parts.params.values()),
        "data": [called(source.name) for source in config.data],
        "tasks": list(tasks),
        "terms": [terms_of(source.name) for source in config.data],
        **({"init_experts": config.init_experts} if config.init_experts else {}),
        "run": _settings(config),
        **made,
    }
    written = []
    if config.stage != "experts":
        facts = {"stage": config.stage, **facts}
        tower = config.tune_vision or (bool(config.init_base) and connector.holds_tower(config.init_base))
        connector.save_base(backbone.model, Path(config.output), facts, tower)
        written.append(config.output)
    revision = backbone.revision if config.stage == "experts" else connector.revision_of(Path(config.output))
    base = {"base_model_name_or_path": backbone.id, "revision": revision}
    if parts.lora is not None:
        below = _below(config.init_experts) if parts.adapter else {}
        save_lora(parts.lora, config.output, base | below | facts)
        written.append(config.output)
    elif parts.adapter is not None:
        output = config.experts_output if config.stage == "align" else config.output
        save(parts.adapter, output, base | facts, dtype=torch.bfloat16)
        written.append(output)
    for folder in written:
        if log.is_file() and Path(folder).resolve() != log.parent.resolve():
            shutil.copyfile(log, Path(folder) / LOG_NAME)
    if parts.adapter is not None and parts.lora is None:
        write_card(written[-1])


def _below(experts: str) -> dict[str, str]:
    """The experts that a LoRA was trained over, so that it is never laid over others."""
    folder = find_experts(experts)
    return {"experts": experts} | ({"experts_sha256": file_sha256(folder / WEIGHTS_NAME)} if folder else {})


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The config as it was run, but for what the checkpoint says elsewhere; files go by their folder."""
    values = {name: value for name, value in config.to_dict().items() if name not in ELSEWHERE}
    data = [source | {"name": called(source["name"])} for source in values["data"]]
    return values | {"data": data}
