"""Commands that make files: training, evaluation and what the page shows of it. Options in, an object out."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from smola_demo import commands, processes
from smola_demo.config import ConfigError, DataSource, TrainConfig, override
from smola_demo.results import Answer, Request

if TYPE_CHECKING:
    import argparse

MAX_RECORDED = 4
LESS_MEMORY = "set gradient_checkpointing, or halve batch_size and double gradient_accumulation"
MAX_LOOKED = 300  # rows whose answer is scored under their own and under another picture


def record(options: argparse.Namespace) -> dict[str, Any]:
    """Runs of the examples, which the page shows while its model loads."""
    from smola_demo.data.images import open_image
    from smola_demo.runs import ENDING, FOLDER, run_record, write_run_file
    from smola_demo.ui.examples import read_examples

    examples = {example.image.stem: example for example in read_examples(options.assets)}
    missing = [name for name in options.examples if name not in examples]
    if missing:
        raise ConfigError(f"no example '{missing[0]}': there are {', '.join(examples) or 'none'}")
    if len(options.examples) > MAX_RECORDED:
        raise ConfigError(f"at most {MAX_RECORDED} examples, so that the repository stays small")
    engine = commands.load_engine(options)
    written = []
    for name in tqdm(options.examples, desc="record", unit="run", file=sys.stderr):
        example = examples[name]
        picture = open_image(example.image)
        request = Request(picture, example.task, example.question or None)
        answer = [item for item in engine.answer(request) if isinstance(item, Answer)][-1]
        when = datetime.now(UTC).isoformat(timespec="seconds")
        run = run_record(answer, engine.info(), picture, when)
        path = options.assets / FOLDER / f"{name}{ENDING}"
        written.append({"run": str(path), "bytes": write_run_file(path, run), "answer": answer.text})
    return {"runs": written, "bytes": sum(entry["bytes"] for entry in written)}


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Metrics of suites."""
    from smola_demo.baselines import read_training
    from smola_demo.checks import checks
    from smola_demo.evaluate import evaluate as judge
    from smola_demo.evaluate import read_suites, spread
    from smola_demo.health import health
    from smola_demo.looking import looking
    from smola_demo.lora import is_lora
    from smola_demo.metric_files import write_metrics
    from smola_demo.model_card import has_adapter, write_card

    rows, training = read_suites(options.suite, options.limit), read_training(options.training)
    processes.join()
    engine = commands.load_engine(options)
    if (options.checks or options.health) and engine.adapter is None:
        raise ConfigError(
            "--checks and --health look at experts: choose some with --experts, or leave them out"
        )
    loaded = engine.info()
    facts = {
        "suites": [str(path) for path in options.suite],
        "backbone": loaded.backbone,
        "experts": loaded.experts,
        "steps": loaded.experts_steps,
        "sha256": loaded.experts_sha256,
        "precision": loaded.precision,
        "compute": loaded.compute,
        "device": loaded.device,
        "ablation": options.ablate,
    }
    out = options.out if processes.is_main() else None
    if out:
        out.mkdir(parents=True, exist_ok=True)  # before the work: what cannot be written is told first
    baselines = options.baselines or bool(training)
    total = len(rows) * (1 + (options.against is not None) + baselines)
    with _bar(total, "evaluate") as bar:
        result = judge(engine, rows, options.ablate, bar.update, options.against, baselines, training)
    if out:
        write_metrics(result, out, facts)  # what follows may fail, and the answers took longest
    broken = {sample["row"] for sample in result["failed"]}
    rows = [row for row in rows if row.id not in broken]
    if options.look:
        looked = spread(rows, MAX_LOOKED)
        with _bar(len(looked), "look") as bar:
            result["looking"] = looking(engine, looked, bar.update)
    if options.checks:
        with _bar(options.checks, "checks") as bar:
            result["checks"] = checks(engine, spread(rows, options.checks), progress=bar.update)
    if options.health:
        with _bar(options.health, "health") as bar:
            result["health"] = health(engine, spread(rows, options.health), progress=bar.update)
    if out:
        write_metrics(result, out, facts)
        if has_adapter(out) and not is_lora(out):  # whose card is PEFT's
            write_card(out)
    del result["scores"]  # thousands of numbers, for the table and not for a screen
    return facts | result


def cells(options: argparse.Namespace) -> dict[str, Any]:
    """What visual tokens tell of their cells, for each base."""
    from smola_demo.cell_figures import DRAWINGS, cell_figures
    from smola_demo.data import GENERATORS

    bases = options.bases or [None]
    with _bar(len(bases) * len(GENERATORS) * DRAWINGS, "cells") as bar:
        return {"bases": {base or "shipped": cell_figures(base, progress=bar.update) for base in bases}}


def table(options: argparse.Namespace) -> dict[str, Any]:
    """Models side by side; or a document's marked tables, written anew."""
    from smola_demo.documents import fill
    from smola_demo.tables import as_markdown, by_suite, read_models, side_by_side, suites_as_markdown

    if options.fill:
        text = options.fill.read_text(encoding="utf-8")
        written = fill(text, options.fill.parent)
        options.fill.write_text(written, encoding="utf-8")
        return {"filled": str(options.fill), "changed": written != text}
    if options.suites:
        lines = by_suite(read_models(options.models))
        return {"suites": lines, "markdown": suites_as_markdown(lines)}
    found = side_by_side(read_models(options.models))
    return {**found, "markdown": as_markdown(found)}


def atlas(options: argparse.Namespace) -> dict[str, Any]:
    """What each expert does over a corpus, written as atlas.json."""
    from smola_demo.atlas import atlas as chart
    from smola_demo.data.gallery import drawn_rows, gallery_rows

    processes.join()
    engine = commands.load_engine(options)
    folder = options.out or engine.info().folder
    if not folder:
        raise ConfigError("an atlas needs experts: choose a checkpoint with --experts")
    path = Path(folder) / "atlas.json"
    path.parent.mkdir(parents=True, exist_ok=True)  # before minutes of work, not after them
    rows = [*gallery_rows(), *drawn_rows(options.drawn)]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    with _bar(len(rows), "atlas") as bar:
        result = chart(engine, rows, when, bar.update)
    if processes.is_main():
        text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        path.write_text(text + "\n", encoding="utf-8")
    return {"atlas": str(path), "rows": len(rows), "entries": len(result["entries"])}


def _bar(total: int, what: str) -> tqdm[Any]:
    """Progress over this process's share of the rows."""
    share = -(-total // processes.how_many())
    return tqdm(total=share, desc=what, unit="row", file=sys.stderr, disable=not processes.is_main())


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Train as the config file says, with overrides."""
    values = _json_object(options.config)
    for change in options.set:
        key, mark, text = change.partition("=")
        if not mark:
            raise ConfigError(f"--set takes key=value, not '{change}'")
        override(values, key, _json_or_text(text))
    config = TrainConfig.from_dict(values)
    from smola_demo.memory import enough_memory
    from smola_demo.train import train as run

    with enough_memory("train", LESS_MEMORY):
        result = run(config, options.resume)
    return {
        "checkpoint": result.checkpoint,
        "steps": result.steps,
        "seconds": result.seconds,
        "samples_per_s": result.samples / result.seconds,
        "final_loss": result.final_loss,
        "eval": {"dev_loss": result.dev_loss},
    }


def soup(options: argparse.Namespace) -> dict[str, Any]:
    """The mean of several trained experts, written as experts."""
    from smola_demo.soup import soup as mean

    return mean(options.experts, options.out)


def push(options: argparse.Namespace) -> dict[str, Any]:
    """Share experts on the model hub."""
    from smola_demo.sharing import push_to_hub

    return push_to_hub(options.folder, options.repository, options.private)


def study(options: argparse.Namespace) -> dict[str, Any]:
    """Run and compare the arms of a study."""
    from smola_demo.memory import enough_memory
    from smola_demo.study import read_study, run

    with enough_memory("train", LESS_MEMORY):
        return run(read_study(options.study), say=lambda line: tqdm.write(line, file=sys.stderr))


def data(options: argparse.Namespace) -> dict[str, Any]:
    """Write suites for evaluate."""
    from smola_demo.data import generators_of
    from smola_demo.data.devset import held_out_suite, make_suite

    files: list[Path] = []
    rows = {"tasks": options.task, "longest": options.longest}
    for source in (source for path in options.hold_out for source in _sources(path, options.derive)):
        target = options.folder / f"{_suite_name(source)}{'-derived' if options.derive else ''}.jsonl"
        if target in files:
            raise ConfigError(f"two sources would both be {target}: hold them out one by one, in two folders")
        wanted = {**rows, "tasks": options.task or source.tasks}
        files.append(held_out_suite(source, target, options.n, **wanted, derived=options.derive))
    if options.only or not options.hold_out:
        names = options.only or generators_of(options.task)
        with tqdm(total=options.n * len(names), unit="row", desc="drawing", file=sys.stderr) as bar:
            files += make_suite(options.folder, names, n=options.n, progress=bar.update, **rows)
    return {"suites": [str(path) for path in files]}


def _sources(path: Path, derive: bool) -> list[DataSource]:
    """What a path given to --hold-out stands for: itself, or the files and sets that a run's config names."""
    if path.suffix != ".json":
        return [DataSource(str(path))]
    from smola_demo.data import GENERATORS

    named = TrainConfig.from_dict(_json_object(path)).data
    found = [source for source in named if source.name not in GENERATORS and (source.derive or not derive)]
    if not found:
        raise ConfigError(f"{path} names nothing to hold out{' whose derive is true' if derive else ''}")
    return found


def _suite_name(source: DataSource) -> str:
    path = Path(source.name)
    return path.resolve().parent.name if path.name == "data.jsonl" else path.stem


def _json_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one JSON object, not {type(values).__name__}")
    return values


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
