"""What the experts cost: ratios from interleaved pairs in one process, so that drift hits both sides.

Each ratio is the median over the pairs, with the smallest and the largest beside it.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from smola_demo.ablation import AblationSpec
from smola_demo.data import GENERATORS
from smola_demo.generation import Generation, generate

if TYPE_CHECKING:
    from collections.abc import Callable

    from smola_demo.engine import Engine

NEW_TOKENS = 24


class BenchError(ValueError):
    """Something that cannot be timed; one sentence says what is missing."""


def overhead(engine: Engine, rounds: int) -> dict[str, Any]:
    """Prefill and decode with experts against without, and recording against not, on one drawn picture.

    Returns {"ratios": {prefill, decode, capture: {median, min, max}}, "seconds": medians of the plain times}.
    Raises BenchError when no experts are loaded.
    """
    backbone, adapter = engine.backbone, engine.adapter
    if adapter is None:
        raise BenchError("there are no experts to time: load some with --experts")
    image = GENERATORS["shapes"](0, "dev").image
    row = backbone.encode(image, backbone.prompt("caption"))

    def run(record: bool = False) -> Generation:
        backbone.forget()  # every run looks at the picture anew
        return generate(backbone, adapter, [row], [AblationSpec()], NEW_TOKENS, record)

    def bare() -> Generation:
        with adapter.disabled():
            return run()

    times: dict[str, list[float]] = {name: [] for name in ("prefill", "decode", "capture")}
    plain: dict[str, list[float]] = {"prefill": [], "decode_per_token": []}
    run()
    bare()
    for _ in tqdm(range(rounds), desc="bench", unit="pair", file=sys.stderr):
        with_experts, without, recorded = run(), bare(), run(record=True)
        times["prefill"].append(with_experts.prefill_s / without.prefill_s)
        times["decode"].append(_per_token(with_experts) / _per_token(without))
        times["capture"].append(_whole(recorded) / _whole(with_experts))
        plain["prefill"].append(with_experts.prefill_s)
        plain["decode_per_token"].append(_per_token(with_experts))
    return {
        "ratios": {name: _spread(values) for name, values in times.items()},
        "seconds": {name: statistics.median(values) for name, values in plain.items()},
    }


def sweep(engine: Engine, rounds: int) -> dict[str, Any]:
    """A leave-one-out sweep of all experts against as many single comparisons' scoring passes.

    Returns {"ratios": {"sweep": {...}}, "seconds": {"sweep": s}}.
    """
    from smola_demo.effects import GivenAnswer
    from smola_demo.sweep import leave_one_out

    backbone, adapter = engine.backbone, engine.adapter
    if adapter is None:
        raise BenchError("there are no experts to sweep: load some with --experts")
    row = backbone.encode(GENERATORS["shapes"](0, "dev").image, backbone.prompt("caption"))
    ids = generate(backbone, adapter, [row], [AblationSpec()], NEW_TOKENS).rows[0].ids
    given = GivenAnswer(backbone, adapter, row, ids)
    specs = [place.spec for place in leave_one_out(adapter, "expert", None)]
    ratios, seconds = [], []
    for _ in tqdm(range(rounds), desc="bench sweep", unit="pair", file=sys.stderr):
        batched = _timed(lambda: [given.under(specs[i : i + 8]) for i in range(0, len(specs), 8)])
        single = _timed(lambda: [given.under([spec]) for spec in specs])
        ratios.append(batched / single)
        seconds.append(batched)
    return {"ratios": {"sweep": _spread(ratios)}, "seconds": {"sweep": statistics.median(seconds)}}


def load(make: Callable[[], Engine], rounds: int) -> dict[str, Any]:
    """Seconds to load the engine anew, weights cached: {"seconds": {"load": {median, min, max}}}."""
    return {"ratios": {}, "seconds": {"load": _spread([_timed(make) for _ in range(rounds)])}}


def _per_token(generation: Generation) -> float:
    return generation.decode_s / max(1, len(generation.rows[0].ids) - 1)


def _whole(generation: Generation) -> float:
    return generation.prefill_s + generation.decode_s


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
