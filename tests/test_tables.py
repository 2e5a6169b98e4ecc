"""Tables of models: numbers recounted by hand, paired on rows, refused where the rows differ."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smola_demo.__main__ import main
from smola_demo.documents import fill
from smola_demo.metric_files import MetricFileError, read_metrics, write_metrics
from smola_demo.metrics import MetricError, bootstrap_ci, mean_ci
from smola_demo.tables import TableError, as_markdown, by_suite, read_models, side_by_side

ROWS = {"vqa": 40, "caption": 10}


def judged(folder, seed, shift=0.0, rows="same", order=1, missing=()):
    """An evaluation with random scores, `shift` better on every row, its rows told in any order."""
    rng = np.random.default_rng(seed)
    each = {task: (rng.random(n) / 2 + shift).round(6) for task, n in ROWS.items() if task not in missing}
    tasks = {
        task: {"metric": "m", "n": len(v), "value": float(v.mean()), "ci95": list(bootstrap_ci(v))}
        for task, v in each.items()
    }
    scores = {
        task: {
            "rows": rows,
            "each": {f"{task}:{i}": float(v[i]) for i in list(range(len(v)))[::order]},
        }
        for task, v in each.items()
    }
    mean = float(np.mean([t["value"] for t in tasks.values()]))
    write_metrics({"tasks": tasks, "mean": mean, "scores": scores}, folder, {"compute": "fp32"})
    return each


def test_values_and_paired_differences_are_those_of_the_rows(tmp_path):
    a, b = judged(tmp_path / "a", 0), judged(tmp_path / "b", 1, 0.3, order=-1)
    found = side_by_side(read_models([f"one={tmp_path}/a", f"two={tmp_path}/b/metrics.json"]))
    for task in ROWS:
        gain = found["paired"]["two"][task]
        assert gain["value"] == pytest.approx((b[task] - a[task]).mean())
        assert gain["ci95"] == pytest.approx(bootstrap_ci(b[task] - a[task]))
        assert found["tasks"][task]["models"]["one"]["value"] == pytest.approx(a[task].mean())
    assert found["paired"]["two"]["mean"]["ci95"][0] > 0
    assert found["mean"]["two"]["value"] == pytest.approx(np.mean([v.mean() for v in b.values()]))
    assert found["mean"]["two"]["ci95"] == pytest.approx(mean_ci(list(b.values())))


def test_the_interval_of_a_mean_over_tasks_is_the_normal_one():
    """Tasks weigh alike however many rows they have: the variance is the sum of var / n over tasks²."""
    rng = np.random.default_rng(3)
    parts = [rng.random(400), rng.random(60) * 2]
    low, high = mean_ci(parts, samples=4000)
    middle = np.mean([part.mean() for part in parts])
    wide = 1.96 * np.sqrt(sum(part.var() / part.size for part in parts)) / 2
    assert (low, high) == pytest.approx((middle - wide, middle + wide), abs=0.06 * wide)


def test_rows_of_one_picture_count_together_in_every_interval(tmp_path):
    a, b = judged(tmp_path / "a", 0), judged(tmp_path / "b", 1, 0.1)
    pictures = {task: [i // 5 for i in range(n)] for task, n in ROWS.items()}
    for name in "ab":
        path = tmp_path / name / "scores.json"
        told = json.loads(path.read_text())
        path.write_text(json.dumps({t: one | {"pictures": pictures[t]} for t, one in told.items()}))
    models = read_models([f"one={tmp_path}/a", f"two={tmp_path}/b"])
    found = side_by_side(models)
    for task in ROWS:
        expected = bootstrap_ci(b[task] - a[task], pictures=pictures[task])
        assert found["paired"]["two"][task]["ci95"] == pytest.approx(expected)
        assert expected != bootstrap_ci(b[task] - a[task])
    expected = mean_ci(list(a.values()), pictures=list(pictures.values()))
    assert found["mean"]["one"]["ci95"] == pytest.approx(expected)
    (line, _) = by_suite(models)
    expected = bootstrap_ci(a["vqa"], pictures=pictures["vqa"])
    assert line["models"]["one"]["ci95"] == pytest.approx(expected)


@pytest.mark.parametrize("tasks", [[], [[]], [[0.5], []], [[[0.5]]]])
def test_an_interval_of_nothing_is_refused(tasks):
    with pytest.raises(MetricError, match="at least one value"):
        mean_ci(tasks)


def test_the_markdown_says_what_was_found(tmp_path):
    a, b = judged(tmp_path / "a", 0), judged(tmp_path / "b", 1, 0.3)
    lines = as_markdown(side_by_side(read_models([f"one={tmp_path}/a", f"two={tmp_path}/b"]))).splitlines()
    low, high = bootstrap_ci(a["vqa"])
    assert lines[2].startswith(f"| vqa | m | 40 | {a['vqa'].mean():.3f} [{low:.3f}, {high:.3f}] | ")
    assert lines[0] == "| task | metric | rows | one | two |"
    assert lines[6] == "| beyond one, paired | two |"
    assert f"| caption | +{(b['caption'] - a['caption']).mean():.3f} [+" in lines[9]
    for block in (lines[:5], lines[6:]):
        assert len({line.count("|") for line in block}) == 1


def test_one_model_alone_stands_beside_what_it_was_held_against(tmp_path):
    judged(tmp_path / "a", 0)
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    for at, found in enumerate(metrics["tasks"].values()):
        found["against"] = {"ablation": "none", "value": 0.1, "difference": 0.2 + at, "ci95": [-0.05, 0.4]}
        found["baselines"] = {"question_only": {"value": 0.3, "gain": {"value": 0.01, "ci95": [0, 0.02]}}}
    (tmp_path / "a" / "metrics.json").write_text(json.dumps(metrics))
    lines = as_markdown(side_by_side(read_models([f"one={tmp_path}/a"]))).splitlines()
    assert lines[0] == (
        "| task | metric | rows | no experts | question only | one | beyond no experts, paired |"
    )
    assert lines[2].startswith("| vqa | m | 40 | 0.100 | 0.300 | ")
    assert lines[2].endswith(" | +0.200 [-0.050, +0.400] |")
    assert "+1.200" in lines[3]
    assert len({line.count("|") for line in lines}) == 1
    judged(tmp_path / "b", 1)
    beside = as_markdown(side_by_side(read_models([f"one={tmp_path}/a", f"two={tmp_path}/b"])))
    assert "no experts" not in beside


def test_without_scores_there_is_no_paired_difference(tmp_path):
    judged(tmp_path / "a", 0)
    judged(tmp_path / "b", 1)
    (tmp_path / "b" / "scores.json").unlink()
    found = side_by_side(read_models([f"one={tmp_path}/a", f"two={tmp_path}/b"]))
    assert found["paired"] == {}
    assert found["mean"]["two"]["ci95"] is None
    assert len(found["mean"]["one"]["ci95"]) == 2


def test_results_of_one_name_that_judge_different_tasks_are_joined(tmp_path):
    whole = judged(tmp_path / "whole", 0)
    a = judged(tmp_path / "a", 1, missing=("caption",))
    b = judged(tmp_path / "b", 2, missing=("vqa",))
    named = [f"one={tmp_path}/whole", f"special={tmp_path}/b", f"special={tmp_path}/a"]
    found = side_by_side(read_models(named))
    assert found["models"] == ["one", "special"]
    assert found["mean"]["special"]["value"] == pytest.approx((a["vqa"].mean() + b["caption"].mean()) / 2)
    for task, each in (a | b).items():
        assert found["paired"]["special"][task]["value"] == pytest.approx((each - whole[task]).mean())


def test_what_cannot_stand_in_one_table_is_refused(tmp_path):
    judged(tmp_path / "a", 0)
    judged(tmp_path / "b", 1, rows="other")
    judged(tmp_path / "c", 2, missing=("caption",))
    for other, said in (("b", "different rows of the task vqa"), ("c", "judged on vqa, caption, x on vqa")):
        with pytest.raises(TableError, match=said):
            side_by_side(read_models([f"one={tmp_path}/a", f"x={tmp_path}/{other}"]))
    for named, said in (([], "at least one"), (["a"], "NAME=path"), (["|=a"], "NAME=path")):
        with pytest.raises(TableError, match=said):
            read_models(named)
    with pytest.raises(TableError, match="two models are called one"):
        read_models([f"one={tmp_path}/a"] * 2)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(MetricFileError, match="evaluate --out"):
        read_metrics(tmp_path / "metrics.json")
    judged(tmp_path / "a", 0)
    judged(tmp_path / "b", 1)
    (tmp_path / "b" / "scores.json").replace(tmp_path / "a" / "scores.json")
    with pytest.raises(MetricFileError, match="not of the same run"):
        read_metrics(tmp_path / "a")
    for text, said in (("[1]", "JSON object"), ("{", "JSON object"), ('{"vqa": 1}', "damaged")):
        (tmp_path / "a" / "scores.json").write_text(text)
        with pytest.raises(MetricFileError, match=said):
            read_metrics(tmp_path / "a")


@pytest.mark.parametrize(
    "spoil",
    [{"metric": None}, {"metric": 3}, {"value": "half"}, {"n": None}, {"ci95": None}, {"ci95": ["a", 1]}],
)
def test_metrics_that_lack_what_a_table_shows_are_refused(tmp_path, capsys, spoil):
    judged(tmp_path, 0)
    (tmp_path / "scores.json").unlink()
    path = tmp_path / "metrics.json"
    whole = json.loads(path.read_text())
    found = {key: value for key, value in (whole["tasks"]["vqa"] | spoil).items() if value is not None}
    for damaged in (whole | {"tasks": {"vqa": found}}, {k: v for k, v in whole.items() if k != "mean"}):
        path.write_text(json.dumps(damaged))
        assert main(["table", f"one={path}"]) == 1
        assert "lacks a metric, a number or an interval: evaluate again" in capsys.readouterr().err
    path.write_text(json.dumps(whole | {"tasks": {"vqa": 3}}))
    with pytest.raises(MetricFileError, match="lacks a metric"):
        read_metrics(path)


def test_json_that_is_too_deep_is_one_sentence(tmp_path):
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(MetricFileError, match="does not hold a JSON object"):
        read_metrics(deep)
    with pytest.raises(TableError, match=r"deep\.json cannot be read as a result"):
        fill("<!-- table: deep.json -->\n<!-- /table -->", tmp_path)


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("", "the marker <!-- table: --> names no table: give it models"),
        ('one="a', 'the marker <!-- table: one="a --> cannot be read: No closing quotation'),
    ],
)
def test_a_marker_that_names_nothing_is_quoted(tmp_path, capsys, marker, said):
    page = tmp_path / "page.md"
    page.write_text(f"<!-- table: {marker} -->\nold\n<!-- /table -->\n")
    assert main(["table", "--fill", str(page)]) == 1
    assert said in capsys.readouterr().err
    assert "old" in page.read_text()


def test_the_command_prints_and_fills(tmp_path, capsys):
    judged(tmp_path / "a", 0)
    judged(tmp_path / "b", 1)
    assert main(["table", f"one={tmp_path}/a", f"two={tmp_path}/b"]) == 0
    printed = capsys.readouterr().out.strip()
    assert main(["table", f"one={tmp_path}/a", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"models", "tasks", "mean", "paired", "markdown"}
    page = tmp_path / "page.md"
    page.write_text("# Figures\n\n<!-- table: one=a two=b -->\nold\n<!-- /table -->\n\nMore.\n")
    stale = page.read_text()
    assert fill(stale, tmp_path) != stale
    assert main(["table", "--fill", str(page)]) == 0
    filled = page.read_text()
    assert f"\n\n{printed}\n\n" in filled
    assert filled.endswith("<!-- /table -->\n\nMore.\n")
    assert fill(filled, tmp_path) == filled


def test_suites_of_a_task_are_told_apart(tmp_path, capsys):
    a = judged(tmp_path / "a", 0)
    judged(tmp_path / "b", 1, order=-1)
    for folder in ("a", "b"):
        path = tmp_path / folder / "scores.json"
        scores = json.loads(path.read_text())
        for task, found in scores.items():
            renamed = {
                f"{'rooms' if int(row.split(':')[1]) < 7 else 'more'}:{row}": value
                for row, value in found["each"].items()
            }
            found["each"] = {row.replace(f":{task}:", ":"): value for row, value in renamed.items()}
        path.write_text(json.dumps(scores))
    lines = by_suite(read_models([f"one={tmp_path}/a", f"two={tmp_path}/b"]))
    assert [(line["task"], line["suite"], line["n"]) for line in lines] == [
        ("vqa", "rooms", 7),
        ("vqa", "more", 33),
        ("caption", "rooms", 7),
        ("caption", "more", 3),
    ]
    assert lines[0]["models"]["one"]["value"] == pytest.approx(a["vqa"][:7].mean())
    assert lines[3]["models"]["one"]["value"] == pytest.approx(a["caption"][7:].mean())
    assert main(["table", "--suites", f"one={tmp_path}/a", f"two={tmp_path}/b"]) == 0
    printed = capsys.readouterr().out.strip()
    assert fill("<!-- table: --suites one=a two=b -->\n<!-- /table -->", tmp_path).count(printed) == 1
    (tmp_path / "b" / "scores.json").unlink()
    with pytest.raises(TableError, match=r"scores\.json"):
        by_suite(read_models([f"one={tmp_path}/a", f"two={tmp_path}/b"]))


def test_routers_and_faithfulness_stand_in_a_document(tmp_path):
    """A line a group, every figure as evaluate found it."""
    judged(tmp_path, 0)
    path = tmp_path / "metrics.json"
    metrics = json.loads(path.read_text())
    marked = "<!-- table: {} . -->\n<!-- /table -->"
    for what in ("--routers", "--faithfulness"):
        with pytest.raises(TableError, match="these metrics tell nothing of"):
            fill(marked.format(what), tmp_path)
    group = {"in_use": [2.0, 3.0], "per_token": [1.5, 2.5], "information": [0.2, 0.1]}
    group |= {"by_chance": [0.1, 0.3], "information_mean": 0.15, "by_chance_mean": 0.02}
    metrics["health"] = {"experts": 4, "groups": {"text": {**group, "collapsed": [], "even": [2]}}}
    change, correlation = {"value": 0.25, "ci95": [0.2, 0.3]}, {"value": -0.1, "ci95": [-0.2, 0.05]}
    metrics["checks"] = {"n": 9, "experts": 12, "correlation": {"weight": correlation}}
    metrics["checks"] |= {key: {"top": change, "random": correlation} for key in ("answer_changed", "effect")}
    metrics["checks"]["beyond"] = {key: {"value": 0.5, "ci95": None} for key in ("answer_changed", "effect")}
    path.write_text(json.dumps(metrics))
    written = fill(marked.format("--routers"), tmp_path)
    assert "experts in use, of 4" in written
    assert "| text | 2.5 | 2.0 | 2.0 | 0.1500 | 0.0200 | 1 of 2 | 0 | 1 |" in written
    written = fill(marked.format("--faithfulness"), tmp_path)
    assert "over 9 answers, 12 experts" in written
    assert "| rank correlation of weight and size of effect | -0.100 [-0.200, 0.050] |" in written
    assert "| size of effect, nats an answer, without any one, in the mean | -0.100" in written
    assert written.count("paired | +0.500 |") == 2
    assert written.count("0.250 [0.200, 0.300]") == written.count("-0.100 [-0.200, 0.050]") - 1 == 2
    with pytest.raises(TableError, match="--routers takes the path of one"):
        fill("<!-- table: --routers -->\n<!-- /table -->", tmp_path)
