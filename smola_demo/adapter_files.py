"""Experts as files: the config and the weights of an adapter, written and read.

Names follow PEFT (adapter_config.json, adapter_model.safetensors); PEFT cannot load them.
"""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch

from smola_demo import __version__
from smola_demo.adapter import AdapterError
from smola_demo.config import ConfigError, SmolaConfig
from smola_demo.tensor_files import write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from smola_demo.adapter import Adapter

PEFT_TYPE = "OMNI_SMOLA"
CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
FACTS = {"base_model_name_or_path": str, "revision": str, "steps": int}  # what the app itself reads
KINDS = ("F64", "F32", "F16", "BF16")
KEY_PREFIX = "base_model.model."  # as PEFT writes its keys


def save(
    adapter: Adapter, folder: str | Path, facts: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> Path:
    """Write the two files of an adapter. `facts` (base model, revision, tasks, steps…) go into the config."""
    named = adapter.named_parameters()
    tensors = {KEY_PREFIX + name: p.detach().to("cpu", dtype).contiguous() for name, p in named}
    return write_files(tensors, adapter.config, Path(folder), facts)


def write_files(
    tensors: Mapping[str, Tensor], config: SmolaConfig, folder: Path, facts: Mapping[str, Any]
) -> Path:
    """Write tensors, named as in the file, and a config with facts; returns the folder.

    The weights are written first and renamed into place, so a reader never sees half a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = {"smola_demo_version": __version__, **facts, "peft_type": PEFT_TYPE, **config.to_dict()}
    write_tensors(tensors, folder / WEIGHTS_NAME)
    text = folder / (CONFIG_NAME + ".partial")
    text.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    text.replace(folder / CONFIG_NAME)
    return folder


def read_config(folder: str | Path) -> tuple[SmolaConfig, dict[str, Any]]:
    """Mixture config and all facts of a saved adapter. Raises AdapterError if it is none, or another kind."""
    path = Path(folder) / CONFIG_NAME
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(f"no experts at {folder}: {CONFIG_NAME} is missing") from None
    except OSError as error:
        raise AdapterError(f"{path} cannot be read ({error.strerror}): fetch the experts again") from None
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{path} is not valid JSON ({error}): fetch the experts again") from None
    kind = facts.get("peft_type") if isinstance(facts, dict) else type(facts).__name__
    if kind != PEFT_TYPE:
        raise AdapterError(
            f"{path} describes a {str(kind)[:40]} adapter, not {PEFT_TYPE}: choose SMoLA experts"
        )
    for name, kind in FACTS.items():
        if not isinstance(facts.get(name, kind()), kind):
            raise AdapterError(f"{path}: {name} cannot be {reprlib.repr(facts[name])}: fetch it again")
    fields = SmolaConfig.__dataclass_fields__
    try:
        return SmolaConfig.from_dict({k: v for k, v in facts.items() if k in fields}), facts
    except ConfigError as error:
        raise AdapterError(f"{path} describes no usable mixture: {error}") from None


def check_size(folder: str | Path, numbers: int) -> None:
    """Refuse weights that are smaller than what their config describes, before room is made for it.

    numbers  how many the config describes at least. Raises AdapterError.
    """
    path = Path(folder) / WEIGHTS_NAME
    if path.is_file() and path.stat().st_size < numbers:
        raise AdapterError(f"{path} is too small for the {numbers:,} numbers of its config: fetch both again")


def load_weights(adapter: Adapter, folder: str | Path) -> None:
    """Fill an attached adapter from a saved one. Raises AdapterError naming the first unfit tensor."""
    path = Path(folder) / WEIGHTS_NAME
    expected = {KEY_PREFIX + name: parameter for name, parameter in adapter.named_parameters()}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name in sorted(names ^ set(expected)):
                place = "lacks" if name in expected else "has an unknown"
                raise AdapterError(f"{path} {place} tensor {name}: it was made for another model or mixture")
            tensors = {name: _read(parameter, file, name, path) for name, parameter in expected.items()}
    except FileNotFoundError:
        raise AdapterError(f"no experts at {folder}: {WEIGHTS_NAME} is missing") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise AdapterError(f"{path} is no readable safetensors file ({error}): fetch it again") from None
    with torch.no_grad():  # only now, so that a file that does not fit changes nothing
        for name, parameter in expected.items():
            parameter.copy_(tensors[name])


def _read(parameter: nn.Parameter, file: Any, name: str, path: Path) -> Tensor:
    found = file.get_slice(name)
    shape, kind = tuple(found.get_shape()), found.get_dtype()
    if kind not in KINDS:
        raise AdapterError(f"{path}: tensor {name} holds numbers of the kind {kind}, not {', '.join(KINDS)}")
    if shape != tuple(parameter.shape):
        needed = tuple(parameter.shape)
        raise AdapterError(f"{path}: tensor {name} has shape {shape}, this mixture needs {needed}")
    tensor = file.get_tensor(name).to(parameter.dtype)
    if not torch.isfinite(tensor).all():
        raise AdapterError(f"{path}: tensor {name} holds NaN or infinity; the experts are damaged")
    return tensor
