"""A finished run as one JSON object: all that its pictures need, so that it reopens without a model.

Arrays travel as {"shape", "dtype": "float16", "data"}: little-endian, zlib, base64. The picture is a small
JPEG made anew from its pixels: nothing of the uploaded file itself is kept.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import math
import reprlib
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo import __version__
from smola_demo.config import GROUPS

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from smola_demo.results import Answer, EngineInfo
    from smola_demo.trace import RoutingTrace

FORMAT, VERSION = "smola-run", 1
ARRAYS = ("weight", "contribution", "alignment", "base_norm", "boxes", "random_entropy")
PICTURE_SIDE = 448
JPEG = "data:image/jpeg;base64,"
MAX_BYTES = 16_000_000  # of a run's JSON text
MAX_NUMBERS = 8_000_000  # of one unpacked array
FOLDER, ENDING = "runs", ".json.gz"  # recorded runs of the examples: assets/runs/NAME.json.gz
HALF_MAX = 65504.0  # the largest float16


class RunError(ValueError):
    """A file that is no recorded run; one sentence says what is wrong with it."""


def run_record(answer: Answer, info: EngineInfo, image: Image.Image, when: str) -> dict[str, Any]:
    """The JSON object of one answer.

    when  ISO 8601 time of the run. "routing" is None when nothing was recorded, else holds the trace's axes
    and arrays (see RoutingTrace) and `random_entropy` (see chance), all over the same groups and layers.
    """
    timing = answer.timing
    return {
        "format": FORMAT,
        "version": VERSION,
        "app": __version__,
        "when": when,
        "task": answer.task,
        "question": answer.question,
        "ablation": answer.ablation,
        "picture": {"data": _jpeg(image), "width": image.width, "height": image.height},
        "answer": {
            "text": answer.text,
            "tokens": [{"text": t.text, "logprob": round(t.logprob, 5)} for t in answer.tokens],
            "logprob": round(answer.logprob, 5),
            "stopped": answer.stopped,
            "modules_touched": answer.modules_touched,
        },
        "engine": {
            "backbone": answer.backbone,
            "backbone_name": info.backbone_name,
            "experts": answer.experts,
            "experts_state": info.experts_state,
            "experts_steps": info.experts_steps,
            "routing": info.routing,
            "precision": answer.precision,
            "compute": answer.compute,
            "device": answer.device,
        },
        "timing": {
            "prefill_s": round(timing.prefill_s, 4),
            "decode_s": round(timing.decode_s, 4),
            "tokens_per_s": round(timing.tokens_per_s, 2),
            "memory_mb": round(answer.memory_mb, 1),
        },
        "routing": None if answer.trace is None else _routing(answer.trace, info),
    }


def read_run(text: str | bytes) -> dict[str, Any]:
    """A run from its JSON text, checked. Raises RunError with one sentence."""
    if len(text) > MAX_BYTES:
        raise RunError(f"a recorded run has at most {MAX_BYTES // 1_000_000} MB: this file is no run of ours")
    try:
        run = json.loads(text)
    except (ValueError, RecursionError):
        raise RunError("this file is not JSON: choose a run that was exported here") from None
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise RunError("this JSON is no recorded run: choose a file that was exported here")
    if run.get("version") != VERSION:
        raise RunError(
            f"this run has format version {reprlib.repr(run.get('version'))}, this app reads {VERSION}"
        )
    try:
        _check(run)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, zlib.error) as error:
        raise RunError(f"this run is damaged ({str(error)[:100]}): export it again") from None
    return run


def read_run_file(path: Path) -> dict[str, Any]:
    """A run from a .json or .json.gz file. Raises RunError with one sentence."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if raw[:2] == b"\x1f\x8b":
            raw = zlib.decompressobj(wbits=31).decompress(raw, MAX_BYTES + 1)
    except (OSError, ValueError, zlib.error):
        raise RunError("this file cannot be read: choose a run that was exported here") from None
    return read_run(raw)


def write_run_file(path: Path, run: dict[str, Any]) -> int:
    """Write a run as .json.gz; the same run gives the same bytes. Returns their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(run, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = gzip.compress(text.encode(), 9, mtime=0)
    path.write_bytes(data)
    return len(data)


def pack(values: np.ndarray) -> dict[str, Any]:
    """An array as JSON."""
    plain = np.ascontiguousarray(np.clip(values, -HALF_MAX, HALF_MAX), "<f2")
    data = base64.b64encode(zlib.compress(plain.tobytes(), 6)).decode()
    return {"shape": list(plain.shape), "dtype": "float16", "data": data}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The float32 array that `pack` made small. Raises ValueError or KeyError for anything else."""
    shape = tuple(int(n) for n in packed["shape"])
    if packed["dtype"] != "float16" or min(shape, default=0) < 0:
        raise ValueError("an array of an unknown kind")
    numbers = math.prod(shape)
    if numbers > MAX_NUMBERS:
        raise ValueError(f"an array of {numbers} numbers")
    try:
        stream = zlib.decompressobj()
        raw = stream.decompress(base64.b64decode(packed["data"], validate=True), 2 * numbers + 1)
    except binascii.Error:
        raise ValueError("an array that is not base64") from None
    return np.frombuffer(raw, "<f2").reshape(shape).astype(np.float32)


def _routing(trace: RoutingTrace, info: EngineInfo) -> dict[str, Any]:
    arrays = {name: getattr(trace, name) for name in ARRAYS[:-1]} | {"random_entropy": info.random_entropy}
    return {
        "groups": list(trace.groups),
        "layers": list(trace.layers),
        "projections": list(trace.projections),
        "experts": int(trace.weight.shape[-1]),
        "rank": info.rank,
        "tokens": list(trace.tokens),
        "modality": trace.modality.tolist(),
        "phase": trace.phase.tolist(),
        **{name: pack(np.asarray(values)) for name, values in arrays.items()},
    }


def _check(run: dict[str, Any]) -> None:
    """Raise when a part is missing or does not fit the others."""
    for token in run["answer"]["tokens"]:
        if not isinstance(token["text"], str) or not isinstance(token["logprob"], int | float):
            raise TypeError("a token that is none")
    if not isinstance(run["answer"]["text"], str) or not isinstance(run["task"], str):
        raise TypeError("text that is none")
    if not run["picture"]["data"].startswith(JPEG):
        raise ValueError("a picture that is no JPEG")
    routing = run["routing"]
    if routing is None:
        return
    for name, kind in (("groups", str), ("projections", str), ("tokens", str), ("layers", int)):
        if not all(isinstance(one, kind) for one in routing[name]):
            raise TypeError(f"{name} that are none")
    g, n, p = (len(routing[name]) for name in ("groups", "layers", "projections"))
    t, e = len(routing["tokens"]), int(routing["experts"])
    if (
        len({*routing["groups"]} & {*GROUPS}) != g
        or not len(routing["modality"]) == len(routing["phase"]) == t
        or not {*routing["modality"], *routing["phase"]} <= {0, 1}
        or min(g, n, p, t, e) < 1  # else arrays without a number would fit axes of any length
    ):
        raise ValueError("groups or tokens that do not fit")
    shapes = dict.fromkeys(("weight", "contribution", "alignment"), (g, n, p, t, e))
    shapes |= {"base_norm": (n, p, t), "boxes": (sum(routing["modality"]), 4), "random_entropy": (g, n, 2)}
    for name, shape in shapes.items():
        if unpack(routing[name]).shape != shape:
            raise ValueError(f"{name} does not fit its axes")


def _jpeg(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return JPEG + base64.b64encode(buffer.getvalue()).decode()
