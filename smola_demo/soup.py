"""Experts that are the mean of several trained ones, a model soup (arXiv 2203.05482).

It answers at the cost of one, and often better than each, where all went on from a common start: their
weights then lie in one valley of the loss. Of unrelated experts a mean is nothing, and no file tells that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import load_file

from smola_demo.adapter import AdapterError
from smola_demo.adapter_files import WEIGHTS_NAME, read_config, write_files
from smola_demo.backbone.download import file_sha256
from smola_demo.experts import BASE, find_experts
from smola_demo.model_card import LOG_NAME, write_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

ADDED_UP = ("steps", "samples", "seconds")
OF_ONE_RUN = ("run", "stage", "init_experts", "samples_per_s", "final_loss", "dev_loss", "parameters")


def soup(experts: Sequence[str], out: str | Path) -> dict[str, Any]:
    """Write the mean of experts, given by name, folder or hub id, with a card; returns its facts.

    `averaged` in the facts names each by its digest; steps, pictures and seconds are those of all together.
    Raises AdapterError for fewer than two, for damaged ones, and for ones of another shape or base than the
    first's; ExpertsError for ones that are not there.
    """
    folders = [folder for folder in map(find_experts, experts) if folder is not None]
    if len(folders) < 2 or len(folders) < len(experts):
        raise AdapterError("a mean needs the folders of at least two trained experts")
    read = [(folder, *read_config(folder)) for folder in folders]
    (first, config, facts), *others = read
    for folder, its_config, its_facts in others:
        if its_config != config:
            raise AdapterError(f"the experts in {folder} have another shape or routing than those in {first}")
        if any(its_facts.get(key) != facts.get(key) for key in (BASE, "revision")):
            raise AdapterError(f"the experts in {folder} were made for another base than those in {first}")
    mean = _mean([folder for folder, *_ in read])
    made: dict[str, Any] = facts | {key: sum(its.get(key) or 0 for _, _, its in read) for key in ADDED_UP}
    averaged = [
        {"name": folder.name, "sha256": file_sha256(folder / WEIGHTS_NAME), "run": its.get("run")}
        for folder, _, its in read
    ]
    made |= {
        "averaged": averaged,
        "seed": [its.get("seed") for _, _, its in read],
        "data": _joined(read, "data"),
        "terms": _joined(read, "terms"),
        "tasks": _joined(read, "tasks"),
    }
    for key in OF_ONE_RUN:
        made.pop(key, None)
    folder = write_files(mean, config, Path(out), made)
    _write_log([folder for folder, *_ in read], folder)
    write_card(folder)
    return {
        "checkpoint": str(folder),
        **{key: made[key] for key in ADDED_UP},
        "averaged": [{key: one[key] for key in ("name", "sha256")} for one in averaged],
    }


def _mean(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of each tensor, as float32 in between and of the first's kind again."""
    each = [_load(folder) for folder in folders]
    first = each[0]
    for folder, tensors in zip(folders[1:], each[1:], strict=True):
        for name in sorted(first.keys() | tensors.keys()):
            if name not in first or name not in tensors or tensors[name].shape != first[name].shape:
                raise AdapterError(f"{folder / WEIGHTS_NAME}: tensor {name} does not fit {folders[0]}'s")
    return {
        name: torch.stack([tensors[name].float() for tensors in each]).mean(0).to(value.dtype)
        for name, value in first.items()
    }


def _load(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    try:
        tensors = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise AdapterError(f"{path} is no readable safetensors file ({error}): fetch it again") from None
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise AdapterError(f"{path}: tensor {name} holds NaN or infinity; the experts are damaged")
    return tensors


def _joined(read: Sequence[tuple[Path, Any, dict[str, Any]]], key: str) -> list[Any]:
    """What the lists of all hold, each once, in their order."""
    return list(dict.fromkeys(item for _, _, facts in read for item in facts.get(key) or ()))


def _write_log(folders: Sequence[Path], out: Path) -> None:
    """The losses of all runs, one after the other, steps and seconds running on."""
    lines: list[dict[str, Any]] = []
    for folder in folders:
        log = folder / LOG_NAME
        told = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        before: dict[str, Any] = lines[-1] if lines else {"step": 0, "seconds": 0}
        lines += [
            line | {key: line[key] + before[key] for key in ("step", "seconds")}
            for line in map(json.loads, told)
        ]
    if lines:
        (out / LOG_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
