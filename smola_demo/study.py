"""A study: one training run again and again, each time with something changed, all judged on the same rows.

Every arm starts alike and gets the same steps, so that the change is what differs. Arms are held against the
first one by the loss of held-out answers, row by row. A finished arm is not run again.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smola_demo.adapter_files import WEIGHTS_NAME
from smola_demo.backbone import load_backbone
from smola_demo.backbone.quantization import mixed_precision
from smola_demo.config import ConfigError, TrainConfig, override
from smola_demo.data.mixture import Mixture
from smola_demo.data.row import RowError
from smola_demo.experts import attach_experts
from smola_demo.losses import AnswerLoss
from smola_demo.metrics import mean_ci, places
from smola_demo.packing import batch_of, prepared
from smola_demo.train import DEV_SEED, state_folder, train
from smola_demo.train_state import FREE_TO_CHANGE, STATE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BATCH_ROWS = 16
MOST_TRIED = 20  # groups looked at for each row that is wanted, in case most answers are too long
RESULT = "arm.json"


@dataclass(frozen=True)
class Study:
    """What to run.

    base    values of a TrainConfig of the stage "experts"
    arms    name → what is changed, keys with dots for nested values; the first arm is what others are held
            against
    rows    held-out answers each arm is judged on
    output  folder: a checkpoint and its result per arm
    """

    base: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    output: str
    rows: int = 360
    about: str = ""
    judged_on: TrainConfig = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.arms:
            raise ConfigError("a study needs at least one arm")
        if self.rows < 2:
            raise ConfigError(f"rows must be at least 2, not {self.rows}")
        object.__setattr__(self, "judged_on", self.config(next(iter(self.arms))))
        if len({self.folder(arm) for arm in self.arms}) < len(self.arms):
            raise ConfigError("two arms share a folder: their names differ in a blank alone")
        for arm in self.arms:
            if self.config(arm).stage != "experts":
                raise ConfigError(f"a study compares runs of the stage experts; arm '{arm}' is another stage")

    def config(self, arm: str) -> TrainConfig:
        """The run of one arm. Raises ConfigError for a value that no run could use."""
        values = copy.deepcopy(self.base)
        for key, value in self.arms[arm].items():
            override(values, key, value)
        return TrainConfig.from_dict(values | {"output": str(self.folder(arm))})

    def folder(self, arm: str) -> Path:
        """Where an arm's checkpoint and result go."""
        return Path(self.output) / arm.replace(" ", "-")


def read_study(path: Path) -> Study:
    """A study's file: the fields of Study; `base` may be the path of a run's config, changed by `set`.

    Raises ConfigError with one sentence.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and isinstance(values.get("base"), str):
            values["base"] = json.loads(Path(values["base"]).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as a study: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one JSON object, not {type(values).__name__}")
    changes = values.pop("set", {})
    objects = [values.get("base"), changes, arms := values.get("arms")]
    objects += arms.values() if isinstance(arms, dict) else ()
    if not all(isinstance(value, dict) for value in objects):
        raise ConfigError(f"{path} is no study: base, set, arms and each arm are JSON objects")
    for key, value in changes.items():
        override(values["base"], key, value)
    try:
        return Study(**values)
    except TypeError as error:
        raise ConfigError(f"{path} is no study: {error}") from None


def run(study: Study, say: Callable[[str], Any], quiet: bool = False) -> dict[str, Any]:
    """Run and judge every arm that has no result yet, then compare all: {about, tasks, n, arms: [...]}.

    An arm that was stopped goes on where it stood. Raises as `train` does.
    """
    results = []
    for number, arm in enumerate(study.arms, start=1):
        done = study.folder(arm) / RESULT
        config = study.config(arm)
        asked = {"config": config.to_dict(), "rows": study.rows}
        if not done.is_file():
            say(f"arm {number} of {len(study.arms)}: {arm}")
            started = (state_folder(config) / STATE_NAME).is_file()
            trained = train(config, resume=started, quiet=quiet)
            result = {"seconds": trained.seconds, "steps": trained.steps, **judge(study, arm)}
            done.write_text(json.dumps({"asked": asked, **result}) + "\n", encoding="utf-8")
        found = json.loads(done.read_text(encoding="utf-8"))
        if _what_counts(found.pop("asked", None)) != _what_counts(asked):
            folders = " and ".join({str(folder): 0 for folder in (done.parent, state_folder(config))})
            raise ConfigError(
                f"{done} is the result of another config: delete {folders}, or change the study's output"
            )
        results.append({"arm": arm, **found})
    return {"about": study.about, **compare(results)}


def _what_counts(asked: Any) -> Any:
    """What a result was asked for, less what changes nothing of it; of a damaged file, as it is."""
    if not isinstance(asked, dict) or not isinstance(asked.get("config"), dict):
        return asked
    config = {key: value for key, value in asked["config"].items() if key not in FREE_TO_CHANGE}
    return {**asked, "config": config}


def judge(study: Study, arm: str) -> dict[str, Any]:
    """Mean nats per answer token of each held-out row under an arm's checkpoint, and its size.

    With each row's picture as a number, and fingerprints of the rows and of the base they were judged on.
    """
    config = study.judged_on
    backbone = load_backbone(config.backbone, config.precision, base=config.init_base or None)
    whole = backbone.model.num_parameters()
    adapter, facts = attach_experts(backbone, study.folder(arm))
    loss = AnswerLoss(backbone, adapter)
    alone = [replace(source, pack=1) for source in config.data]  # a row is one question
    mixture = Mixture(alone, 1, DEV_SEED, config.max_answer_chars, split="dev")
    rows, tasks = [], []
    judged: dict[tuple[str, str, str | None, str], None] = {}
    for i in range(MOST_TRIED * study.rows):
        group, picture = next(prepared(backbone, mixture, i))
        (item,) = group.items
        told = (group.key, item.task, item.question, item.answer)
        if told in judged:  # a small file comes round again, which tells nothing new
            continue
        row = backbone.encode_answer(picture, item.task, item.question, item.answer)
        if len(row.input_ids) - row.answer_start <= config.max_answer_tokens:
            rows.append(row)
            tasks.append(item.task)
            judged[told] = None
        if len(rows) == study.rows:
            break
    if not rows:
        raise RowError(
            f"no held-out answer is short enough: raise max_answer_tokens above {config.max_answer_tokens}"
        )
    nats: list[float] = []
    for first in range(0, len(rows), BATCH_ROWS):
        batch = batch_of(backbone, [[row] for row in rows[first : first + BATCH_ROWS]])
        mixed = mixed_precision(config.mixed_precision, backbone.device)
        with torch.autocast(backbone.device.type, torch.bfloat16, enabled=mixed == "bf16"):
            nats += loss.per_row(batch.to(backbone.device)).tolist()
    return {
        "parameters": facts["parameters"],
        "share": facts["parameters"] / whole,
        "bytes": (study.folder(arm) / WEIGHTS_NAME).stat().st_size,
        "tasks": tasks,
        "nats": [round(value, 5) for value in nats],
        "pictures": places(key for key, *_ in judged),
        "judged": {"revision": backbone.revision, "rows": _digest(judged)},
    }


def _digest(rows: Iterable[Sequence[str | None]]) -> str:
    return hashlib.sha256(json.dumps([list(row) for row in rows]).encode()).hexdigest()[:16]


def compare(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Losses per task and their mean over tasks, each arm against the first, row by row.

    Intervals are of a paired bootstrap over the pictures of each task, or over its rows where an arm of an
    older version does not name them; tasks count alike.

    Raises ConfigError where two arms were judged on other rows or on another base.
    """
    tasks = results[0]["tasks"]
    known = {json.dumps(result["judged"]): result["arm"] for result in results if "judged" in result}
    if len(known) > 1:
        one, other, *_ = known.values()
        raise ConfigError(
            f"the arms '{one}' and '{other}' were judged on other rows or on another base: start this study "
            "again with another output"
        )
    names = list(dict.fromkeys(tasks))
    rows_of = [[task == name for task in tasks] for name in names]
    named = all("pictures" in result for result in results)
    pictures = [np.array(results[0]["pictures"])[own].tolist() for own in rows_of] if named else None
    first = np.array(results[0]["nats"])
    arms = []
    for result in results:
        nats = np.array(result["nats"])
        gains = [(nats - first)[own] for own in rows_of]
        of = {name: float(nats[own].mean()) for name, own in zip(names, rows_of, strict=True)}
        arms.append(
            {
                **{key: result[key] for key in ("arm", "parameters", "share", "bytes", "steps", "seconds")},
                "loss": float(np.mean(list(of.values()))),
                "tasks": of,
                "difference": float(np.mean([gain.mean() for gain in gains])),
                "ci95": list(mean_ci(gains, pictures=pictures)),
            }
        )
    return {"tasks": names, "n": len(tasks), "arms": arms}
