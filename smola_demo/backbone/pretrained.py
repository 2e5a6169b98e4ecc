"""Loads a vision-language model of a known family from a folder or the model hub, in any precision."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from tqdm import tqdm

from smola_demo.backbone import BackboneError
from smola_demo.backbone.families import FAMILIES, family_of
from smola_demo.backbone.family import Processor
from smola_demo.backbone.fit import config_from, fit_to_load
from smola_demo.backbone.hub import find, licence, revision
from smola_demo.backbone.quantization import (
    PrecisionError,
    compute_dtype,
    config_for,
    dequantize_linears,
    keep_exact,
)
from smola_demo.backbone.store import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.backbone.download import Progress
    from smola_demo.backbone.family import FamilyBackbone
    from smola_demo.backbone.fit import Fit
    from smola_demo.backbone.hub import Source
    from smola_demo.backbone.quantization import Plan


def load_pretrained(
    id: str, tried: Sequence[Plan], progress: Progress | None = None
) -> tuple[FamilyBackbone, Fit | None]:
    """The model of a folder or hub id in the first of `tried` that fits, and how it was judged to fit.

    Its pictures are kept to the size that fits, where its family can vary it. `progress` is told what was
    chosen, stderr if it is None. Raises BackboneError with what to do where the model is missing, gated, out
    of reach, too large, damaged or of no family of ours, and PrecisionError as `keep_exact` does.
    """
    source = find(id)
    family = family_for(source)
    fit = fit_to_load(id, source_config(source), tried)
    plan = fit.plan if fit else tried[0]
    said = fit.sentence if fit else f"loading {id}"
    if progress:
        progress(0, 0, said)
    else:
        tqdm.write(said, file=sys.stderr)
    with quiet():
        try:
            model = _model(source, family, plan)
            processor = _processor(source)
        except (BackboneError, PrecisionError):
            raise
        except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BackboneError(
                f"'{id}' could not be loaded ({first}): fetch it again, or choose another"
            ) from error
    backbone = family(
        id=id,
        name=id.rstrip("/").rsplit("/", 1)[-1],
        licence=licence(source, family.licence_note),
        revision=revision(source),
        model=model.eval().requires_grad_(False),
        processor=processor,
        precision=plan.precision,
        compute=plan.compute,
        device=plan.device,
    )
    backbone.check()
    if fit:
        backbone.limit(fit.picture)
    return backbone, fit


def source_config(source: Source) -> Any:
    """The config of a model that was found. Raises BackboneError for a damaged one."""
    try:
        return config_from(source.config)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BackboneError(
            f"config.json of '{source.id}' is damaged ({type(error).__name__}): fetch it again"
        ) from error


def family_for(source: Source) -> type[FamilyBackbone]:
    """The class that serves a model that was found. Raises BackboneError where there is none."""
    kind = source.config.get("model_type")
    if kind not in FAMILIES:
        raise BackboneError(
            f"'{source.id}' is of type '{kind}', which is not served: choose one of {', '.join(FAMILIES)}"
        )
    if "quantization_config" in source.config:
        raise BackboneError(f"'{source.id}' is quantized already: choose the model it was made from")
    return family_of(kind)


def _model(source: Source, family: type[FamilyBackbone], plan: Plan) -> Any:
    from transformers import AutoModelForImageTextToText

    options: dict[str, Any] = {"device_map": {"": plan.device}, "use_safetensors": True, **source.options}
    if plan.precision in ("nf4", "int8"):
        # Of the whole model, only what sits in the language model's layers.
        keep = rf"(?!{re.escape(family.decoder_path)}\.layers\.).*"
        options["quantization_config"] = config_for(plan.precision, plan.device, [keep])
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        source.id, dtype=_dtype(plan), output_loading_info=True, **options
    )
    model, told = loaded
    if wrong := [*told["missing_keys"], *told["mismatched_keys"]]:
        raise BackboneError(
            f"the weights of '{source.id}' do not fit its config ('{wrong[0]}'): fetch it again"
        )
    if plan.dequantize:
        dequantize_linears(model)
    elif plan.precision in ("nf4", "int8"):
        keep_exact(model, plan.device)
    _forget_sampling(model)
    return model


def _forget_sampling(model: Any) -> None:
    """Of the model's own settings for answering, keep the special tokens.

    A penalty for repetition would bend greedy answers too, away from what scoring finds likeliest.
    """
    own = model.generation_config
    tokens = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = type(own)(**tokens)


def _dtype(plan: Plan) -> torch.dtype:
    """What is not quantized, the vision tower and the connector above all, is held and computed in."""
    if plan.precision == "bf16":
        return torch.bfloat16
    return torch.float32 if plan.precision == "fp32" or plan.dequantize else compute_dtype(plan.device)


def _processor(source: Source) -> Processor:
    """Tokenizer, image processor and chat template, but no video part: that would need torchvision."""
    from transformers import AutoImageProcessor, AutoTokenizer
    from transformers.processing_utils import ProcessorMixin

    tokenizer = AutoTokenizer.from_pretrained(source.id, **source.options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    images = AutoImageProcessor.from_pretrained(source.id, backend="pil", **source.options)
    settings, _ = ProcessorMixin.get_processor_dict(source.id, **source.options)
    return Processor(tokenizer, images, settings.get("chat_template") or tokenizer.chat_template)
