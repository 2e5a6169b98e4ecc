"""What the mixture costs beside other adapters of its size, and as its experts grow; pairs in one process.

The others are PEFT's: a LoRA with as many parameters on the same linears, and X-LoRA mixing as many experts
of the same rank. Weights are random: time does not depend on them.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from smola_demo.ablation import AblationSpec
from smola_demo.adapter import attach, chosen_linears
from smola_demo.backbone import load_backbone
from smola_demo.bench import BenchError, median_of, per_token, spread, timed
from smola_demo.data import GENERATORS
from smola_demo.generation import generate
from smola_demo.lora import attach_lora, matched_ranks
from smola_demo.losses import AnswerLoss
from smola_demo.packing import batch_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Encoded
    from smola_demo.config import SmolaConfig
    from smola_demo.engine import Engine

NEW_TOKENS = 16
GROWTH = (8, 16, 32, 64)
TRAIN_ROWS = 4


def peers(engine: Engine, rounds: int) -> dict[str, Any]:
    """Time of the mixture over that of each peer, smaller is faster.

    Returns {"ratios": {lora_prefill, lora_decode, lora_training_step, xlora_token}, "seconds": {}}.
    Raises BenchError when no experts are loaded.
    """
    backbone, adapter = engine.backbone, engine.adapter
    if adapter is None:
        raise BenchError("there are no experts to time: load some with --experts")
    plain, with_lora = _again(backbone), _again(backbone)
    _put_lora(with_lora, adapter.config)
    xlora = _xlora(_again(backbone), adapter.config)
    image = GENERATORS["shapes"](0, "dev").image
    row = plain.encode(image, plain.prompt("caption"))
    times: dict[str, list[float]] = {}

    def note(**seconds: float) -> None:
        for name, value in seconds.items():
            times.setdefault(name, []).append(value)

    def answer(model: Backbone, experts: Adapter | None) -> tuple[float, float]:
        model.forget()
        generation = generate(model, experts, [row], [AblationSpec()], NEW_TOKENS)
        return generation.prefill_s, per_token(generation)

    backbone.forget()
    first = generate(backbone, adapter, [row], [AblationSpec()], NEW_TOKENS)
    tokens = len(
        first.rows[0].ids
    )  # it may end before the limit, and X-LoRA's untrained answer must not be longer
    answer(with_lora, None)
    for _ in tqdm(range(rounds), desc="bench peers", unit="round", file=sys.stderr):
        (prefill, decode), (lora_prefill, lora_decode) = answer(backbone, adapter), answer(with_lora, None)
        backbone.forget()
        whole = timed(lambda: generate(backbone, adapter, [row], [AblationSpec()], tokens))
        xlora_whole = timed(lambda: xlora(plain, row, tokens))
        note(lora_prefill=prefill / lora_prefill, lora_decode=decode / lora_decode)
        note(xlora_token=whole / xlora_whole)
    for smola_step, lora_step in _training(backbone, adapter, with_lora, rounds):
        note(lora_training_step=smola_step / lora_step)
    return {"ratios": {name: spread(values) for name, values in times.items()}, "seconds": {}}


def growth(engine: Engine, rounds: int) -> dict[str, Any]:
    """Prefill of the loaded shape with 8, 16, 32 and 64 experts a group, over the bare backbone's.

    Returns {"ratios": {"prefill_8": …, …}, "seconds": {"bare": …, "8": …, …}}.
    """
    if engine.adapter is None:
        raise BenchError("there are no experts to time: load some with --experts")
    config, backbone = engine.adapter.config, _again(engine.backbone)
    row = backbone.encode(GENERATORS["shapes"](0, "dev").image, backbone.prompt("caption"))
    ratios, seconds = {}, {}

    def prefill(adapter: Adapter) -> float:
        backbone.forget()
        return generate(backbone, adapter, [row], [AblationSpec()], 1).prefill_s

    def bare(adapter: Adapter) -> float:
        with adapter.disabled():
            return prefill(adapter)

    for experts in GROWTH:
        targets = backbone.target_linears(config.target_modules)
        shape = replace(config, num_experts=experts)
        adapter = attach(backbone.model, shape, targets, backbone.decoder, backbone.modality_of)
        prefill(adapter)
        pairs = [(prefill(adapter), bare(adapter)) for _ in range(rounds)]
        adapter.detach()
        ratios[f"prefill_{experts}"] = spread([a / b for a, b in pairs])
        seconds |= {str(experts): median_of(a for a, _ in pairs), "bare": median_of(b for _, b in pairs)}
    return {"ratios": ratios, "seconds": seconds}


def _again(backbone: Backbone) -> Backbone:
    """The same backbone, loaded once more, bare."""
    dequantize = "computed in fp32" in backbone.compute
    return load_backbone(backbone.id, backbone.precision, str(backbone.device), dequantize)


def _put_lora(backbone: Backbone, config: SmolaConfig) -> None:
    targets = dict(chosen_linears(config, backbone.target_linears(config.target_modules)))
    attach_lora(backbone.model, targets, matched_ranks(config, backbone.model, targets))


def _xlora(backbone: Backbone, config: SmolaConfig) -> Callable[[Backbone, Encoded, int], Any]:
    """Greedy answers, of a number of tokens, of X-LoRA over as many experts of the same rank as the mixture
    has in all groups.
    """
    from peft import LoraConfig, XLoraConfig, get_peft_model

    paths = [path for path, _ in chosen_linears(config, backbone.target_linears(config.target_modules))]
    count = len(config.groups) * config.num_experts
    with tempfile.TemporaryDirectory() as folder:
        lora = LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=paths)
        one: Any = get_peft_model(backbone.model, lora)
        one.save_pretrained(folder)
        base: Any = one.unload()
        base.config.use_cache = False  # X-LoRA asks for it: it reads the whole sequence twice for each token
        width = base.config.get_text_config().hidden_size
        adapters = {str(i): str(Path(folder)) for i in range(count)}
        model: Any = get_peft_model(base, XLoraConfig(hidden_size=width, xlora_depth=1, adapters=adapters))

    @torch.inference_mode()
    def run(encoder: Backbone, row: Encoded, tokens: int) -> Any:
        encoder.forget()
        inputs = {n: v for n, v in encoder.collate([row]).inputs.items() if n != "position_ids"}
        stop = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
        return model.generate(**inputs, **stop)

    return run


def _training(
    backbone: Backbone, adapter: Adapter, with_lora: Backbone, rounds: int
) -> Iterable[tuple[float, float]]:
    """Seconds of forward, backward and AdamW on one batch: mixture, LoRA; pair by pair."""
    scenes = [GENERATORS["shapes"](i, "dev") for i in range(TRAIN_ROWS)]
    rows = [
        [backbone.encode(scene.image, backbone.prompt(qa.task, qa.question), qa.answers[0])]
        for scene in scenes
        for qa in scene.qa[:1]
    ]
    batch = batch_of(backbone, rows).to(backbone.device)
    before = {name: parameter.detach().clone() for name, parameter in adapter.named_parameters()}

    def stepper(loss: AnswerLoss, params: list[torch.nn.Parameter]) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(params, lr=0.0)

        def step() -> None:
            loss(batch).backward()
            optimizer.step()
            optimizer.zero_grad()
            if backbone.device.type == "cuda":
                torch.cuda.synchronize()  # else this step's end is counted as the next one's beginning

        return step

    for parameter in adapter.parameters():
        parameter.requires_grad_(True)
    smola = stepper(AnswerLoss(backbone, adapter), list(adapter.parameters()))
    trained = [p for p in with_lora.model.parameters() if p.requires_grad]
    lora = stepper(AnswerLoss(with_lora, None), trained)
    smola()
    lora()
    yield from ((timed(smola), timed(lora)) for _ in range(rounds))
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_(False)
        assert torch.equal(parameter, before[name]), f"{name} changed"  # noqa: S101  a rate of 0 moves nothing
