"""What each command does: options in, one JSON-able object out. Weights load only where needed."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from smola_demo import __version__
from smola_demo.config import ConfigError, TrainConfig
from smola_demo.reports import answer_report, sweep_report
from smola_demo.results import Answer, Progress, Request, Sweep
from smola_demo.tasks import TASKS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from smola_demo.engine import Engine

MAX_RECORDED = 4
LIBRARIES = ("torch", "transformers", "bitsandbytes", "accelerate", "gradio", "plotly")


def info(options: argparse.Namespace) -> dict[str, Any]:
    """Backbones, checkpoints, tasks, device and versions; loads no weights."""
    import torch

    from smola_demo.adapter import read_config
    from smola_demo.backbone import cache_path
    from smola_demo.experts import CHECKPOINTS, checkpoint_names

    checkpoints = []
    for name in checkpoint_names():
        config, facts = read_config(CHECKPOINTS / name)
        keys = ("base_model_name_or_path", "revision", "steps", "precision")
        checkpoints.append({"name": name, **config.to_dict(), **{key: facts.get(key) for key in keys}})
    return {
        "version": __version__,
        "backbones": [{"id": "embedded", "cache": str(cache_path())}],
        "checkpoints": checkpoints,
        "tasks": [{"name": t.name, "description": t.description, "metric": t.metric} for t in TASKS.values()],
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def ask(options: argparse.Namespace) -> dict[str, Any]:
    """One answer."""
    request = _request(options)
    capture = bool(options.routing or options.trace)
    engine = _engine(options)
    answer = [item for item in engine.answer(request, capture=capture) if isinstance(item, Answer)][-1]
    result = answer_report(answer, routing=bool(options.routing))
    if options.trace:
        if answer.trace is None:
            raise ConfigError("there is no routing to write: no experts are loaded")
        answer.trace.save(options.trace)
        result["trace"] = str(options.trace)
    return result


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Leave-one-out effects."""
    request = _request(options)
    engine = _engine(options)
    with tqdm(desc="sweep", unit="expert", file=sys.stderr) as bar:
        *_, result = _watched(engine.sweep(request, options.by, options.expert), bar)
    return sweep_report(result)


def record(options: argparse.Namespace) -> dict[str, Any]:
    """Runs of the examples, which the page shows while its model loads."""
    from datetime import UTC, datetime

    from smola_demo.data.images import open_image
    from smola_demo.runs import ENDING, FOLDER, run_record, write_run_file
    from smola_demo.ui.examples import read_examples

    examples = {example.image.stem: example for example in read_examples(options.assets)}
    missing = [name for name in options.examples if name not in examples]
    if missing:
        raise ConfigError(f"no example '{missing[0]}': there are {', '.join(examples) or 'none'}")
    if len(options.examples) > MAX_RECORDED:
        raise ConfigError(f"at most {MAX_RECORDED} examples, so that the repository stays small")
    engine = _engine(options)
    written = []
    for name in tqdm(options.examples, desc="record", unit="run", file=sys.stderr):
        example = examples[name]
        request = Request(open_image(example.image), example.task, example.question or None)
        answer = [item for item in engine.answer(request) if isinstance(item, Answer)][-1]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        run = run_record(answer, engine.info(), request.image, when)
        path = options.assets / FOLDER / f"{name}{ENDING}"
        written.append({"run": str(path), "bytes": write_run_file(path, run), "answer": answer.text})
    return {"runs": written, "bytes": sum(entry["bytes"] for entry in written)}


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Metrics of suites."""
    from smola_demo.checks import checks
    from smola_demo.evaluate import evaluate as judge
    from smola_demo.evaluate import read_suites, spread, write_metrics
    from smola_demo.looking import looking
    from smola_demo.model_card import has_adapter, write_card

    rows = read_suites(options.suite, options.limit)
    engine = _engine(options)
    total = len(rows) * (1 if options.against is None else 2)
    with tqdm(total=total, desc="evaluate", unit="row", file=sys.stderr) as bar:
        result = judge(engine, rows, options.ablate, bar.update, options.against)
    if options.look:
        with tqdm(total=len(rows), desc="look", unit="row", file=sys.stderr) as bar:
            result["looking"] = looking(engine, rows, bar.update)
    if options.checks:
        with tqdm(total=options.checks, desc="checks", unit="row", file=sys.stderr) as bar:
            result["checks"] = checks(engine, spread(rows, options.checks), progress=bar.update)
    loaded = engine.info()
    facts = {
        "suites": [str(path) for path in options.suite],
        "backbone": loaded.backbone,
        "experts": loaded.experts,
        "steps": loaded.experts_steps,
        "precision": loaded.precision,
        "compute": loaded.compute,
        "device": loaded.device,
        "ablation": options.ablate,
    }
    if options.out:
        write_metrics(result, options.out, facts)
        if has_adapter(options.out):
            write_card(options.out)
    return facts | result


def atlas(options: argparse.Namespace) -> dict[str, Any]:
    """What each expert does over a corpus, written as atlas.json."""
    from smola_demo.atlas import atlas as chart
    from smola_demo.data.gallery import drawn_rows, gallery_rows

    engine = _engine(options)
    folder = options.out or engine.info().folder
    if not folder:
        raise ConfigError("an atlas needs experts: choose a checkpoint with --experts")
    rows = [*gallery_rows(), *drawn_rows(options.drawn)]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    with tqdm(total=len(rows), desc="atlas", unit="row", file=sys.stderr) as bar:
        result = chart(engine, rows, when, bar.update)
    path = Path(folder) / "atlas.json"
    path.write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    return {"atlas": str(path), "rows": len(rows), "entries": len(result["entries"])}


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Train as the config file says, with overrides."""
    try:
        values = json.loads(options.config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{options.config} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{options.config} must hold one JSON object, not {type(values).__name__}")
    for override in options.set:
        _override(values, override)
    config = TrainConfig.from_dict(values)
    from smola_demo.train import train as run

    result = run(config, options.resume)
    return {
        "checkpoint": result.checkpoint,
        "steps": result.steps,
        "seconds": result.seconds,
        "samples_per_s": result.samples / result.seconds,
        "final_loss": result.final_loss,
        "eval": {"dev_loss": result.dev_loss},
    }


def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Ratios from interleaved pairs, all in one process."""
    from smola_demo import bench as timing

    parts = {
        "overhead": lambda: timing.overhead(_engine(options), options.rounds),
        "sweep": lambda: timing.sweep(_engine(options), options.rounds),
        "load": lambda: timing.load(lambda: _engine(options), options.rounds),
    }
    chosen = parts if options.what == "all" else [options.what]
    results = [parts[name]() for name in chosen]
    return {
        key: {k: v for result in results for k, v in result[key].items()} for key in ("ratios", "seconds")
    }


def fetch(options: argparse.Namespace) -> dict[str, Any]:
    """Bring and verify the embedded weights."""
    from smola_demo.backbone import fetch as bring

    report = bring()
    return {**report, "path": str(report["path"])}


def data(options: argparse.Namespace) -> dict[str, Any]:
    """Write suites for evaluate."""
    from smola_demo.data import GENERATORS
    from smola_demo.data.devset import held_out_suite, make_suite

    files = []
    for path in options.hold_out:
        name = path.resolve().parent.name if path.stem == "data" else path.stem
        files.append(held_out_suite(path, options.folder / f"{name}.jsonl", options.n))
    if not options.hold_out:
        with tqdm(total=options.n * len(GENERATORS), unit="row", desc="drawing", file=sys.stderr) as bar:
            files += make_suite(options.folder, n=options.n, progress=bar.update)
    return {"suites": [str(path) for path in files]}


def as_text(command: str, result: dict[str, Any]) -> str:
    """A short reading of a result for people; --json gives all of it."""
    if command == "ask":
        timing = result["timing"]
        where = f"{result['compute']} on {result['device']}, experts {result['experts']}"
        note = (
            f", {result['ablation']['modules_touched']} modules ablated" if result["ablation"]["spec"] else ""
        )
        speed = f"first token {timing['prefill_s']:.2f} s, {timing['tokens_per_s']:.1f} tokens/s"
        return f"{result['answer']}\n  [{where}{note}; {speed}]"
    if command == "sweep":
        rows = sorted(result["experts"], key=lambda effect: effect["delta_logprob"])
        lines = [
            f"  {e['group']}:{e['expert']} {e['where']:<16} {e['delta_logprob']:+8.3f} nats"
            f"  weight {e['weight']:.3f}  contribution {e['contribution']:.3f}"
            f"{'  → ' + e['answer'] if e['answer_changed'] else ''}"
            for e in rows
        ]
        return "\n".join([result["baseline"]["answer"], *lines, f"  [{result['seconds']:.1f} s]"])
    if command == "evaluate":
        lines = [
            f"{task:<10} {t['metric']:<18} {t['value']:.3f}"
            f"  [{t['ci95'][0]:.3f}, {t['ci95'][1]:.3f}]  n={t['n']}" + _against(t.get("against"))
            for task, t in result["tasks"].items()
        ]
        for suite, seen in result.get("looking", {}).items():
            low, high = seen["ci95"]
            lines.append(
                f"{suite:<10} own picture {seen['own']:.3f}, another {seen['other']:.3f} nats per token, "
                f"gain {seen['gain']:.3f} [{low:.3f}, {high:.3f}]  n={seen['n']}"
            )
        return "\n".join(
            [*lines, f"mean {result['mean']:.3f}, {len(result['failed'])} failed, {result['seconds']:.0f} s"]
        )
    return json.dumps(result, indent=2, ensure_ascii=False)


def _against(other: dict[str, Any] | None) -> str:
    if other is None:
        return ""
    low, high = other["ci95"]
    what = "no experts" if other["ablation"] == "none" else f"without {other['ablation']}"
    return f"  {what} {other['value']:.3f}, gain {other['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _watched(items: Iterator[Progress | Sweep], bar: tqdm[Any]) -> Iterator[Sweep]:
    """Show progress on the bar and let the result through."""
    for item in items:
        if isinstance(item, Progress):
            bar.total = item.total
            bar.update(item.done - bar.n)
        else:
            yield item


def _engine(options: argparse.Namespace) -> Engine:
    from smola_demo.engine import Engine

    return Engine.load(options.backbone, options.experts, options.precision)


def _request(options: argparse.Namespace) -> Request:
    from smola_demo.data.images import open_image

    ablation = getattr(options, "ablate", "")
    return Request(
        open_image(options.image), options.task, options.question, ablation, options.max_new_tokens
    )


def _override(values: dict[str, Any], override: str) -> None:
    """Put "key=value" into a config object; the value is JSON, or plain text; dots go into nested objects."""
    key, mark, text = override.partition("=")
    if not mark:
        raise ConfigError(f"--set takes key=value, not '{override}'")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: '{parent}' is not an object")
    values[leaf] = value
