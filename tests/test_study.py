"""A study's arms differ in what they say and in nothing else, are judged row by row, and run once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_backbone

from smola_demo import study as studies
from smola_demo.config import ConfigError, TrainConfig
from smola_demo.data.row import held_out
from smola_demo.documents import fill, study_as_markdown
from smola_demo.study import Study, compare, read_study, run
from smola_demo.tables import TableError

CONFIGS = Path(__file__).parents[1] / "configs"
BASE = {
    "stage": "experts",
    "output": "unused",
    "data": [{"name": "shapes", "tasks": ["count", "vqa"]}],
    "batch_size": 2,
    "pack": 2,
    "smola": {"num_experts": 2, "rank": 2, "target_modules": ["q_proj", "down_proj"]},
    "steps": 3,
    "learning_rate": 0.02,
    "dev_groups": 2,
    "max_answer_tokens": 32,
}


def study(**arms) -> Study:
    return Study(BASE, arms, "runs/study", rows=24)


def test_the_same_arm_twice_is_the_same_and_a_larger_one_is_larger(here):
    result = run(study(one={}, again={}, wide={"smola.rank": 4}), say=lambda _: None, quiet=True)
    one, again, wide = result["arms"]
    assert again["difference"] == 0
    assert again["loss"] == one["loss"]
    assert wide["parameters"] > one["parameters"]
    assert wide["difference"] != 0
    assert result["n"] == 24
    assert set(one["tasks"]) == {"count", "vqa"}
    assert one["loss"] == pytest.approx(np.mean(list(one["tasks"].values())))
    weights = Path("runs/study/one/adapter_model.safetensors")
    assert one["bytes"] == weights.stat().st_size
    assert one["share"] == one["parameters"] / tiny_backbone().model.num_parameters()


def test_a_source_with_a_pack_of_its_own_is_judged_question_by_question(here):
    packed = BASE | {"data": [{"name": "counts", "pack": 6}], "steps": 1}
    result = run(Study(packed, {"one": {}}, "runs/study", rows=5), say=lambda _: None, quiet=True)
    assert result["n"] == 5


def test_a_result_of_another_config_is_refused(here):
    run(study(one={}), say=lambda _: None, quiet=True)
    said = []
    run(study(one={"about": "other words", "save_every": 7}), say=said.append, quiet=True)
    assert said == [], "what changes no result is free to change"
    with pytest.raises(ConfigError, match=r"arm\.json is the result of another config"):
        run(study(one={"steps": 2}), say=lambda _: None, quiet=True)
    with pytest.raises(ConfigError, match="share a folder"):
        study(**{"a b": {}, "a-b": {}})


def test_arms_judged_on_other_rows_or_another_base_are_not_compared(here):
    """The first arm's data say what all are judged on: an arm in its place would change that unseen."""
    data = [{"name": "shapes", "tasks": ["count"]}]
    run(study(one={}), say=lambda _: None, quiet=True)
    run(study(two={"data": data}), say=lambda _: None, quiet=True)
    with pytest.raises(ConfigError, match="'one' and 'two' were judged on other rows"):
        run(study(one={}, two={"data": data}), say=lambda _: None, quiet=True)
    Path("runs/study/two/arm.json").unlink()
    assert len(run(study(one={}, two={"data": data}), say=lambda _: None, quiet=True)["arms"]) == 2


def test_a_small_file_is_judged_once_and_by_its_pictures(here):
    """A stream without end brings rows again; the same row twice would only narrow the interval."""
    for i in range(60):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(f"p{i}.png")
    rows = [
        {"image": f"p{i}.png", "task": "vqa", "question": f"{which}?", "answers": [str(i % 7)]}
        for i in range(60)
        for which in ("What", "Which")
    ]
    Path("rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pictures = sum(held_out(f"p{i}.png") for i in range(60))
    small = BASE | {"data": [{"name": "rows.jsonl"}], "steps": 1}
    result = run(Study(small, {"one": {}}, "runs/study", rows=200), say=lambda _: None, quiet=True)
    assert result["n"] == 2 * pictures
    found = json.loads(Path("runs/study/one/arm.json").read_text())
    assert set(found["pictures"]) == set(range(pictures))


def test_intervals_draw_pictures_where_arms_name_them():
    """Ten pictures whose eight rows always agree tell as much as ten rows."""
    facts = {"parameters": 1, "share": 0.1, "bytes": 1, "steps": 1, "seconds": 1.0, "tasks": ["a"] * 80}
    gains = np.repeat(np.random.default_rng(0).normal(size=10), 8)
    rows = [{"arm": "x", "nats": [0.0] * 80, **facts}, {"arm": "y", "nats": gains.tolist(), **facts}]
    pictures = {"pictures": np.repeat(np.arange(10), 8).tolist()}

    def width(results):
        low, high = compare(results)["arms"][1]["ci95"]
        return high - low

    assert width([row | pictures for row in rows]) > 2 * width(rows)
    assert width([rows[0] | pictures, rows[1]]) == width(rows), "an older arm does not name them"


def test_a_finished_arm_is_not_run_again_and_a_stopped_one_goes_on(here, monkeypatch):
    run(study(one={}), say=lambda _: None, quiet=True)
    before = len(here)
    said = []
    first = run(study(one={}), say=said.append, quiet=True)
    assert len(here) == before
    assert said == []
    judged = studies.judge
    monkeypatch.setattr(studies, "judge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(study(one={}, two={"seed": 5}), say=said.append, quiet=True)
    monkeypatch.setattr(studies, "judge", judged)
    resumed = []
    train = studies.train

    def watched(config, resume, quiet):
        resumed.append(resume)
        return train(config, resume=resume, quiet=quiet)

    monkeypatch.setattr(studies, "train", watched)
    result = run(study(one={}, two={"seed": 5}), say=said.append, quiet=True)
    assert resumed == [True]
    assert result["arms"][0] == first["arms"][0]


def test_a_lora_is_an_arm_like_any_other(here):
    result = run(study(smola={}, lora={"method": "lora"}), say=lambda _: None, quiet=True)
    smola, lora = result["arms"]
    assert abs(lora["parameters"] - smola["parameters"]) < 0.05 * smola["parameters"]
    table = study_as_markdown(result).splitlines()
    assert table[0].endswith("| mean | against smola |")
    assert [line.split("|")[1].strip() for line in table[2:]] == ["smola", "lora"]
    assert len({line.count("|") for line in table}) == 1
    Path("result.json").write_text(json.dumps(result))
    page = "Before\n<!-- table: result.json -->\n<!-- /table -->\nAfter\n"
    filled = fill(page, Path())
    assert "\n".join(["", *table, ""]) in filled
    assert fill(filled, Path()) == filled
    for text, said in (("{}", "no result of"), ("[]", "no result of"), ("nonsense", "cannot be read")):
        Path("result.json").write_text(text)
        with pytest.raises(TableError, match=said):
            fill(page, Path())


def test_each_task_counts_alike_however_many_rows_it_has():
    facts = {
        "parameters": 1,
        "share": 0.1,
        "bytes": 1,
        "steps": 1,
        "seconds": 1.0,
        "tasks": ["a"] * 3 + ["b"],
    }
    result = compare(
        [{"arm": "x", **facts, "nats": [1, 2, 3, 10]}, {"arm": "y", **facts, "nats": [1, 2, 3, 14]}]
    )
    x, y = result["arms"]
    assert x["loss"] == pytest.approx((2 + 10) / 2)
    assert y["difference"] == pytest.approx(4 / 2)
    assert y["ci95"] == [2, 2], "rows are drawn within their tasks, and within each no row differs"


@pytest.mark.parametrize("change", [{"base": None}, {"set": []}, {"arms": {"a": 3}}, {"arms": []}])
def test_a_file_of_other_shape_is_one_sentence(here, change):
    found = {"base": BASE, "set": {}, "output": "runs/s", "arms": {"a": {}}} | change
    Path("study.json").write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="JSON objects"):
        read_study(Path("study.json"))


def test_a_file_names_its_base_and_changes_it_once_for_all(here):
    Path("run.json").write_text(json.dumps(BASE))
    Path("study.json").write_text(
        json.dumps(
            {"base": "run.json", "set": {"smola.rank": 3}, "output": "runs/s", "arms": {"a": {"steps": 9}}}
        )
    )
    read = read_study(Path("study.json"))
    config = read.config("a")
    assert (config.smola.rank, config.smola.num_experts, config.steps) == (3, 2, 9)
    assert read.folder("a") == Path("runs/s/a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold one JSON object"),
        ('{"base": "gone.json", "arms": {"a": {}}, "output": "o"}', "cannot be read"),
        (json.dumps({"base": BASE, "arms": {}, "output": "o"}), "at least one arm"),
        (json.dumps({"base": BASE, "arms": {"a": {}}, "output": "o", "stray": 1}), "is no study"),
        (json.dumps({"base": BASE, "arms": {"a": {"smola.stray": 1}}, "output": "o"}), "has no stray"),
        (json.dumps({"base": BASE | {"stage": "align"}, "arms": {"a": {}}, "output": "o"}), "stage experts"),
        (json.dumps({"base": BASE, "arms": {"a": {"seed.x": 1}}, "output": "o", "rows": 9}), "not an object"),
        (json.dumps({"base": BASE | {"seed": 1}, "arms": {"a": {}}, "output": "o", "rows": 1}), "at least 2"),
    ],
)
def test_a_broken_study_gets_one_sentence(tmp_path, text, words):
    path = tmp_path / "study.json"
    if "seed.x" in text:
        text = text.replace('"stage"', '"seed": 1, "stage"', 1)
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_study(path)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_our_own_configs_can_be_run_and_say_how(path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    values = json.loads(path.read_text())
    assert any(
        words in values["about"] for words in (f"configs/{path.name}", "not run yet", "docs/tutorial.md")
    )
    if "arms" in values:
        study = read_study(path)
        assert all(study.config(arm).steps for arm in study.arms)
    else:
        TrainConfig.from_dict(values)
