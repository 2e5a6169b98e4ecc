"""The plain adapter that a mixture is measured against: LoRA, put on, saved and loaded by PEFT.

It wraps the same linears as experts would. On a model that carries experts it goes below them, on the frozen
linears they wrap: that is the per-task tuning of a generalist.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from smola_demo.adapter import AdapterError
from smola_demo.adapter_files import CONFIG_NAME, KEY_PREFIX, WEIGHTS_NAME
from smola_demo.tensor_files import write_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from smola_demo.adapter import Adapter
    from smola_demo.config import SmolaConfig

PEFT_TYPE = "LORA"
FACTS_NAME = "training.json"  # how it was made; PEFT's own config holds PEFT's fields alone
BELOW_EXPERTS = ".base_layer"


@dataclass(frozen=True)
class Lora:
    """A LoRA on one model: PEFT's config and the model that carries it."""

    model: nn.Module
    config: Any

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(full name in the model, parameter) of every A and B."""
        return ((name, p) for name, p in self.model.named_parameters() if ".lora_" in name)


def matched_rank(config: SmolaConfig, d: int, o: int) -> int:
    """Rank at which a LoRA on a d → o linear has as many parameters as that linear's mixture, rounded.

    A mixture holds g·e·r·(d + o) numbers in its experts, g·e·s·d in its router and g scales.
    """
    experts = len(config.groups) * config.num_experts
    router = experts * config.num_slots * d
    return round((experts * config.rank * (d + o) + router + len(config.groups)) / (d + o))


def matched_ranks(
    config: SmolaConfig, model: nn.Module, targets: Mapping[str, tuple[int, str]]
) -> dict[str, int]:
    """projection → matched rank, for the linears of `model` that experts would wrap."""
    ranks = {}
    for path, (_, leaf) in targets.items():
        linear: Any = model.get_submodule(path)
        ranks[leaf] = matched_rank(config, linear.in_features, linear.out_features)
    return ranks


def attach_lora(
    model: nn.Module,
    targets: Mapping[str, tuple[int, str]],
    ranks: Mapping[str, int],
    adapter: Adapter | None = None,
    seed: int = 0,
) -> Lora:
    """Put a LoRA on linears of `model`, at scaling 1, and freeze everything else, experts included.

    targets  path → (layer, projection), as the backbone names them
    ranks    projection → rank
    adapter  experts that wrap some of these linears already: there the LoRA goes below them
    seed     of the random A, started as PEFT starts them; B starts at zero
    """
    from peft import LoraConfig

    wrapped = {site.path for site in adapter.sites} if adapter else set[str]()
    below = {path: BELOW_EXPERTS * (path in wrapped) for path in targets}
    by_name = {leaf + below[path]: ranks[leaf] for path, (_, leaf) in targets.items()}
    config = LoraConfig(
        r=max(ranks.values()),
        lora_alpha=max(ranks.values()),
        target_modules=[path + below[path] for path in targets],
        rank_pattern=by_name,
        alpha_pattern=by_name,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _inject(model, config)


def save_lora(lora: Lora, folder: str | Path, facts: Mapping[str, Any]) -> Path:
    """Write PEFT's two files, which PEFT reads too, and `facts` beside them; weights go in as bfloat16."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        KEY_PREFIX + name.replace(".default.", "."): p.detach().to("cpu", torch.bfloat16).contiguous()
        for name, p in lora.named_parameters()
    }
    write_tensors(tensors, folder / WEIGHTS_NAME)
    lora.config.base_model_name_or_path = facts["base_model_name_or_path"]
    lora.config.revision = facts["revision"]
    lora.config.save_pretrained(str(folder))
    (folder / FACTS_NAME).write_text(json.dumps(dict(facts), indent=2) + "\n", encoding="utf-8")
    return folder


def is_lora(folder: str | Path) -> bool:
    """Whether a folder holds a LoRA rather than experts."""
    try:
        facts = json.loads((Path(folder) / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("peft_type") == PEFT_TYPE


def read_lora_facts(folder: str | Path) -> dict[str, Any]:
    """How a saved LoRA was made. Raises AdapterError when that is not written beside it."""
    path = Path(folder) / FACTS_NAME
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise AdapterError(f"{path} is missing or damaged: this LoRA was not made by smola_demo") from None
    if not isinstance(facts, dict):
        raise AdapterError(f"{path} does not hold an object: this LoRA was not made by smola_demo")
    return facts


def load_lora(model: nn.Module, folder: str | Path) -> Lora:
    """Put a saved LoRA on a model. Raises AdapterError for files that are damaged or do not fit."""
    from peft import LoraConfig

    folder = Path(folder)
    try:
        lora = _inject(model, LoraConfig.from_pretrained(str(folder)))
        saved = load_file(folder / WEIGHTS_NAME)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise AdapterError(f"the LoRA in {folder} cannot be loaded ({error})") from None
    wanted = {KEY_PREFIX + name.replace(".default.", "."): p for name, p in lora.named_parameters()}
    for name in sorted(set(wanted) | set(saved)):
        if name not in wanted or name not in saved or wanted[name].shape != saved[name].shape:
            raise AdapterError(f"the LoRA in {folder} does not fit this model: see tensor {name}")
        if not torch.isfinite(saved[name]).all():
            raise AdapterError(f"{folder}: tensor {name} holds NaN or infinity; the LoRA is damaged")
        with torch.no_grad():
            wanted[name].copy_(saved[name])
    return lora


def _inject(model: nn.Module, config: Any) -> Lora:
    from peft import inject_adapter_in_model

    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if ".lora_" in name:  # of a bfloat16 linear PEFT makes bfloat16 ones, whose small steps would be lost
            parameter.data = parameter.data.float()
    return Lora(model, config)
