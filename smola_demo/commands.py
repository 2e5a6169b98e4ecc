"""Commands that look or answer: options in, one JSON-able object out. Weights load only where needed."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from smola_demo import __version__
from smola_demo.config import ConfigError
from smola_demo.reports import answer_report, sweep_report
from smola_demo.results import Answer, Progress, Request, Sweep
from smola_demo.tasks import TASKS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from smola_demo.engine import Engine

LIBRARIES = ("torch", "transformers", "bitsandbytes", "accelerate", "gradio", "plotly")


def info(options: argparse.Namespace) -> dict[str, Any]:
    """Backbones, checkpoints, tasks, device and versions; loads no weights."""
    import torch

    from smola_demo.adapter import AdapterError
    from smola_demo.adapter_files import read_config
    from smola_demo.backbone import cache_path
    from smola_demo.backbone.families import FAMILIES
    from smola_demo.experts import CHECKPOINTS, checkpoint_names, facts_of
    from smola_demo.lora import is_lora

    checkpoints = []
    for name in checkpoint_names():
        folder = CHECKPOINTS / name
        try:
            shape = {"method": "lora"} if is_lora(folder) else read_config(folder)[0].to_dict()
            facts = facts_of(folder)
        except AdapterError as error:
            checkpoints.append({"name": name, "error": str(error)})
            continue
        keys = ("base_model_name_or_path", "revision", "steps", "precision")
        checkpoints.append({"name": name, **shape, **{key: facts.get(key) for key in keys}})
    return {
        "version": __version__,
        "backbones": [{"id": "embedded", "cache": str(cache_path())}],
        "families": list(FAMILIES),
        "checkpoints": checkpoints,
        "tasks": [{"name": t.name, "description": t.description, "metric": t.metric} for t in TASKS.values()],
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def ask(options: argparse.Namespace) -> dict[str, Any]:
    """One answer."""
    request = _request(options)
    capture = bool(options.routing or options.trace)
    engine = load_engine(options)
    answer = [item for item in engine.answer(request, capture=capture) if isinstance(item, Answer)][-1]
    result = answer_report(answer, routing=bool(options.routing))
    if options.trace:
        if answer.trace is None:
            raise ConfigError("there is no routing to write: no experts are loaded")
        options.trace.parent.mkdir(parents=True, exist_ok=True)
        answer.trace.save(options.trace)
        result["trace"] = str(options.trace)
    return result


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Leave-one-out effects, by all processes of a launch together."""
    from smola_demo import processes

    processes.join()
    request = _request(options)
    engine = load_engine(options)
    with tqdm(desc="sweep", unit="expert", file=sys.stderr, disable=not processes.is_main()) as bar:
        *_, result = _watched(engine.sweep(request, options.by, options.expert, shared=True), bar)
    return sweep_report(result)


def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Ratios from interleaved pairs, all in one process."""
    from smola_demo import bench as timing
    from smola_demo import bench_peers

    parts = {
        "overhead": lambda: timing.overhead(load_engine(options), options.rounds),
        "sweep": lambda: timing.sweep(load_engine(options), options.rounds),
        "peers": lambda: bench_peers.peers(load_engine(options), options.rounds),
        "growth": lambda: bench_peers.growth(load_engine(options), options.rounds),
        "load": lambda: timing.load(lambda: load_engine(options), options.rounds),
    }
    chosen = parts if options.what == "all" else [options.what]
    results = [parts[name]() for name in chosen]
    return {
        key: {k: v for result in results for k, v in result[key].items()} for key in ("ratios", "seconds")
    }


def fit(options: argparse.Namespace) -> dict[str, Any]:
    """Whether a model fits before it is loaded; a card's memory if one is named, else what is free here."""
    import torch

    from smola_demo import fit_report
    from smola_demo.backbone import fit as fitting
    from smola_demo.backbone.quantization import pick_device

    if options.table:
        return {"table": fit_report.tables()}
    device = torch.device("cuda") if options.memory else pick_device()
    free = options.memory or fitting.free_bytes(device)
    counts = fitting.counts_of(options.model)
    tried = fitting.plans(device, options.precision)
    found = fitting.choose_fit(counts, free, tried, options.train, options.model)
    return fit_report.report(options.model, found, free, options.train)


def fetch(options: argparse.Namespace) -> dict[str, Any]:
    """Bring and verify the embedded weights."""
    from smola_demo.backbone import fetch as bring

    report = bring()
    return {**report, "path": str(report["path"])}


def _watched(items: Iterator[Progress | Sweep], bar: tqdm[Any]) -> Iterator[Sweep]:
    """Show progress on the bar and let the result through."""
    for item in items:
        if isinstance(item, Progress):
            bar.total = item.total
            bar.update(item.done - bar.n)
        else:
            yield item


def load_engine(options: argparse.Namespace) -> Engine:
    """The engine that the command's options ask for."""
    from smola_demo.engine import Engine
    from smola_demo.experts import on_hub

    engine = Engine.load(options.backbone, options.experts, options.precision)
    if on_hub(options.experts):
        told = engine.info()
        line = f"experts {told.experts}, commit {Path(told.folder).name}, sha256 {told.experts_sha256}"
        tqdm.write(line, file=sys.stderr)
    return engine


def _request(options: argparse.Namespace) -> Request:
    from smola_demo.data.images import open_image

    ablation = getattr(options, "ablate", "")
    return Request(
        open_image(options.image), options.task, options.question, ablation, options.max_new_tokens
    )
