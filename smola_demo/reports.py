"""What a result is as JSON: the same objects for the command line and the API."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo import __version__
from smola_demo.tasks import TASKS

if TYPE_CHECKING:
    from smola_demo.results import Answer, EngineInfo, Sweep
    from smola_demo.trace import RoutingTrace


def answer_report(answer: Answer, *, routing: bool = False) -> dict[str, Any]:
    """One answer. With `routing` also what `routing_report` says; empty when nothing was recorded."""
    report = {
        "answer": answer.text,
        "task": answer.task,
        "question": answer.question,
        "tokens": [{"text": token.text, "logprob": token.logprob} for token in answer.tokens],
        "logprob": answer.logprob,
        "stopped": answer.stopped,
        "backbone": answer.backbone,
        "experts": answer.experts,
        "precision": answer.precision,
        "compute": answer.compute,
        "device": answer.device,
        "ablation": {"spec": answer.ablation, "modules_touched": answer.modules_touched},
        "timing": asdict(answer.timing),
        "memory_mb": answer.memory_mb,
    }
    if routing:
        report["routing"] = {} if answer.trace is None else routing_report(answer.trace)
    return report


def sweep_report(sweep: Sweep) -> dict[str, Any]:
    """Leave-one-out effects and the baseline they are held against."""
    return {
        "baseline": answer_report(sweep.baseline),
        "experts": [asdict(effect) for effect in sweep.effects],
        "random": [asdict(removal) for removal in sweep.random],
        "seconds": sweep.seconds,
    }


def routing_report(trace: RoutingTrace) -> dict[str, Any]:
    """Per phase and group: mean weight and share of the residual per expert, and the entropy (nats).

    The entropy and that of even routing are among the experts that an ablation leaves, None where it leaves
    none.
    """
    from smola_demo.trace import ANSWER, PROMPT

    phases: dict[str, Any] = {}
    for name, phase in (("prompt", PROMPT), ("answer", ANSWER)):
        part = trace.select(trace.phase == phase)
        weight, share = part.mean(part.weight).mean(1), part.mean(part.share()).mean(1)
        entropy, even = part.entropy(), part.uniform_entropy()
        served = [bool(tokens.any()) for tokens in part.serves()]
        phases[name] = {
            group: {
                "mean_weight": weight[g].tolist(),
                "contribution": share[g].tolist(),
                "entropy": _mean_of_known(entropy[g]),
                "uniform_entropy": _mean_of_known(even[g]),
            }
            for g, group in enumerate(trace.groups)
            if served[g]
        }
    return phases


def _mean_of_known(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def engine_report(info: EngineInfo) -> dict[str, Any]:
    """What is loaded, and the tasks it can be asked."""
    kept_here = ("random_entropy", "folder", "experts_option")  # paths of this machine are nobody else's
    facts = {key: value for key, value in vars(info).items() if key not in kept_here}
    for key in ("groups", "layers", "projections"):
        facts[key] = list(facts[key])
    tasks = [
        {"name": t.name, "description": t.description, "needs_question": t.needs_question}
        for t in map(TASKS.__getitem__, info.tasks)
    ]
    return {"version": __version__, **facts, "tasks": tasks}
