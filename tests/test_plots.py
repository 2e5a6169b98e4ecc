"""Figures from arrays: what they hold is checked against loops and hand-made numbers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from smola_demo.plots import GROUP_COLOURS, RunningRouting, divergence_figure, routing_view
from smola_demo.plots.palette import DIVERGING, SEQUENTIAL
from smola_demo.plots.routing import MAX_CELLS, pool_layers, shares

GROUPS = ("visual", "text", "multimodal")


def arrays(groups=3, layers=5, experts=4, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(groups, layers, experts))
    weight = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return weight.astype(np.float32), rng.uniform(0, 3, weight.shape).astype(np.float32)


def view_of(weight, contribution, note="prompt"):
    groups, layers, experts = weight.shape
    return routing_view(GROUPS[:groups], range(layers), experts, {"prompt": (weight, contribution, note)})


def test_shares_are_each_experts_part_of_its_group_in_the_layer():
    _, contribution = arrays()
    found = shares(contribution)
    for g in range(3):
        for layer in range(5):
            total = sum(float(contribution[g, layer, e]) for e in range(4))
            for e in range(4):
                assert found[g, layer, e] == pytest.approx(float(contribution[g, layer, e]) / total, rel=1e-5)


def test_where_nothing_contributes_there_is_no_share_and_the_page_is_told():
    assert np.isnan(shares(np.zeros((3, 2, 4), np.float32))).all()
    weight, contribution = arrays()
    view = view_of(weight, np.zeros_like(contribution))
    assert view["frames"]["prompt"]["share"][0][0] == [None] * 4
    assert "contribute nothing" in view["notice"]
    assert view["reach"]["share"] == 0.01
    assert view_of(weight, contribution)["notice"] == ""


def test_view_is_json_and_carries_every_number():
    weight, contribution = arrays()
    view = json.loads(json.dumps(view_of(weight, contribution), allow_nan=False))
    np.testing.assert_allclose(view["frames"]["prompt"]["weight"], weight, atol=6e-5)
    np.testing.assert_allclose(view["frames"]["prompt"]["norm"], contribution, atol=6e-5)
    assert view["uniform"] == 0.25
    assert view["frames"]["prompt"]["served"] == [True, True, True]


def test_a_group_without_tokens_is_marked():
    weight, contribution = arrays()
    weight[0] = 0
    assert view_of(weight, contribution)["frames"]["prompt"]["served"] == [False, True, True]


def test_missing_cells_become_none_and_do_not_spoil_ranges():
    weight, contribution = arrays()
    weight[1, 2], contribution[1, 2] = np.nan, np.nan
    view = view_of(weight, contribution)
    assert view["frames"]["prompt"]["weight"][1][2] == [None] * 4
    assert 0 < view["range"]["weight"] <= 1
    assert 0 < view["reach"]["share"] <= 1
    json.dumps(view, allow_nan=False)


def test_even_share_is_the_middle_of_the_scale_when_nothing_is_far_above():
    weight = np.full((3, 5, 4), 0.25)
    view = view_of(weight, weight)
    assert view["range"]["weight"] == 0.5
    assert view["reach"]["weight"] == 0.01  # no exaggeration of rounding noise


@pytest.mark.parametrize("peak", [0.3, 0.42, 0.8, 1.0])
def test_scales_hold_every_value(peak):
    rest = (1 - peak) / 3
    weight = np.full((3, 2, 4), 0.25)
    weight[0, 0] = [peak, rest, rest, rest]
    view = view_of(weight, weight)
    assert peak <= view["range"]["weight"] <= 1
    assert view["reach"]["weight"] >= max(peak - 0.25, 0.25 - rest) - 1e-9


def test_idle_groups_do_not_stretch_the_difference_scale():
    weight = np.full((2, 2, 4), 0.25)
    weight[0] = 0  # 0 minus uniform would be -0.25
    assert view_of(weight, weight)["reach"]["weight"] == 0.01


@pytest.mark.parametrize(("layers", "experts"), [(30, 8), (36, 32), (80, 48), (3, 1600), (7, 700)])
def test_never_more_than_five_thousand_cells(layers, experts):
    values = np.random.default_rng(1).normal(size=(3, layers, experts))
    pooled, names = pool_layers(values, range(layers))
    assert pooled.shape[1] == len(names)
    assert pooled.size <= MAX_CELLS or len(names) == 1
    if values.size <= MAX_CELLS:
        np.testing.assert_array_equal(pooled, values)
    # every layer is in exactly one column, and a column is the mean of its layers
    covered = []
    for column, name in enumerate(names):
        first, _, last = name.partition("-")
        span = list(range(int(first), int(last or first) + 1))
        covered += span
        np.testing.assert_allclose(pooled[:, column], sum(values[:, i] for i in span) / len(span))
    assert covered == list(range(layers))


def test_titles_say_measure_normalisation_and_layers():
    view = view_of(*arrays())
    assert set(view["titles"]) == {"weight/value", "weight/difference", "share/value", "share/difference"}
    for title in view["titles"].values():
        assert "ayers 0 to 4" in title
        assert "mean over projections and tokens" in title
    assert "sum to 1" in view["titles"]["weight/value"]
    assert "minus uniform" in view["titles"]["share/difference"]


def test_pooled_layers_are_said_in_the_title():
    view = view_of(*arrays(layers=80, experts=48))
    assert "neighbours averaged" in view["titles"]["weight/value"]


def test_summary_names_the_largest_weight():
    weight = np.full((3, 5, 4), 0.25)
    weight[2, 3] = [0.1, 0.7, 0.1, 0.1]
    said = view_of(weight, weight)["summary"]
    assert "multimodal expert 1 in layer 3 (prompt): 0.700" in said
    assert "2.80 times" in said
    assert "nearly even" not in said
    even = np.full((3, 5, 4), 0.25)
    assert "nearly even" in view_of(even, even)["summary"]
    assert routing_view(GROUPS, range(5), 4, {})["summary"] == ""


def test_running_mean_over_answer_tokens():
    steps = [arrays(seed=s) for s in range(4)]
    running = RunningRouting(GROUPS, range(5), 4)
    running.add("prompt", *steps[0])
    for step in steps[1:]:
        running.add("answer", *step)
    running.add("answer", None, None)  # a step without routing changes nothing
    frames = running.view()["frames"]
    np.testing.assert_allclose(frames["prompt"]["weight"], steps[0][0], atol=6e-5)
    expected = (steps[1][0] + steps[2][0] + steps[3][0]) / 3
    np.testing.assert_allclose(frames["answer"]["weight"], expected, atol=6e-5)
    assert frames["answer"]["note"] == "answer, mean of 3 tokens"


def test_no_experts_is_an_empty_picture():
    view = routing_view((), (), 0, {})
    assert view["groups"] == []
    assert view["frames"] == {}


def test_panels_are_named_apart_and_below_each_other():
    figure = view_of(*arrays())["figure"]
    assert [trace["name"] for trace in figure["data"]] == [*GROUPS, "colour bar"]
    layout = figure["layout"]
    domains = [layout[f"yaxis{i}"]["domain"] for i in ("", 2, 3, 4)]
    for upper, lower in itertools.pairwise(domains):
        assert upper[0] > lower[1]
    assert layout["xaxis2"]["matches"] == layout["xaxis3"]["matches"] == "x"
    assert layout["height"] > 0


def test_divergence_figure_is_the_values_it_was_given():
    figure = divergence_figure((3, 7, 9), (0.1, 0.0, 0.25))
    assert figure["data"][0]["x"] == [3, 7, 9]
    assert figure["data"][0]["y"] == [0.1, 0.0, 0.25]
    assert figure["layout"]["yaxis"]["range"][1] > 0.25
    assert divergence_figure((0, 1), (float("nan"), 3e-9))["data"][0]["y"] == [None, 3e-9]


def luminance(colour):
    """WCAG relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_sequential_scales_order_by_lightness_alone():
    for both in SEQUENTIAL.values():
        light = [luminance(c) for _, c in both["light"]]
        dark = [luminance(c) for _, c in both["dark"]]
        assert light == sorted(light, reverse=True)
        assert dark == sorted(dark)


def test_diverging_scales_peak_in_the_middle():
    for stops in DIVERGING.values():
        tones = [luminance(c) for _, c in stops]
        middle = tones[len(tones) // 2]
        assert middle in (max(tones), min(tones))


def test_group_colours_are_readable_on_their_ground():
    grounds = {"light": "#ffffff", "dark": "#171b22"}
    for both in GROUP_COLOURS.values():
        for mode, ground in grounds.items():
            high, low = sorted((luminance(both[mode]), luminance(ground)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_plots_import_neither_torch_nor_gradio():
    code = "import sys, smola_demo.plots; print(sorted({'torch', 'gradio', 'plotly'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
