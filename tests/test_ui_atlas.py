"""Files beside a checkpoint as the last two tabs show them: read, refused, and judged by their intervals."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_engine import FakeEngine
from offline_files import ShippedEngine, atlas_file, shipped_info, write_files
from PIL import Image
from tiny_experts import tiny_engine
from ui_calls import ablation_handlers

from smola_demo.__main__ import build_parser
from smola_demo.atlas import FORMAT, VERSION, atlas
from smola_demo.checks import checks
from smola_demo.data.row import Row
from smola_demo.engine import Engine
from smola_demo.evaluate import evaluate
from smola_demo.looking import looking
from smola_demo.metric_files import write_metrics
from smola_demo.reports import engine_report
from smola_demo.ui import atlas as atlas_view
from smola_demo.ui.ablate_handlers import AblateHandlers
from smola_demo.ui.atlas import atlas_value, even_share
from smola_demo.ui.atlas_tab import AtlasTab
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.picker import picked_expert
from smola_demo.ui.stops import StopFlags
from smola_demo.ui.truth import truth_value
from smola_demo.ui.truth_tab import TruthTab
from smola_demo.ui.view import encode

SECTIONS = ("tasks", "looking", "correlation", "answer_changed", "effect", "routers")


@pytest.fixture
def info(tmp_path):
    return shipped_info(tmp_path)


def section(value, name):
    return next(s for s in value["sections"] if s["name"] == name)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """What the commands' own functions write for the tiny model."""
    folder = tmp_path_factory.mktemp("experts")
    engine = tiny_engine()
    engine = Engine(engine.backbone, engine.adapter, "tiny-experts", {"steps": 3, "folder": str(folder)}, 0.1)
    rng = np.random.default_rng(0)
    asked = (("vqa", "What colour?"), ("caption", None), ("vqa", "How many?"))
    noise = [Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)) for _ in asked]
    rows = [
        Row(picture, task, question, ("ab",), "noise", f"noise/{i}")
        for i, (picture, (task, question)) in enumerate(zip(noise, asked, strict=True))
    ]
    made = atlas(engine, rows, "2026-01-02T03:04:05+00:00")
    (folder / "atlas.json").write_text(json.dumps(made))
    found = evaluate(engine, rows, against="none")
    found |= {"looking": looking(engine, rows), "checks": checks(engine, rows)}
    facts = {"backbone": engine.info().backbone, "experts": "tiny-experts", "steps": 3, "ablation": ""}
    write_metrics(found, folder, facts)
    return engine.info(), made, found


def test_what_the_commands_write_is_shown(real):
    info, made, found = real
    value = atlas_value(info)
    assert value["state"] == "shown"
    for shown, entry in zip(value["entries"], made["entries"], strict=True):
        assert {k: shown[k] for k in ("group", "expert", "weight", "contribution", "effect")} == {
            k: entry[k] for k in ("group", "expert", "weight", "contribution", "effect")
        }
        assert shown["layers"] == entry["layers"]
    assert "3 rows: vqa 2, caption 1" in value["made"]
    encode(value)

    value = truth_value(info)
    assert [s["name"] for s in value["sections"] if s["state"] == "shown"] == [
        name for name in SECTIONS if name != "looking" or found["looking"]
    ]
    assert value["note"] == ""
    assert section(value, "routers")["maps"]["random"] == found["checks"]["routers"]["random"]
    encode(value)


def test_this_page_reads_the_version_that_is_written():
    assert (atlas_view.FORMAT, atlas_view.VERSION) == (FORMAT, VERSION)


def test_the_folder_is_known_here_and_told_to_nobody(real):
    info, _, _ = real
    assert info.folder
    assert info.folder not in json.dumps(engine_report(info))


def test_a_missing_file_says_so_with_a_command_that_runs(info):
    for value, what in ((atlas_value(info), "The atlas is"), (truth_value(info), "These checks are")):
        assert (
            value["message"] == f"{what} not computed for this checkpoint yet (embedded-omni, 4,000 steps)."
        )
        for command in value["commands"]:
            build_parser().parse_args(shlex.split(command)[3:])
    other = replace(info, backbone="hub/a model", experts="my own")
    for command in (*atlas_value(other)["commands"], truth_value(other)["commands"][-1]):
        asked = build_parser().parse_args(shlex.split(command)[3:])
        assert (asked.backbone, asked.experts) == ("hub/a model", "my own")
    assert truth_value(info)["commands"][-1].endswith("--against none --look --checks 60")


def test_commands_for_experts_of_a_folder_name_it_as_it_was_given(info, tmp_path):
    given = replace(info, experts="own", experts_option=str(tmp_path))
    for command in (*atlas_value(given)["commands"], truth_value(given)["commands"][-1]):
        asked = build_parser().parse_args(shlex.split(command)[3:])
        assert asked.experts == str(tmp_path)
        assert asked.command == "atlas" or str(asked.out) == str(tmp_path), (
            "the page reads what is beside them"
        )


@pytest.mark.parametrize("value", [atlas_value, truth_value])
def test_without_experts_or_before_them(value, info):
    assert "still loading" in value(None)["message"]
    for without in (replace(info, groups=(), experts="none"), replace(info, groups=(), experts_state="lora")):
        assert value(without)["message"].startswith("No mixture of experts is loaded")
        assert value(without)["commands"] == []
    made = replace(info, folder="", experts="untrained", experts_state="untrained", experts_steps=0)
    assert "come from no folder" in value(made)["message"]
    assert value(made)["commands"] == []
    assert value(replace(made, folder=info.folder, experts="new"))["commands"]
    assert value(replace(info, folder=""))["state"] == "missing"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", '{"made": NaN}', '"\\ud800', "[" * 100_000, '{"format": "smola-atlas", "version": 1}'],
)
def test_a_file_that_is_none_is_refused_in_one_sentence(info, tmp_path, content):
    for name in ("atlas.json", "metrics.json"):
        (tmp_path / name).write_text(content)
    value = atlas_value(info)
    assert "Atlas.json beside these experts is damaged" in value["message"]
    assert value["message"].endswith("Compute it again:")
    assert value["commands"]
    assert str(tmp_path) not in value["message"]
    encode(truth_value(info))


def spoil(made, how):
    entry = made["entries"][0]
    patch = entry["layers"][0]["patches"][0]
    match how:
        case "weight":
            entry["weight"] = "0.1"
        case "bool":
            entry["effect"] = True
        case "above 1":
            entry["weight"] = 1.5
        case "task":
            del entry["tasks"]["vqa"]
        case "layer":
            entry["layers"][0]["layer"] = 99
        case "picture":
            patch["image"] = "https://example.org/x.jpg"
        case "inner":
            patch["inner"] = [0.7, 0.3, 0.3, 0.7]
        case "twice":
            made["entries"][1] = made["entries"][0]
        case "fewer":
            made["entries"].pop()
        case "when":
            made["made"]["when"] = "yesterday"
        case "word":
            made["entries"][-1]["layers"][0]["words"][0]["text"] = 3
    return made


@pytest.mark.parametrize(
    "how",
    ["weight", "bool", "above 1", "task", "layer", "picture", "inner", "twice", "fewer", "when", "word"],
)
def test_a_damaged_atlas_is_refused(info, how):
    write_files(info)
    assert atlas_value(info)["state"] == "shown"
    write_files(info, atlas=spoil(atlas_file(info), how))
    value = atlas_value(info)
    assert value["state"] == "missing"
    assert "damaged" in value["message"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"experts_steps": 5000, "experts_sha256": ""},
            "loaded are embedded-omni after 5000 steps on embedded",
        ),
        ({"experts": "mine", "experts_sha256": ""}, "loaded are mine after 4000 steps"),
        ({"experts_sha256": "beef" * 16}, "loaded are embedded-omni after 4000 steps (weights beefbeef)"),
        ({"backbone": "other"}, "on other"),
    ],
)
def test_files_of_other_experts_are_refused(info, change, said):
    write_files(info)
    for value in (atlas_value(replace(info, **change)), truth_value(replace(info, **change))):
        assert value["state"] == "missing"
        assert said in value["message"]
    other = atlas_value(replace(info, layers=(0, 1)))
    assert "another shape" in other["message"]


def test_even_shares_count_the_experts_that_serve_a_token():
    everything = even_share(("visual", "text", "multimodal"), 8)
    assert everything == {"visual": 1 / 16, "text": 1 / 16, "multimodal": 1 / 16}
    # a visual token has two groups here, a text token one
    mixed = even_share(("visual", "multimodal"), 4)
    assert mixed == {"visual": 1 / 8, "multimodal": None}


def test_the_tabs_hand_out_their_files_only_when_asked(info, tmp_path):
    write_files(info)
    engine = ShippedEngine(layers=3, experts=4)
    engine.folder = tmp_path
    handle = EngineHandle.of(engine)
    for tab in (AtlasTab(handle), TruthTab(handle)):
        assert json.loads(tab.loaded()[0]) == {"state": "ask", "engine": 1}
        assert json.loads(tab.opened())["state"] == "shown"

    def broken(report):
        raise ValueError("no room")

    failed = EngineHandle(broken)
    assert "still loading" in json.loads(AtlasTab(failed).opened())["message"]
    failed.load()
    assert "No room." in json.loads(TruthTab(failed).loaded()[0])["message"]


def test_the_same_weights_keep_their_files_under_another_name(info):
    write_files(info)
    moved = replace(info, experts="someone/smola-mine", experts_steps=0)
    assert atlas_value(moved)["state"] == truth_value(moved)["state"] == "shown"


def test_taking_an_expert_out_checks_what_the_page_sent():
    assert picked_expert({"group": "text", "expert": 2}) == "text:2"
    for bad in (None, "text", {"group": "audio", "expert": 2}, {"group": "text", "expert": 10**9},
                {"group": "text", "expert": -1}, {"group": "text", "expert": "2"},
                {"group": "text", "expert": True}, {"group": ["text"], "expert": 1},
                {"group": "text", "expert": 2, "layer": "3"},
                {"group": "text", "expert": 2, "layer": -1}):  # fmt: skip
        assert picked_expert(bad) is None
    assert picked_expert({"group": "text", "expert": 2, "layer": None}) == "text:2"
    assert picked_expert({"group": "text", "expert": 2, "layer": 3}) == "text:2@3"
    spec, chips, tabs = ablation_handlers().take_out(SimpleNamespace(_data={"group": "text", "expert": 2}))
    assert spec == "text:2"
    assert json.loads(chips)["picked"]["text"] == [2]
    assert tabs.selected == "ablate"


def test_an_expert_can_be_taken_out_before_a_model_is_there_and_of_another_ones_run():
    sent = SimpleNamespace(_data={"group": "text", "expert": 2})
    early = AblateHandlers(EngineHandle(lambda _report: FakeEngine()), StopFlags(), lambda run: run)
    spec, chips, tabs = early.take_out(sent)
    assert (spec, tabs.selected) == ("text:2", "ablate")
    assert json.loads(chips)["spec"] == "text:2"
    spec, chips, tabs = ablation_handlers().take_out(SimpleNamespace(_data={"group": "text", "expert": 77}))
    assert (spec, tabs.selected) == ("text:77", "ablate")
    assert "77" in json.loads(chips)["note"]
