"""Tables in documents, written anew from the files of results, never by hand.

In a document a table stands between `<!-- table: WHAT -->` and `<!-- /table -->`. WHAT is models, NAME=PATH
each; `--suites` before them asks for the results suite by suite. `--routers PATH` and `--faithfulness PATH`
show what `evaluate` found of the experts with --health and --checks. A PATH alone names what `table --json`
or `study --json` printed.
"""

from __future__ import annotations

import json
import re
import shlex
from statistics import mean
from typing import TYPE_CHECKING, Any

from smola_demo.metric_files import read_metrics
from smola_demo.tables import (
    TableError,
    as_markdown,
    by_suite,
    markdown_cell,
    markdown_head,
    markdown_line,
    read_models,
    side_by_side,
    suites_as_markdown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUITES, ROUTERS, FAITHFULNESS = "--suites", "--routers", "--faithfulness"
MARKED = re.compile(r"(<!-- table: (.*?) -->\n).*?(<!-- /table -->)", re.DOTALL)


def fill(text: str, folder: Path) -> str:
    """The document with every marked table written anew; paths of markers are relative to `folder`.

    Raises TableError or MetricFileError for a marker whose files are missing or do not fit.
    """

    def written(match: re.Match[str]) -> str:
        return f"{match[1]}\n{_made(_named(match[2]), folder)}\n\n{match[3]}"

    return MARKED.sub(written, text)


def _named(marker: str) -> list[str]:
    """What a marker names, at least one word."""
    try:
        named = shlex.split(marker)
    except ValueError as error:
        raise TableError(f"the marker <!-- table: {marker} --> cannot be read: {error}") from None
    if not named:
        raise TableError("the marker <!-- table: --> names no table: give it models, NAME=PATH each")
    return named


def _made(named: list[str], folder: Path) -> str:
    """The table that a marker asks for."""
    what, *rest = named
    if what == SUITES:
        return suites_as_markdown(by_suite(read_models(rest, folder)))
    if what in (ROUTERS, FAITHFULNESS):
        if len(rest) != 1:
            raise TableError(f"{what} takes the path of one metrics.json")
        metrics = read_metrics(folder / rest[0]).metrics
        return (routers_as_markdown if what == ROUTERS else faithfulness_as_markdown)(metrics)
    if not rest and "=" not in what:
        return _printed(folder / what)
    return as_markdown(side_by_side(read_models(named, folder)))


def study_as_markdown(result: Mapping[str, Any]) -> str:
    """What `study` returns: held-out loss of every arm, in nats a token, and its distance from the first."""
    tasks = result["tasks"]
    first = result["arms"][0]["arm"]
    lines = markdown_head(
        ["arm", "parameters", "of the backbone", "s / step", *tasks, "mean", f"against {first}"]
    )
    for arm in result["arms"]:
        gain = {"value": arm["difference"], "ci95": arm["ci95"]}
        size = [f"{arm['parameters'] / 1e6:.2f} M", f"{arm['share']:.1%}"]
        losses = [f"{loss:.3f}" for loss in (*(arm["tasks"][task] for task in tasks), arm["loss"])]
        versus = markdown_cell(gain, "+") if arm["arm"] != first else "-"
        speed = f"{arm['seconds'] / arm['steps']:.1f}"
        lines.append(markdown_line([arm["arm"], *size, speed, *losses, versus]))
    return "\n".join(lines)


def routers_as_markdown(metrics: Mapping[str, Any]) -> str:
    """Group by group how the experts are used (`health`). Raises TableError where it was not looked at."""
    if "health" not in metrics:
        raise TableError("these metrics tell nothing of the routers: evaluate --health N")
    health = metrics["health"]
    columns = [f"experts in use, of {health['experts']}", "fewest in a layer", "by one token"]
    columns += [
        "nats on the task",
        "95 % of shuffled tasks tell less than",
        "layers above",
        "collapsed",
        "even",
    ]
    lines = markdown_head(["group", *columns])
    for group, found in health["groups"].items():
        use = [f"{n:.1f}" for n in (mean(found["in_use"]), min(found["in_use"]), mean(found["per_token"]))]
        nats = [f"{found[key]:.4f}" for key in ("information_mean", "by_chance_mean")]
        pairs = list(zip(found["information"], found["by_chance"], strict=True))
        above = f"{sum(own > chance for own, chance in pairs)} of {len(pairs)}"
        lines.append(markdown_line([group, *use, *nats, above, len(found["collapsed"]), len(found["even"])]))
    return "\n".join(lines)


def faithfulness_as_markdown(metrics: Mapping[str, Any]) -> str:
    """What routing foretells of removals (`checks`). Raises TableError where it was not looked at."""
    if "checks" not in metrics:
        raise TableError("these metrics tell nothing of faithfulness: evaluate --checks N")
    checks = metrics["checks"]
    lines = markdown_head([f"over {checks['n']} answers, {checks['experts']} experts", "value, 95 %"])
    for name, found in checks["correlation"].items():
        lines.append(markdown_line([f"rank correlation of {name} and size of effect", markdown_cell(found)]))
    for key, what in (
        ("answer_changed", "answers that change"),
        ("effect", "size of effect, nats an answer,"),
    ):
        for kind, who in (
            ("top", "the expert of the largest contribution"),
            ("random", "any one, in the mean"),
        ):
            lines.append(markdown_line([f"{what} without {who}", markdown_cell(checks[key][kind])]))
        beyond = markdown_cell(checks["beyond"][key], "+")
        lines.append(markdown_line([f"{what} the first less the second, paired", beyond]))
    return "\n".join(lines)


def _printed(path: Path) -> str:
    """The table of a result that was printed with --json."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return study_as_markdown(found) if "arms" in found else as_markdown(found)
    except (OSError, ValueError, RecursionError) as error:
        raise TableError(f"{path} cannot be read as a result: {error}") from None
    except (AttributeError, IndexError, KeyError, TypeError):
        raise TableError(f"{path} is no result of table --json or study --json: write it again") from None
