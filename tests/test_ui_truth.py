"""The tab "Is it true?": each verdict follows its interval, and a part that is missing leaves the others."""

from __future__ import annotations

import pytest
from offline_files import interval, metrics_file, shipped_info, write_files

from smola_demo.ui.truth import NOT_COMPARED, truth_value
from smola_demo.ui.truth_checks import Interval, apart, foretells


@pytest.fixture
def info(tmp_path):
    return shipped_info(tmp_path)


def section(value, name):
    return next(s for s in value["sections"] if s["name"] == name)


def test_metrics_without_steps_or_with_an_ablation(info):
    old = metrics_file(info)
    del old["steps"]
    write_files(info, metrics=old)
    assert "an earlier state" in truth_value(info)["note"]
    write_files(info, metrics=metrics_file(info) | {"ablation": "visual:3"})
    assert "with visual:3 taken out" in truth_value(info)["message"]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.05, "better"),
        (-0.02, 0.05, "no clear difference"),
        (-0.05, -0.01, "worse"),
        (0.0, 0.0, "no clear difference"),
        (0.0, 0.1, "no clear difference"),
    ],
)
def test_a_tasks_verdict_follows_its_interval(info, low, high, verdict):
    made = metrics_file(info)
    made["tasks"] = {"vqa": made["tasks"]["vqa"]}
    made["tasks"]["vqa"]["against"] |= {"difference": (low + high) / 2, "ci95": [low, high]}
    write_files(info, metrics=made)
    shown = section(truth_value(info), "tasks")
    assert shown["verdicts"][0]["text"] == f"vqa: {verdict}"
    assert shown["table"]["rows"][0][1] == verdict
    better, worse = int(verdict == "better"), int(verdict == "worse")
    assert shown["summary"] == f"Clearly better on {better} of 1 tasks, clearly worse on {worse}."


@pytest.mark.parametrize(
    ("ends", "said"),
    [([0.1, 0.3], "it looks"), ([-0.1, 0.3], "no sign that it looks"), ([-0.3, -0.1], "less likely than")],
)
def test_looking_is_told_both_ways(info, ends, said):
    made = metrics_file(info)
    made["looking"] = {"coco": made["looking"]["coco"] | {"gain": sum(ends) / 2, "ci95": ends}}
    write_files(info, metrics=made)
    assert said in section(truth_value(info), "looking")["verdicts"][0]["text"]


@pytest.mark.parametrize(
    ("rho", "said"),
    [
        ((0.1, 0.05, 0.15), "weakly tend to matter more"),
        ((0.45, 0.4, 0.5), "moderately tend to matter more"),
        ((0.8, 0.7, 0.9), "strongly tend to matter more"),
        ((0.1, -0.05, 0.25), "no clear link"),
        ((-0.7, -0.8, -0.6), "strongly tend to matter less"),
    ],
)
def test_a_correlation_in_plain_words(rho, said):
    assert said in foretells("mean weight", Interval(*rho))


@pytest.mark.parametrize(
    ("beyond", "kind", "said"),
    [
        ((0.4, 0.2, 0.6), "good", "more: +0.400 [+0.200, +0.600]"),
        ((-0.4, -0.5, -0.1), "bad", "less: −0.400"),
        ((0.1, -0.1, 0.3), "open", "No clear difference"),
        ((0.1, 0.0, 0.2), "open", "No clear difference"),  # it touches 0
    ],
)
def test_top_and_random_are_told_apart_by_their_paired_difference(beyond, kind, said):
    found = apart(Interval(*beyond), "more", "less")
    assert found["kind"] == kind
    assert said in found["text"]


@pytest.mark.parametrize(
    ("trained", "random", "said"),
    [(0.02, 0.02, "about as far"), (0.06, 0.02, "trained map departs further"),
     (0.01, 0.05, "random map departs further"), (0.0, 0.0, "about as far")],
)  # fmt: skip
def test_router_maps_are_told_apart_by_their_distance_from_even(info, trained, random, said):
    def flat(far):
        row = [0.25 + far, 0.25 - far, 0.25 + far, 0.25 - far]
        return [[row] * 3] * 3

    made = metrics_file(info)
    made["checks"]["routers"] |= {"trained": flat(trained), "random": flat(random)}
    write_files(info, metrics=made)
    text = section(truth_value(info), "routers")["verdicts"][0]["text"]
    assert said in text
    assert f"trained {trained:.4f}, random {random:.4f}" in text


@pytest.mark.parametrize("gone", ["tasks", "looking", "checks"])
def test_what_is_not_there_says_so_and_leaves_the_rest(info, gone):
    made = metrics_file(info)
    del made[gone]
    write_files(info, metrics=made)
    value = truth_value(info)
    missing = [s["name"] for s in value["sections"] if s["state"] == "missing"]
    assert missing == [gone]
    assert "not computed for this checkpoint yet" in section(value, gone)["message"]
    assert value["commands"]


def test_scores_without_a_comparison_are_shown_as_such(info):
    made = metrics_file(info)
    for task in made["tasks"].values():
        del task["against"]
    write_files(info, metrics=made)
    value = truth_value(info)
    shown = section(value, "tasks")
    assert shown["state"] == "shown"
    assert shown["message"] == NOT_COMPARED
    assert shown["rows"] == shown["verdicts"] == []
    assert shown["table"]["rows"][0][5] == 0.3
    assert value["commands"]


@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("correlation", {"weight": interval(2, 0, 3), "contribution": interval(0, 0, 0)}),
        ("answer_changed", {"top": {"value": 0.5, "ci95": [0.9, 0.1]}, "random": interval(0, 0, 0)}),
        ("effect", {"top": interval(1, 0, 2)}),
        ("routers", {"row": "a", "task": "vqa", "question": None, "trained": [[1]], "random": [[1]]}),
    ],
)
def test_one_damaged_check_leaves_the_others(info, name, spoilt):
    made = metrics_file(info)
    made["checks"][name] = spoilt
    write_files(info, metrics=made)
    value = truth_value(info)
    assert [s["name"] for s in value["sections"] if s["state"] == "missing"] == [name]
    assert "damaged" in section(value, name)["message"]
