"""The command line: `python -m smola_demo COMMAND`.

With --json, stdout is one JSON object; all else goes to stderr.

Exit codes: 0 done, 1 failed with a one-sentence reason on stderr, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from smola_demo import __version__, commands, offline_commands, processes
from smola_demo.config import GROUPS, PRECISIONS
from smola_demo.data import GENERATORS
from smola_demo.report_text import as_text
from smola_demo.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSETS = Path(__file__).resolve().parents[1] / "assets"
EXAMPLES = """examples:
  python -m smola_demo ask assets/cat.jpg --task caption
  python -m smola_demo ask assets/stars.png --task count --question "How many stars are there?" --json
  python -m smola_demo ask assets/cat.jpg --task caption --ablate "visual:3@8-15" --routing
  python -m smola_demo sweep assets/cat.jpg --task caption
  python -m smola_demo data suites && python -m smola_demo evaluate --suite suites/shapes.jsonl --limit 50
  python -m smola_demo train configs/experts-cpu.json --resume --set steps=2000
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options and examples."""
    parser = argparse.ArgumentParser(
        prog="python -m smola_demo",
        description="Ask a vision-language model with low-rank experts; see their routing; take them out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str, example: str) -> argparse.ArgumentParser:
        made = sub.add_parser(
            name,
            help=help,
            description=help,
            epilog=f"example:\n  python -m smola_demo {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")
        made.set_defaults(run=getattr(commands, name, None) or getattr(offline_commands, name))
        return made

    command("info", "say what is here: backbones, experts, tasks, device, versions", "info --json")
    ask = command(
        "ask", "answer one question about one image", 'ask photo.jpg --task vqa --question "What is it?"'
    )
    _question(ask)
    _model(ask)
    ask.add_argument(
        "--ablate", default="", metavar="SPEC", help='experts to take out, e.g. "visual:3@8-15/mlp;text:*"'
    )
    ask.add_argument(
        "--routing", action="store_true", help="also report mean weights, contributions and entropy"
    )
    ask.add_argument("--trace", type=Path, metavar="FILE.npz", help="write the whole routing trace")
    sweep = command(
        "sweep", "take each expert out, one at a time", "sweep photo.jpg --task caption --by expert"
    )
    _question(sweep)
    _model(sweep)
    sweep.add_argument(
        "--by", choices=("expert", "layer", "projection"), default="expert", help="default: expert"
    )
    sweep.add_argument(
        "--expert", metavar="GROUP:N", help=f"the expert to look into; groups are {', '.join(GROUPS)}"
    )
    record = command(
        "record",
        "record runs of the examples, for the page to show while its model loads",
        "record jug cat",
    )
    record.add_argument(
        "examples", nargs="*", default=["jug", "cat", "shapes"], metavar="EXAMPLE", help="at most four"
    )
    record.add_argument("--assets", type=Path, default=ASSETS, metavar="DIR", help="folder of the examples")
    _model(record)
    evaluate = command(
        "evaluate", "judge answers on suites of rows", "evaluate --suite suites/shapes.jsonl --limit 50"
    )
    evaluate.add_argument(
        "--suite", action="append", required=True, metavar="ROWS.jsonl", help="may be given several times"
    )
    _model(evaluate)
    evaluate.add_argument("--ablate", default="", metavar="SPEC", help="experts to take out in every answer")
    evaluate.add_argument(
        "--against", metavar="SPEC|none", help="answer the same rows with these experts out too, and compare"
    )
    evaluate.add_argument(
        "--baselines",
        action="store_true",
        help="also score the commonest answer, and the model's answers without the picture",
    )
    evaluate.add_argument(
        "--training",
        action="append",
        default=[],
        metavar="ROWS.jsonl",
        help="take the commonest answer from the training side of this file; may be given several times",
    )
    evaluate.add_argument(
        "--look",
        action="store_true",
        help="also measure, on 300 rows, whether answers depend on the picture",
    )
    evaluate.add_argument(
        "--limit", type=_positive, metavar="N", help="that many rows of each suite, drawn at random"
    )
    evaluate.add_argument(
        "--checks",
        type=_positive,
        metavar="N",
        help="on N of the rows, also hold routing against what taking experts out does",
    )
    evaluate.add_argument(
        "--health",
        type=_positive,
        metavar="N",
        help="on N of the rows, also report whether routers use their experts and tell tasks apart",
    )
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="write metrics.json and scores.json there")
    table = command(
        "table",
        "several metrics.json side by side as Markdown, and each model beyond the first, paired",
        "table none=runs/none/metrics.json omni=checkpoints/embedded-omni/metrics.json",
    )
    joined = "results of one NAME are joined: specialists, each judged on its task"
    table.add_argument("models", nargs="*", metavar="NAME=metrics.json", help=joined)
    table.add_argument("--suites", action="store_true", help="each task's rows suite by suite")
    table.add_argument(
        "--fill", type=Path, metavar="FILE.md", help="write the tables that this document marks anew"
    )
    atlas = command("atlas", "what each expert does over our own pictures and drawings", "atlas --drawn 12")
    atlas.add_argument(
        "--drawn", type=_positive, default=12, metavar="N", help="drawings of each kind (default 12)"
    )
    atlas.add_argument("--out", type=Path, metavar="DIR", help="default: the checkpoint's folder")
    _model(atlas)
    train = command("train", "align a connector or train experts", "train configs/experts-cpu.json --resume")
    train.add_argument("config", type=Path, metavar="CONFIG.json")
    train.add_argument("--resume", action="store_true", help="go on from the last saved state of this run")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value, e.g. steps=2000 or smola.rank=2",
    )
    cells = command("cells", "whether visual tokens tell what lies in their cell", "cells runs/cells")
    cells.add_argument("bases", nargs="*", metavar="BASE", help="folders of connectors; default: the shipped")
    soup = command("soup", "the mean of trained experts, as experts", "soup runs/a runs/b --out runs/both")
    soup.add_argument("experts", nargs="+", metavar="EXPERTS", help="of one start, shape and base")
    soup.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write them to")
    push = command(
        "push", "share trained experts on the Hugging Face hub", "push mine/experts you/experts --private"
    )
    push.add_argument("folder", type=Path, metavar="FOLDER")
    push.add_argument("repository", metavar="OWNER/NAME")
    push.add_argument("--private", action="store_true", help="only for you, where it is made anew")
    study = command("study", "train variants alike and compare them", "study configs/shapes-cpu.json")
    study.add_argument("study", type=Path, metavar="STUDY.json", help="finished arms are not run again")
    bench = command(
        "bench", "time experts against the bare backbone, in interleaved pairs", "bench --what overhead"
    )
    bench.add_argument(
        "--what", choices=("overhead", "sweep", "peers", "growth", "load", "all"), default="overhead"
    )
    bench.add_argument("--rounds", type=_positive, default=7, metavar="N", help="pairs per ratio (default 7)")
    _model(bench)
    fit = command(
        "fit",
        "say whether a model fits into memory, without loading it",
        "fit Qwen3-VL-2B --memory 8GB --train",
    )
    fit.add_argument(
        "model", nargs="?", default="embedded", metavar="ID|FOLDER|NAME", help="default: embedded"
    )
    fit.add_argument("--memory", type=_bytes, metavar="8GB", help="of a card; default: what is free here")
    fit.add_argument(
        "--precision", choices=("best", "auto", *PRECISIONS), default="best", help="auto: as loading would"
    )
    fit.add_argument("--train", action="store_true", help="for training experts, not for answering")
    fit.add_argument("--table", action="store_true", help="print what fits on which card, as Markdown")
    command("fetch", "bring the embedded model's weights into the cache and verify them", "fetch")
    data = command(
        "data", "write suites of drawn rows for evaluate", "data suites --only words --task read --longest 12"
    )
    data.add_argument("folder", type=Path, metavar="FOLDER")
    data.add_argument("--n", type=_positive, default=200, metavar="N", help="rows per suite (default 200)")
    data.add_argument("--only", nargs="+", choices=tuple(GENERATORS), default=[], help="only these drawings")
    data.add_argument("--task", nargs="+", choices=tuple(TASKS), default=[], help="only rows of these tasks")
    data.add_argument("--longest", type=_positive, metavar="N", help="characters an answer may have")
    held = "development tenth of ROWS.jsonl, or of each file and hub's set a run's CONFIG.json names"
    data.add_argument("--hold-out", nargs="+", type=Path, default=[], metavar="FILE", help=held)
    data.add_argument("--derive", action="store_true", help="of these, the questions that captions answer")
    return parser


def _question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("--task", required=True, metavar="TASK", help="see: python -m smola_demo info")
    parser.add_argument("--question", metavar="Q", help="where the task takes one")
    parser.add_argument(
        "--max-new-tokens", type=_positive, metavar="N", help="longest answer (default: the task's)"
    )


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone", default="embedded", metavar="ID", help="embedded (default), a hub id or a folder"
    )
    parser.add_argument(
        "--experts",
        default="",
        metavar="NAME|PATH|OWNER/NAME|none|untrained",
        help="default: those of the backbone",
    )
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="default: auto")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])B", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be like 8GB or 500MB, not '{text}'")
    return round(float(match[1]) * {"M": 1e6, "G": 1e9}[match[2].upper()])


def _tell(
    message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A warning of ours as one sentence above a progress bar, any other as Python shows it."""
    ours = Path(filename).is_relative_to(Path(__file__).parent)
    text = (
        f"smola_demo: {message}"
        if ours
        else warnings.formatwarning(message, category, filename, lineno, line)
    )
    tqdm.write(text.rstrip(), file=file or sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _tell
            result: dict[str, Any] = options.run(options)
    except (ValueError, OSError) as error:  # every error of ours is a ValueError with one sentence
        print(f"smola_demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("smola_demo: stopped", file=sys.stderr)
        return 1
    if not processes.is_main():
        return 0
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(as_text(options.command, result))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, head for example, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
