"""The README.md of a checkpoint, written from its config and its metrics, never by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smola_demo.adapter_files import CONFIG_NAME, WEIGHTS_NAME, read_config
from smola_demo.backbone.download import file_sha256
from smola_demo.config import HUB
from smola_demo.data import GENERATORS
from smola_demo.documents import faithfulness_as_markdown, routers_as_markdown
from smola_demo.metric_files import METRICS_NAME, read_metrics
from smola_demo.tables import as_markdown, side_by_side

LOG_NAME = "log.jsonl"
CURVE = 8  # points of the losses that a card shows

# What the training data of the shipped configs may be used for, by the name of their folder.
DATA_TERMS = {
    "flickr8k": "Flickr8k photographs and captions: research, non-commercial",
    "coco_captions": "COCO captions: CC-BY-4.0; photographs under various Flickr licences",
    "daquar": "DAQUAR questions on indoor photographs: research, no explicit licence",
    "sroie": "SROIE 2019 receipts: repository MIT, data CC-BY-4.0 as redistributed, original terms unclear",
    "opencqa": "OpenCQA: repository GPL-3.0, charts © Pew Research Center, research",
}
OWN = "drawn by smola_demo: Apache-2.0"


def write_card(folder: str | Path, repo_id: str = "") -> Path:
    """Write README.md beside a saved adapter, for the hub if it is shared there as `repo_id`.

    Raises AdapterError when the folder holds none, and MetricFileError where metrics of its weights do not
    fit the scores beside them.
    """
    folder = Path(folder)
    config, facts = read_config(folder)
    groups, held_out = ", ".join(config.groups), facts.get("dev_loss") or "not measured"
    terms = [f"- {line}" for line in facts.get("terms", [])]
    named = str(facts.get("base_model_name_or_path"))
    base = f"base_model: {named}\n" if "/" in named else ""  # the embedded one is no model of the hub
    text = f"""---
library_name: smola_demo
{base}tags: [omni-smola, mixture-of-experts, image-text-to-text]
license: other
---

# {repo_id.rpartition("/")[2] or folder.name}

Omni-SMoLA experts (arXiv 2312.00968) for the backbone `{facts.get("base_model_name_or_path")}`, revision
`{facts.get("revision")}`. Load them with smola_demo; PEFT does not know the type `{facts.get("peft_type")}`.
{_usage(facts, repo_id)}
| | |
|---|---|
| groups | {groups} |
| experts per group × rank | {config.num_experts} × {config.rank} |
| routing | {config.routing} |
| scaling of their outputs, router scale at the start | {config.scaling:g}, {config.router_scale:g} |
| wrapped linears | {", ".join(config.target_modules)} |
| {_origin(facts)} |
| steps, pictures seen | {facts.get("steps")}, {facts.get("samples")} |
| seconds, pictures a second, device | {facts.get("seconds")}, {_rate(facts)}, {facts.get("device")} |
| weights they were trained on | {facts.get("precision")} ({facts.get("compute")}) |
| loss, held out (nats per answer token, each answer weighing √length) | {held_out} |
| seed | {str(facts.get("seed")).strip("[]")} |

{_losses(folder)}{_results(folder)}
## Data and terms

{chr(10).join(terms)}

For research and demonstration. The model is small and often wrong; do not rely on what it says.
"""
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path


def _origin(facts: dict[str, Any]) -> str:
    if "averaged" in facts:
        each = ", ".join(f"{one['name']} ({one['sha256'][:12]})" for one in facts["averaged"])
        return f"mean of the weights of | {each}; steps, pictures and seconds are those of all"
    return f"trained from | {facts.get('init_experts') or 'untrained experts'}"


def _usage(facts: dict[str, Any], repo_id: str) -> str:
    if not repo_id:
        return ""
    backbone = facts.get("base_model_name_or_path")
    command = f"python -m smola_demo ask photo.jpg --task caption --backbone {backbone} --experts {repo_id}"
    return f"\n```bash\n{command}\n```\n"


def called(source: str) -> str:
    """What a card calls a source of training data: a file goes by its folder."""
    return source if source.startswith(HUB) else Path(source).parent.name or source


def terms_of(source: str) -> str:
    """What a source of training data may be used for, in a line; a folder called "charts" is no generator."""
    if source in GENERATORS:
        return f"`{source}`, {OWN}"
    return DATA_TERMS.get(called(source), f"`{called(source)}`, terms: ask whoever made it")


def has_adapter(folder: str | Path) -> bool:
    """Whether a folder holds a saved adapter."""
    return (Path(folder) / CONFIG_NAME).is_file()


def _rate(facts: dict[str, Any]) -> str:
    samples, seconds = facts.get("samples"), facts.get("seconds")
    return f"{samples / seconds:.2f}" if samples and seconds else "unknown"


def _losses(folder: Path) -> str:
    """The losses logged while training, each column a mean over an equal part of the run."""
    log = folder / LOG_NAME
    told = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    if not told:
        return ""
    lines = [json.loads(line) for line in told]
    size = -(-len(lines) // CURVE)
    parts = [lines[first : first + size] for first in range(0, len(lines), size)]
    points = [(part[-1], sum(line["loss"] for line in part) / len(part)) for part in parts]
    steps = " | ".join(str(last["step"]) for last, _ in points)
    hours = " | ".join(f"{last['seconds'] / 3600:.1f}" for last, _ in points)
    losses = " | ".join(f"{loss:.3f}" for _, loss in points)
    return f"""## Loss while training

Mean since the column before; every {lines[0]["step"]} steps in `{LOG_NAME}`, where runs that were averaged
follow one another.

| up to step | {steps} |
|{"---|" * (len(points) + 1)}
| hours | {hours} |
| loss | {losses} |

"""


def _results(folder: Path) -> str:
    """The metrics beside a checkpoint; nothing where they are of other weights or with experts taken out."""
    if not _of_these_weights(folder):
        return ""
    judged = read_metrics(folder)
    return f"""## Results

Development rows, {judged.metrics["compute"]}, 95 % intervals; values are fractions, CIDEr-D 1.0 is 100.

{as_markdown(side_by_side({"experts": judged}))}
{_experts(judged.metrics)}"""


def _of_these_weights(folder: Path) -> bool:
    """Whether the metrics beside a checkpoint are of it, with all experts in; damaged ones are of none."""
    try:
        metrics = json.loads((folder / METRICS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(metrics, dict) or metrics.get("ablation"):
        return False
    return metrics.get("sha256") == file_sha256(folder / WEIGHTS_NAME)


def _experts(metrics: dict[str, Any]) -> str:
    """How the experts are used and what removing them does, where `evaluate` looked."""
    told = [("health", "Routers", routers_as_markdown), ("checks", "Faithfulness", faithfulness_as_markdown)]
    return "".join(f"\n## {title}\n\n{write(metrics)}\n" for key, title, write in told if key in metrics)
