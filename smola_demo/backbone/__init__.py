"""The frozen vision-language model: where its weights come from, how it is quantized, what its tokens are.

Importing this package is cheap; torch and transformers are imported when a model is loaded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smola_demo.backbone.base import Backbone
    from smola_demo.backbone.download import Progress

EMBEDDED = "embedded"
UNTRAINED = "no base"  # no folder of this name: the connector keeps its first values


class BackboneError(ValueError):
    """A backbone that we do not know or cannot load; one sentence says which and what there is."""


def load_backbone(
    id: str = EMBEDDED,
    precision: str = "auto",
    device: str = "auto",
    dequantize: bool | None = None,
    progress: Progress | None = None,
    base: str | None = None,
) -> Backbone:
    """Load a frozen backbone, ready to answer.

    id          "embedded", a folder with a model of a known family, or such a model's id on the model hub
    precision   "nf4", "int8", "bf16", "fp32", or "auto": nf4 on a GPU; on a CPU NF4 weights, computed in fp32
                where that fits, else as they are
    device      "cpu", "cuda", "cuda:1", …, or "auto": the GPU if there is one
    dequantize  turn 4-bit linears into plain ones with the same values; None does so for "auto" on a CPU
    progress    called with (bytes done, bytes in all, what) while weights are fetched; None: a bar on stderr
    base        folder of an embedded base to use instead of the shipped one; "": an untrained one

    The environment variable SMOLA_BACKBONES, a list separated by commas, narrows down what may be loaded; of
    experts of the hub SMOLA_EXPERTS then lists those that may.
    Raises BackboneError for an id that is not allowed, not there, of no known family or larger than what is
    free, PrecisionError for a precision or device that there is not, and CacheError when the embedded weights
    cannot be had.
    """
    started = time.perf_counter()
    from smola_demo.backbone.fit import fit_to_load, known_config, plans
    from smola_demo.backbone.hub import check_allowed
    from smola_demo.backbone.quantization import choose

    check_allowed(id)
    plan = choose(precision, device, dequantize)
    tried = plans(plan.device) if precision == "auto" and dequantize is None else (plan,)
    if id == EMBEDDED:
        from smola_demo.backbone.connector import base_folder
        from smola_demo.backbone.embedded import load_embedded

        fit = fit_to_load(EMBEDDED, known_config(EMBEDDED), tried)
        folder = base_folder() if base is None else Path(base or UNTRAINED)
        backbone = load_embedded(fit.plan if fit else plan, folder, progress)
    else:
        from smola_demo.backbone.pretrained import load_pretrained

        backbone, fit = load_pretrained(id, tried, progress)
    backbone.fit = fit.sentence if fit else ""
    backbone.load_s = time.perf_counter() - started
    return backbone


def fetch(progress: Progress | None = None) -> dict[str, Any]:
    """Bring the embedded weights into the cache, verify them in full, prepare a fast offline start.

    Returns {"path": cache folder, "bytes": size of the weight files, "verified": True}. Raises CacheError.
    """
    from smola_demo.backbone import download
    from smola_demo.backbone.embedded import prepare

    report = download.fetch(progress)
    prepare(progress)
    return report


def cache_path() -> Path:
    """Folder where the weights are kept."""
    from smola_demo.backbone.download import cache_dir

    return cache_dir()
