"""Two processes under `accelerate launch` do what one does: the same losses, the same verdicts, said once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import tiny_backbone
from tiny_experts import tiny_engine

from smola_demo import commands
from smola_demo import train as training
from smola_demo.__main__ import main

HERE = Path(__file__).parent
BASE = {
    "stage": "align",
    "output": "out/base",
    "experts_output": "out/experts",
    "data": [{"name": "shapes"}],
    "pack": 2,
    "steps": 6,
    "smola": {"num_experts": 2, "rank": 2, "target_modules": ["q_proj", "down_proj"]},
    "save_every": 6,
    "log_every": 1,
    "learning_rate": 0.01,
    "dev_groups": 2,
}


@pytest.fixture
def alone(monkeypatch, capsys):
    """One command on the tiny backbone in this process: the JSON object it prints."""
    monkeypatch.setattr(training, "load_backbone", lambda *_args, **_kwargs: tiny_backbone())
    monkeypatch.setattr(commands, "load_engine", lambda _options: tiny_engine())

    def run(folder: Path, *arguments: str) -> dict:
        monkeypatch.chdir(folder)
        capsys.readouterr()
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def together(folder: Path, *arguments: str) -> dict:
    """The JSON object that one command on the tiny backbone prints, run by two processes together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # Not --cpu, with which the launcher starts one process only; without a GPU they meet over gloo.
    done = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1",
            "--num_processes", "2", "--mixed_precision", "no", "--dynamo_backend", "no",
            "--main_process_port", port, str(HERE / "tiny_run.py"), *arguments, "--json",
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == 1, "one process speaks"
    return json.loads(done.stdout)


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path, alone):
    """Equal batches in all: in one batch of four, as two by two, by one process or by two.

    Answers differ in length, so a mean of the processes' means would be another loss; every fourth step runs
    without experts, whose parameters then get no gradient.
    """
    ways = {"one": (alone, 4, 1), "in turn": (alone, 2, 2), "two": (together, 2, 1)}
    losses, weights = {}, {}
    for name, (run, size, turns) in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        config = BASE | {"batch_size": size, "gradient_accumulation": turns}
        (folder / "run.json").write_text(json.dumps(config))
        result = run(folder, "train", "run.json")
        assert result["samples_per_s"] * result["seconds"] == pytest.approx(24), "processes came together"
        log = (folder / "runs/out/base/log.jsonl").read_text().splitlines()
        losses[name] = [json.loads(line)["loss"] for line in log]
        weights[name] = load_file(folder / "out/base/model.safetensors")
        assert result["final_loss"] == pytest.approx(sum(losses[name]) / 6)
    for name in ("in turn", "two"):
        assert losses[name] == pytest.approx(losses["one"], abs=1e-4)
        for key, value in weights["one"].items():
            torch.testing.assert_close(weights[name][key], value, atol=1e-3, rtol=0)


def suite(folder: Path) -> Path:
    rows = []
    for i in range(40):
        Image.new("RGB", (32, 32), (6 * i, 90, 255 - 6 * i)).save(folder / f"p{i}.png")
        task = ("vqa", "caption")[i % 2]
        question = f"What is it{'?' * (i % 5 + 1)}" if task == "vqa" else None
        rows.append({"image": f"p{i}.png", "task": task, "question": question, "answers": ["a", f"b {i}"]})
    rows.append({"image": "gone.png", "task": "vqa", "question": "What?", "answers": ["a"]})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_two_processes_judge_as_one_does(tmp_path, alone):
    rows = suite(tmp_path)
    asked = ["--suite", str(rows), "--against", "none", "--baselines", "--look", "--health", "3"]
    found = {}
    for count, run in ((1, alone), (2, together)):
        out = tmp_path / str(count)
        found[count] = run(tmp_path, "evaluate", *asked, "--checks", "2", "--out", str(out))
        written = json.loads((out / "metrics.json").read_text())
        assert written == found[count]
        assert (out / "scores.json").read_text() == (tmp_path / "1" / "scores.json").read_text()
        assert not list(out.glob("*.partial"))
    one, two = ({k: v for k, v in found[n].items() if k != "seconds"} for n in (1, 2))
    assert two == one


@pytest.mark.slow
def test_two_processes_make_one_atlas(tmp_path, alone):
    made = {}
    for count, run in ((1, alone), (2, together)):
        out = tmp_path / str(count)
        out.mkdir()
        run(tmp_path, "atlas", "--drawn", "1", "--out", str(out))
        made[count] = json.loads((out / "atlas.json").read_text())
        del made[count]["made"]["when"]
    assert made[2] == made[1]


@pytest.mark.slow
def test_two_processes_sweep_as_one_does(tmp_path, alone):
    Image.new("RGB", (32, 32), (200, 90, 20)).save(tmp_path / "p.png")
    asked = ["sweep", str(tmp_path / "p.png"), "--task", "vqa", "--question", "What is it?"]
    one, two = (run(tmp_path, *asked) for run in (alone, together))
    assert len(one["experts"]) == len(two["experts"]) == 9
    for name in ("experts", "random"):
        for a, b in zip(one[name], two[name], strict=True):
            assert b == {k: pytest.approx(v, abs=1e-5) if isinstance(v, float) else v for k, v in a.items()}
