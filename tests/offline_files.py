"""An atlas and metrics as the commands write them, made of drawn numbers for an engine without a model."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from fake_engine import FakeEngine
from PIL import Image

from smola_demo.results import EngineInfo

WORDS = ("red", "ball", "dog", "grass", "sky", "two", "many", "colour", "shop", "date")
TASKS = {"caption": 16, "vqa": 20, "count": 12}


class ShippedEngine(FakeEngine):
    """A fake engine whose experts came from a folder."""

    folder = ""

    def info(self) -> EngineInfo:
        return replace(super().info(), folder=str(self.folder))


def shipped_info(folder) -> EngineInfo:
    """What a small fake engine says of itself when its experts came from `folder`."""
    engine = ShippedEngine(layers=3, experts=4)
    engine.folder = folder
    return engine.info()


def jpeg(shade: int) -> str:
    buffer = io.BytesIO()
    image = Image.linear_gradient("L").resize((64, 64)).point(lambda v: (v + shade) % 256)
    image.convert("RGB").save(buffer, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def atlas_file(info: EngineInfo, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    thumbs = [jpeg(40 * i) for i in range(6)]

    def use():
        weight, share = rng.uniform(0.08, 0.2), rng.uniform(0, 0.12)
        return {
            "weight": round(weight, 5),
            "contribution": round(share, 5),
            "effect": round(rng.normal(-0.02, 0.05), 5),
        }

    def place(group, layer):
        weights = sorted(rng.uniform(0.15, 0.5, 10).round(4), reverse=True)
        patches = [
            {
                "image": thumbs[i],
                "inner": [0.3, 0.3, 0.7, 0.7],
                "weight": float(weights[i]),
                "row": f"shapes/{i}",
                "task": "vqa",
            }
            for i in range(6)
        ]
        words = [
            {
                "before": " what is",
                "text": f" <b>{word}",
                "after": " in the",
                "weight": float(weight),
                "task": "vqa",
            }
            for word, weight in zip(WORDS, weights, strict=True)
        ]
        return {
            "layer": int(layer),
            "spread": round(float(rng.uniform(0.01, 0.1)), 5),
            "patches": [] if group == "text" else patches,
            "words": [] if group == "visual" else words,
        }

    entries = [
        {
            "group": group,
            "expert": e,
            **use(),
            "tasks": {task: use() | {"n": n} for task, n in TASKS.items()},
            "layers": [place(group, n) for n in rng.choice(info.layers, 2, replace=False)],
        }
        for group in info.groups
        for e in range(info.num_experts)
    ]
    return {
        "format": "smola-atlas",
        "version": 1,
        "made": {
            "app": "0.1",
            "when": "2026-01-02T03:04:05+00:00",
            "backbone": info.backbone,
            "experts": info.experts,
            "steps": info.experts_steps,
            "sha256": info.experts_sha256,
            "precision": info.precision,
            "rows": sum(TASKS.values()),
            "sources": {"gallery": 18, "shapes": 30},
            "tasks": TASKS,
        },
        "groups": list(info.groups),
        "layers": list(info.layers),
        "experts": info.num_experts,
        "uniform": 1 / info.num_experts,
        "entries": entries,
    }


def interval(value: float, low: float, high: float) -> dict:
    return {"value": value, "ci95": [low, high]}


def metrics_file(info: EngineInfo, seed: int = 0) -> dict:
    """Better on captions, no clear difference on vqa, worse on count; one source looked at, one not."""
    rng = np.random.default_rng(seed)
    shape = (len(info.groups), len(info.layers), info.num_experts)

    def task(metric, value, difference, low, high):
        own = {
            "metric": metric,
            **interval(value, value - 0.05, value + 0.05),
            "n": 60,
            "extra": {},
            "samples": [],
        }
        other = {
            "ablation": "none",
            "value": value - difference,
            "difference": difference,
            "ci95": [low, high],
        }
        return own | {"against": other}  # fmt: skip

    def router():
        logits = rng.normal(0, 0.3, shape)
        return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).round(4).tolist()

    return {
        "suites": ["suites/shapes.jsonl"],
        "backbone": info.backbone,
        "experts": info.experts,
        "steps": info.experts_steps,
        "sha256": info.experts_sha256,
        "precision": info.precision,
        "compute": info.compute,
        "device": info.device,
        "ablation": "",
        "tasks": {
            "caption": task("cider_d", 0.3, 0.12, 0.08, 0.17),
            "vqa": task("vqa_accuracy", 0.25, 0.01, -0.03, 0.05),
            "count": task("count_accuracy", 0.2, -0.06, -0.1, -0.02),
        },
        "mean": 0.25,
        "seconds": 60.0,
        "failed": [],
        "looking": {
            "coco": {"own": 2.1, "other": 2.6, "gain": 0.5, "ci95": [0.4, 0.6], "n": 40},
            "sroie": {"own": 1.4, "other": 1.41, "gain": 0.01, "ci95": [-0.02, 0.04], "n": 30},
        },
        "checks": {
            "n": 60,
            "experts": shape[0] * shape[2],
            "correlation": {"weight": interval(0.05, -0.04, 0.14), "contribution": interval(0.55, 0.5, 0.6)},
            "answer_changed": {"top": interval(0.6, 0.48, 0.72), "random": interval(0.2, 0.1, 0.3)},
            "effect": {"top": interval(1.4, 1.0, 1.8), "random": interval(0.9, 0.5, 1.3)},
            "beyond": {"answer_changed": interval(0.4, 0.3, 0.5), "effect": interval(0.5, -0.1, 1.1)},
            "routers": {
                "row": "shapes/3",
                "task": "vqa",
                "question": "What colour is the ball?",
                "trained": router(),
                "random": router(),
            },
        },
    }


def write_files(info: EngineInfo, **changed) -> None:
    """Both files beside its experts; `changed` replaces one by name, None leaves it out."""
    files = {"atlas": atlas_file(info), "metrics": metrics_file(info)} | changed
    for name, content in files.items():
        if content is not None:
            (Path(info.folder) / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
