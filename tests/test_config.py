"""Configs take what a run can use, refuse the rest by name, and survive the way through JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smola_demo.config import GROUPS, ConfigError, DataSource, SmolaConfig, TrainConfig

ALIGN = {"stage": "align", "output": "checkpoints/x", "data": [{"name": "shapes"}]}
names = st.text(min_size=1, max_size=8)
positive = st.integers(1, 10**6)
rates = st.floats(1e-6, 10)

smola_configs = st.builds(
    SmolaConfig,
    groups=st.permutations(GROUPS).flatmap(lambda p: st.integers(1, 3).map(lambda n: tuple(p[:n]))),
    num_experts=positive,
    rank=positive,
    target_modules=st.lists(names, min_size=1, max_size=3).map(tuple),
    layers=st.lists(st.integers(0, 200), max_size=4).map(tuple),
    shared_router=st.booleans(),
    scaling=rates,
    router_scale=rates,
)
prefix_configs = st.builds(SmolaConfig, num_slots=positive, routing=st.just("prefix"))
train_configs = st.builds(
    TrainConfig,
    stage=st.sampled_from(["words", "cells", "align", "experts"]),
    output=names,
    data=st.lists(
        st.builds(
            DataSource,
            name=names,
            weight=rates,
            tasks=st.lists(names, max_size=2).map(tuple),
            derive=st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    smola=smola_configs,
    learning_rate=rates,
    warmup=st.floats(0, 0.99),
    tune_vision=st.booleans(),
    seed=st.integers(),
)


@given(st.one_of(smola_configs, prefix_configs, train_configs))
def test_json_there_and_back(config):
    text = json.dumps(config.to_dict())
    assert type(config).from_dict(json.loads(text)) == config


def test_groups_come_in_one_order():
    assert SmolaConfig(groups=("multimodal", "visual")).groups == ("visual", "multimodal")


def test_defaults_are_what_the_readers_of_files_rely_on():
    assert SmolaConfig().to_dict() == {
        "groups": ["visual", "text", "multimodal"],
        "num_experts": 8,
        "rank": 4,
        "num_slots": 1,
        "routing": "token",
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "layers": [],
        "shared_router": False,
        "scaling": 1.0,
        "router_scale": 1.0,
    }


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SmolaConfig().rank = 2  # type: ignore[misc]  what is tried is what types forbid


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"groups": []}, "groups is empty; choose from visual, text, multimodal"),
        ({"groups": ["text", "text"]}, "groups repeats a name"),
        ({"groups": ["audio"]}, r"groups must be .* visual, text, multimodal, not \('audio',\)"),
        ({"groups": "visual"}, "groups must be a list"),
        ({"num_experts": 0}, "num_experts must be positive, not 0"),
        ({"num_experts": 2.0}, "num_experts must be a whole number, not 2.0"),
        ({"num_experts": True}, "num_experts must be a whole number, not True"),
        ({"rank": -1}, "rank must be positive, not -1"),
        ({"rank": "4"}, "rank must be a whole number, not '4'"),
        ({"rank": None}, "rank must be a whole number, not None"),
        ({"routing": "slot"}, "routing must be one of token, prefix, not 'slot'"),
        ({"num_slots": 2}, "num_slots is 2, but token routing has no slots: set num_slots to 1 or routing"),
        ({"target_modules": []}, "target_modules is empty"),
        ({"target_modules": "q_proj"}, "target_modules must be a list, each text"),
        ({"layers": [-1]}, r"layers must not be negative: \(-1,\)"),
        ({"layers": ["1"]}, "layers must be a list, each a whole number"),
        ({"shared_router": 1}, "shared_router must be true or false, not 1"),
        ({"router_scale": 0}, "router_scale must be positive, not 0"),
        ({"router_scale": float("nan")}, "router_scale must be a finite number, not nan"),
        ({"ranks": 4, "expert": 2}, "SmolaConfig has no expert, ranks; it has groups, layers, num_experts"),
    ],
)
def test_a_mixture_no_run_could_use_is_refused(values: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        SmolaConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stage": "tune"}, "stage must be one of words, cells, align, experts, not 'tune'"),
        ({"stage": "words", "batch_size": 3}, "words needs a batch_size of 4 at least"),
        ({"stage": "experts", "tune_vision": True}, "tune_vision is not for the stage experts"),
        ({"mixed_precision": "fp16"}, "mixed_precision must be one of no, auto, bf16, not 'fp16'"),
        ({"output": ""}, "output is empty"),
        ({"data": []}, "data is empty"),
        ({"data": "shapes"}, "data must be a list, each an object, not 'shapes'"),
        ({"data": [{"weight": 1.0}]}, "DataSource needs name"),
        ({"data": [{"name": "shapes", "weight": 0}]}, "weight of data source 'shapes' must be positive"),
        (
            {"data": [{"name": "shapes", "wieght": 1}]},
            "DataSource has no wieght; it has columns, derive, name, pack, split, tasks, weight",
        ),
        ({"data": [{"name": "shapes", "pack": -1}]}, "pack of data source 'shapes' must not be negative"),
        ({"smola": 3}, "smola must be an object, not 3"),
        ({"smola": {"rank": 0}}, "rank must be positive"),
        ({"steps": 0}, "steps must be positive, not 0"),
        ({"steps": 1e3}, "steps must be a whole number, not 1000.0"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a finite number, not '1e-3'"),
        ({"lora_rank": 7}, "lora_rank is for method 'lora', not 'smola'"),
        ({"bare_every": -1}, "bare_every must not be negative, not -1"),
        ({"init_experts": "runs/x"}, "init_experts needs the stage experts, or experts_output"),
        ({"stage": "words", "init_experts": "runs/x"}, "init_experts needs the stage experts"),
        ({"stage": "experts", "method": "lora", "shorten": True}, "shorten is for the stage align alone"),
        ({"data": [{"name": "shapes", "split": "test"}]}, "split and columns are for a hub's set: 'shapes'"),
        ({"data": [{"name": "a.jsonl", "columns": ["a", "b", "c"]}]}, "does not begin with hub:"),
        ({"clip_norm": -1.0}, "clip_norm must be positive, not -1.0"),
        ({"warmup": 1.0}, "warmup is a share of the steps"),
        ({"stage": "experts", "smola": {"routing": "prefix"}, "pack": 2}, "set pack to 1"),
        (
            {
                "stage": "experts",
                "smola": {"routing": "prefix"},
                "pack": 1,
                "data": [{"name": "counts", "pack": 9}],
            },
            "set pack to 1",
        ),
    ],
)
def test_a_training_no_run_could_do_is_refused(values: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict(ALIGN | values)


@pytest.mark.parametrize(
    "values",
    [
        {"init_experts": "runs/x", "experts_output": "runs/y"},
        {"stage": "experts", "init_experts": "runs/x"},
        {"stage": "experts", "method": "lora", "lora_rank": 7, "smola": {"routing": "prefix"}},
        {"data": [{"name": "hub:a/b", "tasks": ["vqa"], "split": "test", "columns": ["a", "b", "c"]}]},
    ],
)
def test_where_a_field_has_an_effect_it_is_taken(values: dict):
    assert TrainConfig.from_dict(ALIGN | values).data


def test_absent_fields_are_named():
    with pytest.raises(ConfigError, match="TrainConfig needs output, data"):
        TrainConfig.from_dict({"stage": "align"})


def test_a_whole_number_may_stand_for_a_rate():
    assert TrainConfig.from_dict(ALIGN | {"clip_norm": 1}).clip_norm == 1
