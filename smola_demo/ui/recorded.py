"""Runs that were made before: reopened from a visitor's file, or shipped with the examples. Values only.

No model is needed: all that is shown is in the run (see runs).
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo.plots import RunningRouting, routing_view
from smola_demo.runs import ENDING, FOLDER, RunError, unpack
from smola_demo.ui.answer import CONFIDENCE
from smola_demo.ui.asked import task_asked
from smola_demo.ui.view import encode

if TYPE_CHECKING:
    from pathlib import Path

    from smola_demo.ui.examples import Example


def shipped_runs(assets: Path, examples: list[Example]) -> list[tuple[Path, str]]:
    """(file, title) of the examples that have a recorded run, in the order of the examples."""
    found = [(assets / FOLDER / f"{example.image.stem}{ENDING}", example.title) for example in examples]
    return [(path, title) for path, title in found if path.is_file()]


def views(run: dict[str, Any], kind: str) -> tuple[str, str, str, str]:
    """Values of the answer, map, explorer and note views for a checked run.

    kind  "reopened" or "recorded"; the page says so. Raises RunError when a part of the run has no sense.
    """
    try:
        said = origin(run, kind)
        note = encode({"text": said, "kind": "recorded"})
        return encode(answer_of(run, kind, said)), encode(map_of(run)), encode(run), note
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunError(f"this run is damaged ({type(error).__name__}): export it again") from None


def origin(run: dict[str, Any], kind: str) -> str:
    """Where a run comes from, in one line."""
    when = datetime.fromisoformat(run["when"])
    zone = " UTC" if when.utcoffset() is not None and not when.utcoffset() else ""
    engine = run["engine"]
    first = "Reopened run" if kind == "reopened" else "Recorded run"
    ablated = f", without {run['ablation']}" if run["ablation"] else ""
    return f"{first}, not live: made on {when:%Y-%m-%d at %H:%M}{zone} with {_experts_then(engine)}{ablated}."


def _experts_then(engine: dict[str, Any]) -> str:
    """What answered beside the backbone: "experts NAME after 4,000 steps", "no experts" and so on."""
    name, state = engine["experts"], engine["experts_state"]
    if state == "none":
        return "no experts"
    if state == "untrained":
        return "untrained experts"
    return f"{'the LoRA' if state == 'lora' else 'experts'} {name} after {engine['experts_steps']:,} steps"


def answer_of(run: dict[str, Any], kind: str, said: str) -> dict[str, Any]:
    """Value of the answer view."""
    answer, timing, engine = run["answer"], run["timing"], run["engine"]
    chances = [math.exp(float(token["logprob"])) for token in answer["tokens"]]
    sure = f"{100 * sum(chances) / len(chances):.0f} %" if chances else "–"
    kinds = {"untrained": "untrained: nearly uniform", "lora": f"{engine['experts']}: a LoRA, no mixture"}
    state = kinds.get(engine["experts_state"], engine["experts"])
    return {
        "state": "done",
        "origin": kind,
        "text": answer["text"],
        "hint": "The model ended its answer at once: it said nothing.",
        "message": said,
        "tokens": [[token["text"], round(p, 4)] for token, p in zip(answer["tokens"], chances, strict=True)],
        "run": [
            ("asked", task_asked(run["task"], run["question"])),
            ("time then", f"{float(timing['prefill_s']) + float(timing['decode_s']):.1f} s"),
            ("tokens", str(len(chances))),
            ("confidence", sure),
        ],
        "engine": [
            ("model", str(engine["backbone_name"])),
            ("precision", str(engine["compute"])),
            ("device", str(engine["device"])),
            ("experts", str(state)),
        ],
        "notice": CONFIDENCE,
    }


def map_of(run: dict[str, Any]) -> dict[str, Any]:
    """Value of the live map's view: the same means that were drawn when the run was made."""
    routing = run["routing"]
    if routing is None:
        lora = run["engine"]["experts_state"] == "lora"
        why = "a LoRA without a mixture of experts answered" if lora else "no experts were loaded"
        return routing_view((), (), 0, {}) | {"notice": f"This run has no routing: {why}."}
    modality, phase = np.array(routing["modality"]), np.array(routing["phase"])
    kinds = {"visual": modality == 1, "text": modality == 0, "multimodal": modality >= 0}
    serves = np.stack([kinds[group] for group in routing["groups"]])
    wrapped = np.asarray(~np.isnan(unpack(routing["base_norm"])).any(-1))  # a layer may lack a projection
    arrays = [np.nan_to_num(unpack(routing[name])) for name in ("weight", "contribution")]
    running = RunningRouting(routing["groups"], routing["layers"], int(routing["experts"]))
    steps = [("prompt", phase == 0), *(("answer", np.arange(len(phase)) == t) for t in np.flatnonzero(phase))]
    for name, rows in steps:
        running.add(name, *(_mean(values, serves & rows, wrapped) for values in arrays))
    return running.view()


def _mean(values: np.ndarray, served: np.ndarray, wrapped: np.ndarray) -> np.ndarray:
    """(G, L, P, T, E) → (G, L, E) over the tokens in `served` (G, T) and a layer's projections (L, P)."""
    total = np.einsum("glpte,gt,lp->gle", values, served.astype(np.float32), wrapped.astype(np.float32))
    return total / served.sum(1).clip(1)[:, None, None] / wrapped.sum(1).clip(1)[None, :, None]
