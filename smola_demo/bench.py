"""What the experts cost: ratios from interleaved pairs in one process, so that drift hits both sides.

Each ratio is the median over the pairs, with the smallest and the largest beside it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from smola_demo.ablation import AblationSpec
from smola_demo.data import GENERATORS
from smola_demo.data.gallery import gallery_rows
from smola_demo.generation import Generation, generate
from smola_demo.results import Request
from smola_demo.sweep import leave_one_out, random_removals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        times["decode"].append(per_token(with_experts) / per_token(without))
        times["capture"].append(_whole(recorded) / _whole(with_experts))
        plain["prefill"].append(with_experts.prefill_s)
        plain["decode_per_token"].append(per_token(with_experts))
    return {
        "ratios": {name: spread(values) for name, values in times.items()},
        "seconds": {name: statistics.median(values) for name, values in plain.items()},
    }


def sweep(engine: Engine, rounds: int) -> dict[str, Any]:
    """A leave-one-out sweep with all it shows, against as many single calls as it takes removals.

    The sweep has its first answer, its changed answers and its random removals; a single call answers once,
    without the same experts. The picture is the page's first example.

    Returns {"ratios": {"sweep": …}, "seconds": {"sweep": …, "single_calls": …}}. Raises BenchError.
    """
    if engine.adapter is None:
        raise BenchError("there are no experts to sweep: load some with --experts")
    example = gallery_rows()[0]
    request = Request(example.open(), example.task, example.question)
    removed = [place.spec for place in leave_one_out(engine.adapter, "expert", None)]
    removed += [spec for spec, _ in random_removals(engine.adapter, "expert")]
    specs = [str(spec) for spec in removed]
    backbone = engine.backbone

    def single_calls() -> None:
        for spec in specs:
            backbone.forget()  # each call stands alone
            deque(engine.answer(replace(request, ablation=spec), capture=False), maxlen=0)

    ratios, swept, single = [], [], []
    for _ in tqdm(range(rounds), desc="bench sweep", unit="pair", file=sys.stderr):
        backbone.forget()
        swept.append(timed(lambda: deque(engine.sweep(request), maxlen=0)))
        single.append(timed(single_calls))
        ratios.append(swept[-1] / single[-1])
    return {
        "ratios": {"sweep": spread(ratios)},
        "seconds": {"sweep": median_of(swept), "single_calls": median_of(single)},
    }


def load(make: Callable[[], Engine], rounds: int) -> dict[str, Any]:
    """Seconds to load the engine anew, weights cached: {"seconds": {"load": {median, min, max}}}."""
    return {"ratios": {}, "seconds": {"load": spread([timed(make) for _ in range(rounds)])}}


def median_of(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(list(values))


def per_token(generation: Generation) -> float:
    """Seconds of one token after the first."""
    return generation.decode_s / max(1, len(generation.rows[0].ids) - 1)


def _whole(generation: Generation) -> float:
    return generation.prefill_s + generation.decode_s


def timed(work: Callable[[], object]) -> float:
    """Seconds that the call took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: list[float]) -> dict[str, float]:
    """Median with the smallest and the largest beside it."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
