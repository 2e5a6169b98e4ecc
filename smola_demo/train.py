"""Make a connector or experts: one loop over packed rows, on accelerate, resumable, with progress and an ETA.

Stage "words" brings the embedded backbone's connector (and its vision tower, if asked) near the embeddings of
words, without running the language model; "cells" teaches each visual token what lies in its cell, on
drawings that tell; "align" trains the same through it, with experts beside it if
`experts_output` says so; "experts" trains routers and experts on the frozen backbone. All see the quantized
weights that inference uses.
The losses are in `losses`; Soft MoE needs no balancing term (arXiv 2308.00951).
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.state import AcceleratorState
from tqdm import tqdm

from smola_demo.averaging import Average
from smola_demo.backbone import connector, load_backbone
from smola_demo.backbone.embedded import EmbeddedBackbone
from smola_demo.backbone.quantization import mixed_precision
from smola_demo.batches import examples, loader
from smola_demo.cells import CellWordsLoss
from smola_demo.config import ConfigError
from smola_demo.data.mixture import Mixture
from smola_demo.losses import AnswerLoss, VisualWordsLoss
from smola_demo.model_card import LOG_NAME
from smola_demo.packing import prepared
from smola_demo.train_output import TrainResult, write_checkpoint
from smola_demo.train_state import Done, load_state, save_state, what_counts
from smola_demo.trainable import make_optimizer, make_trainable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone
    from smola_demo.batches import AnyBatch
    from smola_demo.config import TrainConfig

    Loss = AnswerLoss | VisualWordsLoss | CellWordsLoss

# Where every process holds the whole model, which the main one saves.
WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
RECENT = 50  # steps that the final loss is a mean over
DEV_SEED = 1_000_003  # of the development stream; which rows are development rows is the split's business


class DivergedError(ValueError):
    """A run whose numbers have gone out of range; the sentence says at which step and what to change."""


def train(config: TrainConfig, resume: bool = False, quiet: bool = False) -> TrainResult:
    """Run one training as `config` says and write its checkpoint to `config.output`.

    Its state goes to `state_folder` every `save_every` steps; `resume` continues from there with the same
    data order. Under `accelerate launch` every process takes its share of each step's batches, and the
    main one writes. The loss of a step is one weighted mean over all its batches on all processes (see
    `weight` of the losses): how they are split changes nothing, except in "words" and "cells", whose losses
    compare the pictures of one batch. Raises ConfigError, RowError, AdapterError or StateError with one
    sentence each, and DivergedError where a gradient is no number: the last state and checkpoint stay.
    """
    start = time.monotonic()
    # Bare steps leave the experts without gradients; buffers are frozen, so there is nothing to send around.
    bare = config.bare_every if config.stage == "align" and config.experts_output else 0
    spread = DistributedDataParallelKwargs(find_unused_parameters=bool(bare), broadcast_buffers=False)
    AcceleratorState._reset_state()  # noqa: SLF001  # the run before, in this process, may have had another precision
    on_cpu = not torch.cuda.is_available()
    mixed = mixed_precision(config.mixed_precision, torch.device("cpu" if on_cpu else "cuda"))
    accelerator = Accelerator(mixed_precision=mixed, cpu=on_cpu, kwargs_handlers=[spread])
    _refuse_shards(accelerator.distributed_type)
    # Not the shipped connector where one is made: a config makes the same again.
    base = (config.init_base or None) if config.stage == "experts" else config.init_base
    backbone = load_backbone(config.backbone, config.precision, str(accelerator.device), base=base)
    if isinstance(backbone, EmbeddedBackbone) and accelerator.device.type == "cpu":
        backbone.write_out_attention()
    torch.manual_seed(config.seed)
    parts = make_trainable(config, backbone)
    params, adapter = parts.params, parts.adapter
    if config.gradient_checkpointing:
        backbone.checkpoint_layers(adapter.call.checkpoint if adapter else None)
    module = _loss(config, backbone, adapter)
    if isinstance(module, VisualWordsLoss | CellWordsLoss):
        params["log_sharpness"] = module.log_sharpness
    loss_module, optimizer = accelerator.prepare(module, make_optimizer(config, params, accelerator.device))
    # Asked for before the first step: a source without development rows is told then, not after the last.
    held_out = Mixture(config.data, config.pack, DEV_SEED, config.max_answer_chars, split="dev")
    made: dict[str, Any] = {"mixed_precision": mixed}
    if config.shorten:
        made["visual_tokens_scaled_by"] = _shorten(config, backbone, held_out)
    average = Average(params, config.ema)
    state = state_folder(config)
    config_text = what_counts(config, backbone, mixed, accelerator.num_processes)
    memory = optimizer.optimizer
    done = load_state(state, params, average.means, memory, config_text) if resume else Done()
    start -= done.seconds  # seconds count from the run's first start, pauses left out
    batches = loader(config, backbone, done.step, accelerator.num_processes, accelerator.process_index)
    main = accelerator.is_main_process
    bar = tqdm(
        total=config.steps,
        initial=done.step,
        desc=config.stage,
        unit="step",
        file=sys.stderr,
        disable=quiet or not main,
    )
    log = _Log(state, config, start, done.step) if main else None
    losses = deque(done.losses, maxlen=max(RECENT, config.log_every))
    grouped = _grouped(batches, config.gradient_accumulation)
    for step, micro_batches in enumerate(grouped, start=done.step + 1):
        for (
            group
        ) in optimizer.param_groups:  # a function of the step alone, so that a resumed run needs no memory
            group["lr"] = group["peak"] * _warm_cosine(step - 1, config)
        total = torch.zeros((), device=accelerator.device)
        how = {"bare": True} if bare and step % bare == 0 else {}
        for batch, share in zip(micro_batches, _shares(accelerator, module, micro_batches), strict=True):
            loss = loss_module(batch.to(accelerator.device), **how) * share
            accelerator.backward(
                loss * accelerator.num_processes
            )  # of which the mean over processes is taken
            total += loss.detach()
        _refuse_divergence(accelerator.clip_grad_norm_(params.values(), config.clip_norm), step, state)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(step)
        losses.append(_everywhere(accelerator, total))
        bar.update()
        bar.set_postfix(loss=f"{_mean(losses, RECENT):.3f}")
        if log:
            log.write(step, losses, adapter)
        if main and (step == config.steps or step % config.save_every == 0):
            reached = Done(step, time.monotonic() - start, tuple(losses))
            save_state(state, params, average.means, memory, config_text, reached)
    bar.close()
    samples = config.steps * config.batch_size * config.gradient_accumulation * accelerator.num_processes
    with average.in_place():
        dev_loss = _dev_loss(config, backbone, module, held_out)
        seconds = time.monotonic() - start
        result = TrainResult(config.output, config.steps, seconds, samples, _mean(losses, RECENT), dev_loss)
        if main:
            write_checkpoint(config, backbone, parts, result, held_out.tasks(), made, state / LOG_NAME)
    accelerator.wait_for_everyone()  # nobody reads a checkpoint that the main process still writes
    accelerator.end_training()
    return result


def _refuse_shards(kind: DistributedType) -> None:
    if kind not in WHOLE:
        raise ConfigError("training runs as plain data parallelism only: launch it without FSDP or DeepSpeed")


def _refuse_divergence(norm: torch.Tensor | None, step: int, state: Path) -> None:
    """Before the step that would spoil parameters, moments and the state that is saved of them."""
    if norm is not None and not math.isfinite(float(norm)):
        raise DivergedError(
            f"the gradient of step {step} is no number: lower the learning rates, or set mixed_precision to "
            f"bf16, and start again; what {state} holds is of an earlier step"
        )


def _loss(config: TrainConfig, backbone: Backbone, adapter: Adapter | None) -> Loss:
    if config.stage == "words":
        return VisualWordsLoss(backbone)
    return CellWordsLoss(backbone) if config.stage == "cells" else AnswerLoss(backbone, adapter)


def _shorten(config: TrainConfig, backbone: Backbone, held_out: Mixture) -> float:
    """Make visual tokens of the development groups as long as words; returns the factor."""
    pictures = [next(prepared(backbone, held_out, i))[1] for i in range(config.dev_groups)]
    return connector.shorten(backbone.model, torch.stack(pictures).to(backbone.device))


def _mean(losses: Iterable[float], last: int) -> float:
    recent = list(losses)[-last:]
    return sum(recent) / max(1, len(recent))


def _shares(accelerator: Accelerator, module: Loss, batches: Sequence[Any]) -> list[float]:
    """What each batch counts in this step's loss: 1 in all, over the batches of all processes."""
    own = [module.weight(batch) for batch in batches]
    total = _everywhere(accelerator, torch.tensor(sum(own), device=accelerator.device))
    return [weight / total for weight in own]


def _everywhere(accelerator: Accelerator, value: torch.Tensor) -> float:
    """The sum over all processes."""
    summed: Any = accelerator.reduce(value, "sum")
    return float(summed)


def state_folder(config: TrainConfig) -> Path:
    """Where a run keeps state and log: in its output if that is under runs/, else at the same path there.

    For an output outside this folder, under its name and a fingerprint of where it is.
    """
    output, here = Path(config.output), Path.cwd()
    if output.parts[:1] == ("runs",) and ".." not in output.parts:
        return output
    output = output.resolve()
    if output.is_relative_to(here):
        inside = output.relative_to(here)
        return inside if inside.parts[:1] == ("runs",) else "runs" / inside
    return Path("runs") / f"{output.name}-{hashlib.sha256(str(output).encode()).hexdigest()[:8]}"


def _warm_cosine(step: int, config: TrainConfig) -> float:
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, config.steps - warm)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _grouped(batches: Iterable[AnyBatch], size: int) -> Iterable[list[AnyBatch]]:
    held: list[AnyBatch] = []
    for batch in batches:
        held.append(batch)
        if len(held) == size:
            yield held
            held = []


@torch.no_grad()
def _dev_loss(config: TrainConfig, backbone: Backbone, module: Loss, held_out: Mixture) -> float:
    """Mean loss over development groups: the same mixture, on rows and drawings that training never sees."""
    groups = config.dev_groups
    if not isinstance(module, AnswerLoss):  # it compares the pictures of a batch: no smaller one at the end
        groups -= groups % config.batch_size if groups > config.batch_size else 0
    items: Any = examples(config, backbone, held_out, groups)
    total = weight = 0.0
    for first in range(0, groups, config.batch_size):
        own = range(first, min(groups, first + config.batch_size))
        batch = items.join([items[i] for i in own])
        total += float(module(batch.to(backbone.device))) * module.weight(batch)
        weight += module.weight(batch)
    return total / weight


class _Log:
    """Appends a JSON line every `log_every` steps: loss, seconds, the routers' mean scale.

    Lines of steps that a resumed run takes again are dropped first.
    """

    def __init__(self, folder: Path, config: TrainConfig, start: float, done: int) -> None:
        self._path, self._every, self._start = folder / LOG_NAME, config.log_every, start
        folder.mkdir(parents=True, exist_ok=True)
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        kept = lines[: done // self._every]
        self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, step: int, losses: Iterable[float], adapter: Adapter | None) -> None:
        if step % self._every:
            return
        line: dict[str, Any] = {
            "step": step,
            "loss": _mean(losses, self._every),
            "seconds": time.monotonic() - self._start,
        }
        if adapter is not None:
            scales = [site.linear.mixture.router.scale.detach().float().mean() for site in adapter.sites]
            line["scale"] = float(torch.stack(scales).mean())
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
