"""How weights are held and computed with: NF4, LLM.int8, bfloat16 or float32, on a CPU or a GPU alike.

Only the language model's linears are ever quantized; vision tower, connector and head keep full precision.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from smola_demo.config import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

# Matched from the start of the full name: "vision_tower" alone would protect nothing.
UNQUANTIZED = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


# What transformers notes on a quantized model; without, a dequantized one is saved and moved as plain.
QUANTIZER_NOTES = (
    "hf_quantizer",
    "quantization_method",
    "is_quantized",
    "is_loaded_in_4bit",
    "quantization_config",
    "_weight_conversions",
)


class PrecisionError(ValueError):
    """A precision that does not work on this device; the sentence names what does."""


@dataclass(frozen=True)
class Plan:
    """A precision on a device, with nothing left open. `compute` is the sentence for the screen."""

    precision: str
    device: torch.device
    dequantize: bool = False

    @property
    def compute(self) -> str:
        """How the weights are held and computed with, in a few words."""
        if self.dequantize:
            return "NF4 weights, computed in fp32"
        return {
            "nf4": "4-bit NF4 weights",
            "int8": "8-bit weights (LLM.int8)",
            "bf16": "bfloat16",
            "fp32": "float32",
        }[self.precision]


def choose(precision: str = "auto", device: str = "auto", dequantize: bool | None = None) -> Plan:
    """Settle what "auto" leaves open. Raises PrecisionError for a precision or device that there is not."""
    if precision not in ("auto", *PRECISIONS):
        raise PrecisionError(f"no precision '{precision}': choose auto, {', '.join(PRECISIONS)}")
    place = pick_device(device)
    if dequantize is None:
        dequantize = precision == "auto" and place.type == "cpu"
    if precision == "auto":
        precision = "nf4"
    if dequantize and precision != "nf4":
        raise PrecisionError(f"only nf4 weights can be dequantized, not {precision}: leave dequantize out")
    return Plan(precision, place, dequantize)


def pick_device(device: str = "auto") -> torch.device:
    """The device meant by "auto", "cpu", "cuda" or "cuda:N"; a GPU with its number, which threads need.

    Raises PrecisionError if it is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        place = None
    if place is None or place.type not in ("cpu", "cuda"):
        raise PrecisionError(f"no device '{device}': choose auto, cpu or cuda")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise PrecisionError(
            f"device '{device}' is not on this machine ({torch.cuda.device_count()} GPUs): choose cpu"
        )
    if place.type == "cuda" and place.index is None:  # a new thread begins at 0, whatever this one has chosen
        return torch.device("cuda", torch.cuda.current_device())
    return place


def config_for(precision: str, device: torch.device, unquantized: Sequence[str] = UNQUANTIZED) -> Any:
    """The bitsandbytes configuration for "nf4" or "int8" on a device, without the modules named."""
    from transformers import BitsAndBytesConfig

    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(unquantized))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(device),
        llm_int8_skip_modules=list(unquantized),
    )


def compute_dtype(device: torch.device) -> torch.dtype:
    """What 4-bit linears compute in: float32 on a CPU, a 16-bit type that the GPU has in hardware."""
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def mixed_precision(wanted: str, device: torch.device) -> str:
    """What a training's "auto" comes to: "bf16" where the device has such products in hardware, else "no".

    A device without them emulates them, on a CPU at a ninth of float32's speed or less. A "bf16" asked for
    by name is kept, since a run is rebuilt only by its own precision; one line of warning says what it costs.
    """
    if device.type == "cuda":
        native = compute_dtype(device) == torch.bfloat16
    else:
        has = torch.cpu.get_capabilities()
        native = any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if wanted == "auto":
        return "bf16" if native else "no"
    if wanted == "bf16" and not native:
        _warn_of_emulation("GPU" if device.type == "cuda" else "CPU")
    return wanted


@cache  # once a process: a study asks for every batch
def _warn_of_emulation(kind: str) -> None:
    logging.getLogger(__name__).warning(
        'this %s only emulates bfloat16, so training is many times slower: set "mixed_precision" to "auto"',
        kind,
    )


def keep_exact(model: Any, device: torch.device) -> None:
    """Set linears, as they came from disk, to compute alike on every machine and to let gradients through.

    Raises PrecisionError as `packed_linears` does.
    """
    for packed in packed_linears(model).values():
        packed.compute_dtype = compute_dtype(device)
        packed.compute_type_is_set = True
        # The AVX-512 kernel rounds to bfloat16 and has no backward: answers would depend on the chip.
        packed.support_avx512bf16_for_cpu = False
    # The 8-bit product takes float16 and says so on every call.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def dequantize_linears(model: Any) -> None:
    """Replace every 4-bit linear by a plain one with the same values in float32.

    Raises PrecisionError as `packed_linears` does.
    """
    from bitsandbytes.functional import dequantize_4bit

    for name, packed in packed_linears(model).items():
        weight = dequantize_4bit(packed.weight.data, packed.weight.quant_state).float()
        plain = nn.Linear(packed.in_features, packed.out_features, packed.bias is not None, device="meta")
        plain.weight = nn.Parameter(weight, requires_grad=False)
        plain.bias = packed.bias
        model.set_submodule(name, plain)
    for part in (model, model.config, model.config.get_text_config()):
        for note in QUANTIZER_NOTES:
            vars(part).pop(note, None)


def packed_linears(model: Any) -> dict[str, Any]:
    """Every 4-bit linear by its full name.

    Raises PrecisionError for one on a CPU whose rows are no whole number of blocks: bitsandbytes 0.50 takes
    wrong constants for it there, from beyond the end of their table.
    """
    from bitsandbytes.nn.modules import Linear4bit

    found: dict[str, Any] = {
        n: module for n, module in model.named_modules() if isinstance(module, Linear4bit)
    }
    for name, packed in found.items():
        block = packed.weight.quant_state.blocksize
        if packed.weight.device.type == "cpu" and packed.in_features % block:
            raise PrecisionError(
                f"'{name}' reads {packed.in_features} numbers, no multiple of {block}, which 4 bits on a CPU "
                "do not allow: choose bf16 or fp32"
            )
    return found
