"""Make a connector or experts: one loop over packed rows, on accelerate, resumable, with progress and an ETA.

Stage "words" brings the embedded backbone's connector (and its vision tower, if asked) near the embeddings of
words, without running the language model; "align" trains the same through it, with experts beside it if
`experts_output` says so; "experts" trains routers and experts on the frozen backbone. All see the quantized
weights that inference uses.
The losses are in `losses`; Soft MoE needs no balancing term (arXiv 2308.00951).
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from smola_demo.adapter import attach
from smola_demo.adapter_files import load_weights, save
from smola_demo.backbone import connector, load_backbone
from smola_demo.data.mixture import Mixture
from smola_demo.losses import AnswerLoss, VisualWordsLoss
from smola_demo.model_card import write_card
from smola_demo.packing import PackedBatch, Rows, batch_of, loader
from smola_demo.train_state import load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Batch
    from smola_demo.config import TrainConfig

BARE_EVERY = 4  # of the steps of align with experts, each so many-th runs bare: the connector serves both
DEV_SEED = 1_000_003  # of the development stream; which rows are development rows is the split's business


@dataclass(frozen=True)
class TrainResult:
    """What a finished run reports; losses as its stage counts them, dev_loss on held-out rows."""

    checkpoint: str
    steps: int
    seconds: float
    samples: int
    final_loss: float
    dev_loss: float


def train(config: TrainConfig, resume: bool = False, quiet: bool = False) -> TrainResult:
    """Run one training as `config` says and write its checkpoint to `config.output`.

    State goes to runs/<name of the output>/ every `save_every` steps; `resume` continues from there with the
    same data order. Raises ConfigError, RowError, AdapterError or StateError with one sentence each.
    """
    start = time.monotonic()
    accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=not torch.cuda.is_available())
    # Not the shipped connector where one is made: a config makes the same again.
    base = None if config.stage == "experts" else config.init_base
    backbone = load_backbone(config.backbone, config.precision, str(accelerator.device), base=base)
    torch.manual_seed(config.seed)
    beside = config.stage == "align" and bool(config.experts_output)
    adapter = _attach(config, backbone) if config.stage == "experts" or beside else None
    params = _trainable(config, backbone, adapter)
    loss_module: nn.Module = AnswerLoss(backbone, adapter)
    if config.stage == "words":
        loss_module = VisualWordsLoss(backbone)
        params["log_sharpness"] = loss_module.log_sharpness
    optimizer = torch.optim.AdamW(
        _learning_rates(config, params), weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    state_folder = Path("runs") / Path(config.output).name
    config_text = json.dumps(config.to_dict(), sort_keys=True)
    done, spent = load_state(state_folder, params, optimizer, config_text) if resume else (0, 0.0)
    start -= spent  # seconds count from the run's first start, pauses left out
    loss_module, optimizer = accelerator.prepare(loss_module, optimizer)
    batches = loader(config, backbone, done, accelerator.num_processes, accelerator.process_index)
    bar = tqdm(
        total=config.steps, initial=done, desc=config.stage, unit="step", file=sys.stderr, disable=quiet
    )
    log = _Log(state_folder, config, enabled=accelerator.is_main_process)
    losses: list[float] = []
    for step, micro_batches in enumerate(_grouped(batches, config.gradient_accumulation), start=done + 1):
        for (
            group
        ) in optimizer.param_groups:  # a function of the step alone, so that a resumed run needs no memory
            group["lr"] = group["peak"] * _warm_cosine(step - 1, config)
        total = 0.0
        how = {"bare": True} if beside and step % BARE_EVERY == 0 else {}
        for batch in micro_batches:
            loss = loss_module(batch.to(accelerator.device), **how) / config.gradient_accumulation
            accelerator.backward(loss)
            total += float(loss.detach())
        accelerator.clip_grad_norm_(params.values(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
        bar.update()
        bar.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.3f}")
        log.write(step, losses, adapter)
        last = step == config.steps
        if accelerator.is_main_process and (last or step % config.save_every == 0):
            save_state(state_folder, params, optimizer.optimizer, step, config_text, time.monotonic() - start)
    bar.close()
    dev_loss = _dev_loss(config, backbone, loss_module, accelerator.device)
    seconds = time.monotonic() - start
    samples = config.steps * config.batch_size * config.gradient_accumulation * accelerator.num_processes
    final = sum(losses[-50:]) / max(1, len(losses[-50:]))
    result = TrainResult(config.output, config.steps, seconds, samples, final, dev_loss)
    if accelerator.is_main_process:
        _write(config, backbone, adapter, params, result)
    return result


def _attach(config: TrainConfig, backbone: Backbone) -> Adapter:
    targets = backbone.target_linears(config.smola.target_modules)
    adapter = attach(
        backbone.model, config.smola, targets, backbone.decoder, backbone.modality_of, seed=config.seed
    )
    if config.init_experts:
        load_weights(adapter, config.init_experts)
    return adapter


def _trainable(config: TrainConfig, backbone: Backbone, adapter: Adapter | None) -> dict[str, nn.Parameter]:
    """Name → parameter of all that this stage trains; everything else is frozen."""
    experts = dict(adapter.named_parameters()) if adapter is not None else {}
    if config.stage == "experts":
        return experts
    if config.init_base:
        connector.overlay(backbone.model, Path(config.init_base))
    else:
        connector.start(backbone.model, config.seed)
    late = backbone.model.model.vision_tower.late_parameters() if config.tune_vision else set[str]()
    params = {}
    for name, parameter in backbone.model.named_parameters():
        chosen = name.startswith(connector.CONNECTOR) or name.removeprefix(connector.TOWER) in late
        parameter.requires_grad_(chosen)
        if chosen:
            params[name] = parameter
    for parameter in experts.values():
        parameter.requires_grad_(True)
    return params | experts


def _learning_rates(config: TrainConfig, params: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    """Optimizer groups: the routers' scale learns faster and without decay, a tuned tower slower."""
    rates = {
        "scale": config.scale_learning_rate,
        "router": config.router_learning_rate,
        "tower": config.vision_learning_rate,
        "rest": config.learning_rate,
    }
    groups: dict[str, list[nn.Parameter]] = {kind: [] for kind in rates}
    for name, parameter in params.items():
        if name.endswith("router.scale") or name == "log_sharpness":
            groups["scale"].append(parameter)
        elif name.endswith("router.phi"):
            groups["router"].append(parameter)
        elif ".vision_tower." in name:
            groups["tower"].append(parameter)
        else:
            groups["rest"].append(parameter)
    decay = {"scale": 0.0, "router": 0.0}
    return [
        {
            "params": members,
            "lr": rates[kind],
            "peak": rates[kind],
            **({"weight_decay": decay[kind]} if kind in decay else {}),
        }
        for kind, members in groups.items()
        if members
    ]


def _warm_cosine(step: int, config: TrainConfig) -> float:
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, config.steps - warm)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _grouped(batches: Iterable[PackedBatch | Batch], size: int) -> Iterable[list[PackedBatch | Batch]]:
    held: list[PackedBatch | Batch] = []
    for batch in batches:
        held.append(batch)
        if len(held) == size:
            yield held
            held = []


@torch.no_grad()
def _dev_loss(
    config: TrainConfig, backbone: Backbone, module: nn.Module, device: torch.device, groups: int = 64
) -> float:
    """Mean loss over development groups: the same mixture, on rows and drawings that training never sees."""
    mixture = Mixture(config.data, config.pack, DEV_SEED, config.max_answer_chars, split="dev")
    rows = Rows(backbone, mixture, config.max_answer_tokens, groups)
    losses = []
    for first in range(0, groups, config.batch_size):
        batch = batch_of(backbone, [rows[i] for i in range(first, min(groups, first + config.batch_size))])
        losses.append(float(module(batch.to(device))))
    return sum(losses) / len(losses)


class _Log:
    """Appends a JSON line every `log_every` steps: loss, seconds, the routers' mean scale."""

    def __init__(self, folder: Path, config: TrainConfig, enabled: bool) -> None:
        self._path, self._every, self._enabled, self._start = (
            folder / "log.jsonl",
            config.log_every,
            enabled,
            time.monotonic(),
        )
        if enabled:
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, step: int, losses: list[float], adapter: Adapter | None) -> None:
        if not self._enabled or step % self._every:
            return
        recent = losses[-self._every :]
        line: dict[str, Any] = {
            "step": step,
            "loss": sum(recent) / len(recent),
            "seconds": time.monotonic() - self._start,
        }
        if adapter is not None:
            scales = [site.linear.mixture.router.scale.detach().float().mean() for site in adapter.sites]
            line["scale"] = float(torch.stack(scales).mean())
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _write(
    config: TrainConfig,
    backbone: Backbone,
    adapter: Adapter | None,
    params: dict[str, nn.Parameter],
    result: TrainResult,
) -> None:
    """The checkpoint: an adapter's two files, or the aligned connector and how it was made."""
    facts: dict[str, Any] = {
        "steps": result.steps,
        "samples": result.samples,
        "seconds": round(result.seconds),
        "final_loss": round(result.final_loss, 4),
        "dev_loss": round(result.dev_loss, 4),
        "seed": config.seed,
        "precision": backbone.precision,
        "compute": backbone.compute,
        "mixed_precision": config.mixed_precision,
        "device": str(backbone.device),
        "data": [Path(source.name).parent.name or source.name for source in config.data],
    }
    if config.stage != "experts":
        facts = {"stage": config.stage, **facts}
        tower = config.tune_vision or (bool(config.init_base) and connector.holds_tower(config.init_base))
        connector.save_base(backbone.model, Path(config.output), facts, tower)
    if adapter is not None:
        base = {"base_model_name_or_path": backbone.id, "revision": backbone.revision}
        output = config.experts_output if config.stage == "align" else config.output
        write_card(save(adapter, output, base | facts, dtype=torch.bfloat16))
