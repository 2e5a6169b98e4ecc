"""Baselines and failures: counted again by hand, asked again without a picture, written where they belong."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from tiny_experts import tiny_engine

from smola_demo import commands
from smola_demo.__main__ import main
from smola_demo.adapter_files import WEIGHTS_NAME
from smola_demo.baselines import OTHERS, TRAINING, most_frequent, read_training
from smola_demo.data.row import Row, RowError, held_out
from smola_demo.evaluate import WRONG, evaluate, read_suites
from smola_demo.metric_files import digest, write_metrics
from smola_demo.metrics import difference, normalize_vqa, score
from smola_demo.model_card import _results
from smola_demo.results import Request


def row(i: int, *answers: str, task: str = "vqa", image: str = "") -> Row:
    return Row(image or f"p{i}.png", task, "What?", answers, "s", f"s:{i}")


def test_leave_one_out_is_a_recount_without_the_row():
    rng = random.Random(0)
    for _ in range(200):
        words = "abcde"[: rng.randint(1, 5)]
        rows = [row(i, *rng.choices(words, k=rng.randint(1, 3))) for i in range(rng.randint(1, 7))]
        found, source = most_frequent("vqa", rows)
        assert source == OTHERS
        for i, own in enumerate(found):
            rest = Counter(a for r in rows[:i] + rows[i + 1 :] for a in {normalize_vqa(t) for t in r.answers})
            most = max(rest.values(), default=0)
            assert own == min((a for a, n in rest.items() if n == most), default="")


def test_answers_count_in_the_form_that_judges_them():
    assert (
        most_frequent("vqa", [row(0, "x"), row(1, "The Dog."), row(2, "dog"), row(3, "cat")])[0][0] == "dog"
    )
    charts = [row(i, text, task="chart") for i, text in enumerate(["x", "-5", "-5", "5"])]
    assert most_frequent("chart", charts)[0][0] == "-5"


def test_training_rows_on_judged_pictures_do_not_count():
    judged = [row(0, "x", image="judged.png"), row(1, "y")]
    leaking = [row(i, "x", image="judged.png") for i in range(5)]
    other_task = [row(i, "9", task="count", image="t.png") for i in range(5)]
    learned = [row(7, "z", image="t.png"), *leaking, *other_task]
    assert most_frequent("vqa", judged, learned) == (["z", "z"], TRAINING)
    assert most_frequent("vqa", judged, leaking + other_task) == (["y", "x"], OTHERS)


def test_a_judged_picture_is_known_however_its_path_is_spelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judged = [row(0, "x", image="a/judged.png"), row(1, "y", image="a/other.png")]
    for spelled in (tmp_path / "a" / "judged.png", Path("b/../a/judged.png")):
        leaking = [row(i, "x", image=str(spelled)) for i in range(5)]
        assert most_frequent("vqa", judged, leaking) == (["y", "x"], OTHERS)


def test_only_the_training_side_of_a_file_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {"image": f"p{i}.png", "task": "vqa", "question": "What?", "answers": [str(i)]} for i in range(60)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = read_training([path])
    assert 40 < len(read) < 60
    assert not any(held_out(found.image_name) for found in read)


@pytest.fixture(scope="module")
def engine():
    return tiny_engine()


@pytest.fixture
def suite(tmp_path):
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "picture.png")
    lines = [
        {"image": "picture.png", "task": "vqa", "question": f"What is it {i}?", "answers": [text]}
        for i, text in enumerate(["dog", "dog", "dog", "cat", "a bird", "fish", "cow"])
    ]
    lines.append({"image": "picture.png", "task": "caption", "question": None, "answers": ["grey", "a fade"]})
    lines.append({"image": "gone.png", "task": "vqa", "question": "What is it?", "answers": ["dog"]})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_baselines_are_scored_like_answers(engine, suite):
    rows = read_suites([suite])
    steps: list[int] = []
    result = evaluate(engine, rows, progress=steps.append, baselines=True)
    assert sum(steps) == 2 * len(rows)
    own = [r for r in rows if r.task == "vqa"]
    accepted = [r.answers for r in own]
    found = result["tasks"]["vqa"]["baselines"]
    pictures = [r.image_name for r in own]
    commonest = score("vqa", ["dog"] * len(own), accepted, pictures)
    assert found["most_frequent"]["answers"] == OTHERS
    assert found["most_frequent"]["value"] == commonest["value"] == 0.5
    assert found["most_frequent"]["ci95"] == commonest["ci95"]
    blind = engine.answer_many([Request(None, "vqa", r.question) for r in own])
    assert found["question_only"]["value"] == score("vqa", blind, accepted)["value"]
    said = ["" if str(r.image).endswith("gone.png") else None for r in own]
    seen = iter(engine.answer_many([Request(r.open(), "vqa", r.question) for r in own[:-1]]))
    said = [text if text is not None else next(seen) for text in said]
    gain = difference("vqa", said, ["dog"] * len(own), accepted, pictures)
    assert found["most_frequent"]["gain"] == {"value": gain["difference"], "ci95": gain["ci95"]}
    assert "baselines" not in evaluate(engine, rows)["tasks"]["vqa"]


def test_failures_are_the_worst_wrong_answers(engine, suite, monkeypatch):
    rows = [r for r in read_suites([suite]) if r.task == "vqa"]
    monkeypatch.setattr(engine, "answer_many", lambda requests: ["cat"] * len(requests))
    result = evaluate(engine, rows)
    failures = result["tasks"]["vqa"]["failures"]
    assert len(failures) == 5
    assert all(f["score"] < WRONG and f["accepted"] != ["cat"] and f["answer"] == "cat" for f in failures)
    assert "rows:9" not in {f["row"] for f in failures}, "what never was answered stands in `failed`"
    assert [f["row"] for f in result["failed"]] == ["rows:9"]
    each = result["scores"]["vqa"]["each"]
    assert each == {r.id: float(r.answers == ("cat",)) for r in rows}


def test_a_digest_tells_rows_apart():
    rows = [row(0, "a"), row(1, "b")]
    assert digest(rows) == digest(rows[::-1])
    assert len({digest(rows), digest(rows[:1]), digest([row(0, "a"), row(1, "c")])}) == 3


def test_the_command_writes_scores_beside_the_metrics(engine, suite, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(commands, "load_engine", lambda _options: engine)
    out = tmp_path / "out"
    assert main(["evaluate", "--suite", str(suite), "--baselines", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "most frequent" in printed
    assert "question only" in printed
    metrics, scores = (json.loads((out / name).read_text()) for name in ("metrics.json", "scores.json"))
    assert "scores" not in metrics
    for task, found in metrics["tasks"].items():
        each = scores[task]["each"].values()
        assert len(each) == found["n"]
        assert sum(each) / len(each) == pytest.approx(found["value"], abs=1e-5)


def test_two_suites_of_one_name_are_refused(suite, tmp_path):
    other = tmp_path / "b" / suite.name
    other.parent.mkdir()
    other.write_bytes(suite.read_bytes())
    with pytest.raises(RowError, match="rename one"):
        read_suites([suite, other])


@pytest.mark.parametrize("baselines", [False, True])
def test_the_card_shows_baselines_where_there_are_any(engine, suite, tmp_path, baselines):
    result = evaluate(engine, read_suites([suite]), baselines=baselines)
    (tmp_path / WEIGHTS_NAME).write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    write_metrics(result, tmp_path, {"sha256": sha256, "ablation": "", "compute": "fp32"})
    table = [line for line in _results(tmp_path).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {5 + 2 * baselines}
    assert ("question only" in table[0]) == baselines
