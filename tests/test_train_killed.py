"""A training that is killed again and again ends where the unbroken one ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import run_and_die

from smola_demo.train_state import STATE_NAME

HERE = Path(__file__).parent
STEPS, KILLS = 60, 10
BASE = {
    "stage": "align",
    "output": "out/base",
    "experts_output": "out/experts",
    "data": [{"name": "shapes", "tasks": ["count"]}],
    "steps": STEPS,
    "batch_size": 1,
    "pack": 1,
    "smola": {"num_experts": 2, "rank": 2, "target_modules": ["q_proj", "down_proj"]},
    "save_every": 2,
    "log_every": 1,
    "learning_rate": 0.01,
    "backbone": "embedded",
    "precision": "fp32",
    "dev_groups": 4,
}


@pytest.fixture
def fresh(monkeypatch):
    """Makes processes out of one that has imported everything; it looks for modules where the path says."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(HERE), str(HERE.parent))))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_run"])
    return context


def run(fresh, folder: Path, step: int = 0, delay: float = 0.0, *more: str) -> int:
    """A training in a process of its own, killed after a step if one is named; its exit code."""
    process = fresh.Process(
        target=run_and_die, args=(str(folder), step, delay, "train", "run.json", "--json", *more)
    )
    process.start()
    process.join()
    return int(process.exitcode)


def ended(folder: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Parameters and what AdamW remembers of each, at the end; the loss of every step."""
    log = [json.loads(line) for line in (folder / "runs/out/base/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, STEPS + 1)), "each step stands once in the log"
    return load_file(folder / "runs/out/base" / STATE_NAME), [line["loss"] for line in log]


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path, fresh):
    """Experts beside the connector, so that bare steps leave parameters whose own step count lags behind."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(BASE))
    assert run(fresh, tmp_path / "whole") == 0
    rng = random.Random()
    moments = sorted(rng.sample(range(2, STEPS - 25), KILLS))
    for step in moments:
        more = ["--resume"] if (tmp_path / "killed/runs/out/base" / STATE_NAME).exists() else []
        delay = rng.uniform(0, 0.05)
        assert run(fresh, tmp_path / "killed", step, delay, *more) == -signal.SIGKILL, f"{moments}, {delay}"
    assert run(fresh, tmp_path / "killed", 0, 0.0, "--resume") == 0
    (expected, losses), (found, found_losses) = ended(tmp_path / "whole"), ended(tmp_path / "killed")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0, msg=f"{name}, {moments}")
    assert found_losses == pytest.approx(losses, abs=1e-6)
    own, other = (
        json.loads((tmp_path / n / "out/base/config.json").read_text()) for n in ("whole", "killed")
    )
    for key in ("final_loss", "dev_loss"):
        assert own[key] == pytest.approx(other[key], abs=1e-6)
