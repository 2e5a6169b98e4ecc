"""Results computed offline that stand beside a checkpoint: read them, or say why there are none."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.results import EngineInfo

MAX_BYTES = 32_000_000
LOADING = "The model is still loading: this opens when its experts are there."
NO_MIXTURE = "No mixture of experts is loaded, so {what}: load one on the Model tab, where there is one."
NO_FILE = (
    "The experts were made untrained and come from no folder, so nothing is computed for them: train some, "
    "or load trained ones on the Model tab, where there is one."
)


class ShippedError(ValueError):
    """A file beside the experts that cannot be shown; the message is one sentence."""


def nothing_to_read(info: EngineInfo | None) -> str:
    """Why no file can stand beside what is loaded; empty when one can."""
    if info is None:
        return LOADING
    if not info.groups:
        return NO_MIXTURE.format(what="there is nothing to show")
    return NO_FILE if info.experts_state == "untrained" and not info.folder else ""


def model_options(info: EngineInfo) -> str:
    """What a command needs to load what is loaded."""
    experts = info.experts_option or info.experts
    return f"--backbone {shlex.quote(info.backbone)} --experts {shlex.quote(experts)}"


def read_shipped(info: EngineInfo, name: str) -> dict[str, Any] | None:
    """The JSON object of a file in the folder of the loaded experts, None when there is no such file.

    Raises ShippedError when it is no JSON object or too large.
    """
    path = Path(info.folder) / name
    if not info.folder or not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ShippedError(f"{name} is larger than {MAX_BYTES // 1_000_000} MB")
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise damaged(name, type(error).__name__) from None
    if not isinstance(found, dict):
        raise damaged(name, "no JSON object")
    return found


def damaged(name: str, why: object) -> ShippedError:
    """The error for a file whose content does not fit."""
    return ShippedError(f"{name} beside these experts is damaged ({why})")


def check_made_for(info: EngineInfo, name: str, made: dict[str, Any]) -> None:
    """Raise ShippedError when a file's facts name another backbone, other experts or another training.

    Weights with the same digest are the same experts under any name. A fact the file does not give is not
    held against it.
    """
    loaded = {
        "backbone": info.backbone,
        "experts": info.experts,
        "steps": info.experts_steps,
        "sha256": info.experts_sha256,
    }
    known = made.get("sha256") and info.experts_sha256
    told = ("backbone", "sha256") if known else tuple(loaded)
    if any(made.get(key, loaded[key]) != loaded[key] for key in told):
        raise ShippedError(
            f"{name} was made for {_called(made)}, loaded are {_called(loaded)}: it does not describe them"
        )


def _called(facts: dict[str, Any]) -> str:
    steps = facts.get("steps")
    after = "" if steps is None else f" after {steps} steps"
    digest = facts.get("sha256")
    weights = f" (weights {str(digest)[:8]})" if digest else ""
    backbone = facts.get("backbone", "an unnamed backbone")
    return f"{facts.get('experts', 'unnamed experts')}{after}{weights} on {backbone}"


def number(value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number within bounds. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    if not low <= value <= high:
        raise ValueError(f"{value!r} is not within {low} and {high}")
    return value


def count(value: Any) -> str:
    """A positive whole number, as the page writes one. Raises ValueError for anything else."""
    if not isinstance(value, int):
        raise ValueError(f"{value!r} is no count")  # noqa: TRY004  one kind of error for one kind of file
    return f"{int(number(value, 1)):,}"


def text(value: Any) -> str:
    """A string. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004  one kind of error for one kind of file
    return value


def missing_value(message: str, commands: Sequence[str] = ()) -> dict[str, Any]:
    """Value of a view that has nothing to show, with the commands that would change it."""
    return {"state": "missing", "message": message, "commands": list(commands)}


def not_computed(what: str, info: EngineInfo) -> str:
    """The sentence for a result that nobody has computed."""
    steps = "untrained" if info.experts_state == "untrained" else f"{info.experts_steps:,} steps"
    return f"{what} not computed for this checkpoint yet ({info.experts}, {steps})."


def _no_number(name: str) -> float:
    raise json.JSONDecodeError(name, name, 0)
