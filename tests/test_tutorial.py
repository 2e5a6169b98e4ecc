"""The tutorial's commands are commands, and its config trains, judges and answers on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from tiny_vlm import noise, tiny_folder

import app
from smola_demo.__main__ import build_parser, main
from smola_demo.backbone.fit import known_counts
from smola_demo.backbone.footprint import estimate
from smola_demo.backbone.quantization import Plan
from smola_demo.config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
CONFIG = ROOT / "configs" / "smolvlm-256m.json"


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", TUTORIAL, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    words = shlex.split(command)
    if words[:2] == ["python", "app.py"]:
        options = app.parser().parse_args(words[2:])
    else:
        assert words[:3] == ["python", "-m", "smola_demo"]
        options = build_parser().parse_args(words[3:])
    config = TrainConfig.from_dict(json.loads(CONFIG.read_text()))
    assert getattr(options, "backbone", config.backbone) == config.backbone
    for name in ("image", "config"):
        path = getattr(options, name, None)
        assert path is None or (ROOT / path).is_file()


def test_the_batch_fits_the_card():
    config = TrainConfig.from_dict(json.loads(CONFIG.read_text()))
    counts = known_counts("SmolVLM-256M", config.smola)
    plan = Plan("nf4", torch.device("cuda"))
    told = estimate(counts, plan, counts.pictures[0], config.batch_size, checkpointing=True)
    assert config.gradient_checkpointing
    assert told.training * 1.1 < 8e9


@pytest.mark.slow
def test_the_whole_way_on_a_tiny_model(tmp_path, monkeypatch, capsys):
    """Rows, suite, three steps of the same config, a resume, a verdict with its card, an answer."""
    monkeypatch.chdir(tmp_path)
    Path("mine/photos").mkdir(parents=True)
    lines = []
    for i in range(60):
        noise((48, 32), seed=i).save(f"mine/photos/{i}.png")
        asked = {"task": "vqa", "question": f"What{'?' * (i % 7)}", "answers": ["a cup", "cup"]}
        said = {"task": "caption", "question": None, "answers": ["A cup."]}
        lines += [json.dumps({"image": f"photos/{i}.png", **row}) for row in (asked, said)]
    Path("mine/rows.jsonl").write_text("\n".join(lines) + "\n")

    def run(*arguments: str) -> dict:
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    model = ["--backbone", str(tiny_folder("idefics3")), "--precision", "nf4", "--experts", "mine/experts"]
    assert run("data", "mine/suites", "--hold-out", "mine/rows.jsonl")["suites"] == ["mine/suites/rows.jsonl"]
    small = [
        "steps=3",
        "gradient_accumulation=2",
        "bucket=3",
        "save_every=2",
        "num_workers=0",
        "dev_groups=2",
    ]
    small += [f"backbone={model[1]}", "precision=nf4"]
    settings = [word for value in small for word in ("--set", value)]
    trained = run("train", str(CONFIG), *settings)
    assert (trained["checkpoint"], trained["steps"]) == ("mine/experts", 3)
    # The config of a resumed run must be the same: it goes on from the end, and ends there.
    assert run("train", str(CONFIG), *settings, "--resume")["steps"] == 3
    suite = ["--suite", "mine/suites/rows.jsonl", "--limit", "2", "--against", "none"]
    judged = run("evaluate", *suite, *model, "--out", "mine/experts")
    assert set(judged["tasks"]) <= {"vqa", "caption"}
    assert "## Results" in Path("mine/experts/README.md").read_text()
    answered = run("ask", "mine/photos/1.png", "--task", "caption", *model, "--max-new-tokens", "3")
    assert answered["experts"] == "experts"
