"""What a stage trains and how fast: experts, a LoRA, or the connector; everything else is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from smola_demo.adapter import attach, chosen_linears
from smola_demo.adapter_files import load_weights, read_config
from smola_demo.backbone import connector
from smola_demo.backbone.optimizers import adamw_8bit
from smola_demo.config import ConfigError
from smola_demo.experts import check_base, find_experts
from smola_demo.lora import attach_lora, matched_ranks

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone
    from smola_demo.config import SmolaConfig, TrainConfig
    from smola_demo.lora import Lora


@dataclass(frozen=True)
class Trainable:
    """The parts a run puts on its backbone.

    params   name → parameter of all that is trained
    adapter  the experts: trained, or frozen below a LoRA; None without
    lora     the LoRA, None without
    """

    params: dict[str, nn.Parameter]
    adapter: Adapter | None = None
    lora: Lora | None = None


def make_trainable(config: TrainConfig, backbone: Backbone) -> Trainable:
    """Put on the backbone what this run trains.

    Raises AdapterError, ExpertsError or ConfigError with one sentence: nothing to start from, or made for
    another base.
    """
    if config.init_base and backbone.state:  # it was laid over the model when that was loaded
        raise ConfigError(f"no base at {config.init_base} to start from: train it first, or name another")
    if config.stage == "experts" and config.method == "lora":
        return _lora(config, backbone)
    experts = config.stage == "experts" or bool(config.experts_output)
    adapter = _experts(config, backbone) if experts else None
    params = dict(adapter.named_parameters()) if adapter else {}
    if config.stage == "experts":
        return Trainable(params, adapter)
    connected = _connector(config, backbone)
    for parameter in params.values():
        parameter.requires_grad_(True)
    return Trainable(connected | params, adapter)


def _experts(config: TrainConfig, backbone: Backbone) -> Adapter:
    targets = backbone.target_linears(config.smola.target_modules)
    adapter = attach(
        backbone.model, config.smola, targets, backbone.decoder, backbone.modality_of, seed=config.seed
    )
    start = find_experts(config.init_experts or "none")
    if start:
        before, facts = read_config(start)
        check_base(facts, backbone, start, exact=config.stage != "align")  # which makes other weights
        _check_mixture(before, config.smola, start)
        load_weights(adapter, start)
        _go_on_from(adapter, before)
    return adapter


def _check_mixture(before: SmolaConfig, now: SmolaConfig, folder: Path) -> None:
    """Refuse experts of other groups or another routing, whose tensors may have the same names and shapes."""
    for name in ("groups", "routing"):
        saved, asked = getattr(before, name), getattr(now, name)
        if saved != asked:
            raise ConfigError(
                f"the experts in {folder} have {name} {_said(saved)}, smola asks for {_said(asked)}: "
                "make them equal, or leave init_experts out"
            )


def _said(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _go_on_from(adapter: Adapter, before: SmolaConfig) -> None:
    """Fit experts trained under other factors to this run's: equal outputs, routers as much sharper as asked.

    B takes up a change of `scaling`; learned scales keep their ratio to the first value, `router_scale`.
    """
    sharper = adapter.config.router_scale / before.router_scale
    with torch.no_grad():
        for site in adapter.sites:
            site.linear.mixture.experts.B.mul_(before.scaling / adapter.config.scaling)
        for router in {site.linear.mixture.router for site in adapter.sites}:  # linears may share one
            router.scale.mul_(sharper)


def _lora(config: TrainConfig, backbone: Backbone) -> Trainable:
    """A LoRA on the linears that experts would wrap; over trained experts if `init_experts` names some."""
    if config.smola.shared_router and not config.lora_rank:
        raise ConfigError("a LoRA is matched linear by linear: set shared_router to false, or give lora_rank")
    targets = dict(chosen_linears(config.smola, backbone.target_linears(config.smola.target_modules)))
    ranks = matched_ranks(config.smola, backbone.model, targets)
    if config.lora_rank:
        ranks = dict.fromkeys(ranks, config.lora_rank)
    adapter = None
    below = find_experts(config.init_experts or "none")
    if below:
        smola, facts = read_config(below)
        check_base(facts, backbone, below)
        config.check_packing(smola.routing)
        wrapped = backbone.target_linears(smola.target_modules)
        adapter = attach(backbone.model, smola, wrapped, backbone.decoder, backbone.modality_of)
        load_weights(adapter, below)
    lora = attach_lora(backbone.model, targets, ranks, adapter, config.seed)
    return Trainable(dict(lora.named_parameters()), adapter, lora)


def _connector(config: TrainConfig, backbone: Backbone) -> dict[str, nn.Parameter]:
    """The connector, anew or from `init_base`, and the late blocks of the tower if it is tuned."""
    if not config.init_base:
        connector.start(backbone.model, config.seed)
    late = backbone.model.model.vision_tower.late_parameters() if config.tune_vision else set[str]()
    params = {}
    for name, parameter in backbone.model.named_parameters():
        chosen = name.startswith(connector.CONNECTOR) or name.removeprefix(connector.TOWER) in late
        parameter.requires_grad_(chosen)
        if chosen:
            params[name] = parameter
    return params


def make_optimizer(
    config: TrainConfig, params: dict[str, nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """What the config names over `params`. Raises ConfigError for one that this device cannot run."""
    groups = learning_rates(config, params)
    options: dict[str, Any] = {"weight_decay": config.weight_decay, "betas": (0.9, 0.99)}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, **options)
    return adamw_8bit(config.optimizer, groups, device, **options)


def learning_rates(config: TrainConfig, params: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    """Optimizer groups: the routers' scale learns faster and without decay, a tuned tower slower."""
    rates = {
        "scale": config.scale_learning_rate,
        "router": config.router_learning_rate,
        "tower": config.vision_learning_rate,
        "connector": config.connector_learning_rate or config.learning_rate,
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
        elif name.startswith(connector.CONNECTOR):
            groups["connector"].append(parameter)
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
