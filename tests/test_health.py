"""The health report: routers whose figures are known, and a recount by plain loops on the tiny model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image
from tiny_experts import tiny_engine

from smola_demo import commands
from smola_demo.__main__ import main
from smola_demo.data.row import Row
from smola_demo.health import Usage, health, information, report
from smola_demo.results import Request

TASKS = ("caption", "vqa", "count", "chart")


def routed(weights: np.ndarray, task: str) -> Usage:
    """One group, one layer, one linear, weights (T, E)."""
    each = np.where(weights > 0, -weights * np.log(np.where(weights > 0, weights, 1)), 0).sum(-1)
    mean, lowest, highest = (f(0)[None, None, None] for f in (weights.mean, weights.min, weights.max))
    return Usage(task, mean, np.full((1, 1, 1), each.mean()), lowest, highest)


def told(used: list[Usage]) -> dict:
    return report(used, ("text",), (5,))["text"]


def test_an_expert_for_each_task():
    """Hard routing by task: all experts in use, one a token, log K nats told."""
    used = [routed(np.tile(np.eye(4)[n % 4], (6, 1)), TASKS[n % 4]) for n in range(40)]
    found = told(used)
    assert found["in_use"] == [pytest.approx(4)]
    assert found["per_token"] == [pytest.approx(1)]
    assert found["information"] == [pytest.approx(math.log(4), abs=1e-6)]
    assert found["by_chance"][0] < 0.3
    assert found["collapsed"] == found["even"] == []


def test_experts_that_do_not_know_the_task():
    """Random tokens: what is told is what shuffled tasks tell; about one layer in twenty lies above."""
    rng = np.random.default_rng(0)
    above = 0
    for trial in range(60):
        used = [routed(rng.dirichlet(np.ones(4), 8), TASKS[n % 4]) for n in range(24)]
        found = report(used, ("text",), (0,), seed=trial)["text"]
        assert found["information"][0] < 0.05
        above += found["information"][0] > found["by_chance"][0]
    assert above <= 9, "the share above the 95 % quantile must stay near 5 %"


def test_information_is_the_sum_over_the_joint_table():
    rng = np.random.default_rng(1)
    mean, tasks = rng.dirichlet(np.ones(3), (7, 2, 2)), np.array([0, 1, 2, 0, 1, 1, 0])
    for layer in range(2):
        each = []
        for linear in range(2):
            joint = np.zeros((3, 3))
            for n, task in enumerate(tasks):
                joint[task] += mean[n, layer, linear] / 7
            total = sum(
                joint[k, e] * math.log(joint[k, e] / (joint[k].sum() * joint[:, e].sum()))
                for k in range(3)
                for e in range(3)
            )
            each.append(total)
        assert information(mean, tasks)[layer] == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("weights", "collapsed", "even"),
    [
        ([0.995, 0.005], [5], []),
        ([0.98, 0.02], [], []),
        ([0.504, 0.496], [], [5]),
        ([0.51, 0.49], [], []),
        ([1.0], [], []),
    ],
)
def test_routing_that_does_nothing_is_named(weights, collapsed, even):
    found = told([routed(np.tile(weights, (3, 1)), "vqa") for _ in range(4)])
    assert (found["collapsed"], found["even"]) == (collapsed, even)


def test_even_on_average_is_not_even():
    """Every token has its own expert: usage is balanced, routing is not even."""
    found = told([routed(np.eye(4), "vqa") for _ in range(4)])
    assert found["in_use"] == [pytest.approx(4)]
    assert found["per_token"] == [pytest.approx(1)]
    assert found["even"] == []
    assert found["information"] == [0], "one task tells nothing"


@pytest.fixture(scope="module")
def engine():
    return tiny_engine()


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    asked = (("vqa", "What colour?"), ("caption", None), ("vqa", "How many?"), ("caption", None))
    noise = [Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)) for _ in asked]
    return [
        Row(picture, task, question, ("ab",), "noise", f"noise/{i}")
        for i, (picture, (task, question)) in enumerate(zip(noise, asked, strict=True))
    ]


def test_figures_are_those_of_the_traces(engine, rows):
    steps: list[int] = []
    found = health(engine, rows, progress=steps.append)
    assert sum(steps) == found["n"] == 4
    assert found["tasks"] == {"vqa": 2, "caption": 2}
    traces = [list(engine.answer(Request(r.open(), r.task, r.question)))[-1].trace for r in rows]
    for g, group in enumerate(traces[0].groups):
        for n in range(len(found["layers"])):
            in_use, per_token = [], []
            for p in range(len(traces[0].projections)):
                tokens = [t.weight[g, n, p, t.serves()[g]].astype(float) for t in traces]
                mean = np.mean([weights.mean(0) for weights in tokens], axis=0)
                in_use.append(-sum(w * math.log(w) for w in mean))
                each = [np.mean([-sum(w * math.log(w) for w in token) for token in row]) for row in tokens]
                per_token.append(np.mean(each))
            assert found["groups"][group]["in_use"][n] == pytest.approx(math.exp(np.mean(in_use)), abs=1e-4)
            assert found["groups"][group]["per_token"][n] == pytest.approx(
                math.exp(np.mean(per_token)), abs=1e-4
            )


def test_the_report_goes_to_metrics_and_to_the_screen(engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "load_engine", lambda _options: engine)
    Image.linear_gradient("L").save(tmp_path / "p.png")
    line = {"image": "p.png", "task": "vqa", "question": "What?", "answers": ["grey"]}
    suite = tmp_path / "rows.jsonl"
    suite.write_text(f"{json.dumps(line)}\n" * 3)
    out = str(tmp_path / "out")
    assert main(["evaluate", "--suite", str(suite), "--health", "2", "--out", out]) == 0
    assert "of 3 experts in use" in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())["health"]
    assert written["n"] == 2
    assert set(written["groups"]) == {"visual", "text", "multimodal"}


def test_without_experts_or_rows_there_is_no_report(engine):
    class Bare:
        adapter = None

    with pytest.raises(ValueError, match="needs experts"):
        health(Bare(), [1])
    with pytest.raises(ValueError, match="at least one row"):
        health(engine, [])
