"""What is offered to load, on real classes with random weights: facts, refusals, memory that comes back."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from tiny_vlm import noise, tiny_folder

import app
from smola_demo import experts
from smola_demo.__main__ import main
from smola_demo.backbone import BackboneError, fit, load_backbone
from smola_demo.backbone.counts import FitError, count
from smola_demo.backbone.fit import MARGIN, config_of
from smola_demo.backbone.footprint import estimate
from smola_demo.backbone.quantization import Plan
from smola_demo.catalogue import Catalogue
from smola_demo.experts import ExpertsError, find_experts
from smola_demo.ui.loading import EngineHandle

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


def free(monkeypatch, size):
    monkeypatch.setattr(fit, "free_bytes", lambda _device: int(size))
    monkeypatch.setattr("smola_demo.catalogue.free_bytes", lambda _device: int(size))


def taken(folder, plan, picture):
    """Bytes that loading asks for, with the margin."""
    counts = count(config_of(folder))
    return estimate(counts, plan, counts.pictures[picture]).asking * (1 + MARGIN)


def silent(_done, _total, _what):
    """Nobody listens to the progress."""


def test_a_model_that_cannot_fit_is_refused_before_its_weights_are_read(monkeypatch):
    folder = str(tiny_folder("llava"))
    free(monkeypatch, taken(folder, Plan("bf16", CPU), 0) - 1e6)
    monkeypatch.setattr("smola_demo.backbone.pretrained._model", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(FitError, match=r"does not fit: with float32 .* more than the .* free"):
        load_backbone(folder, precision="fp32", device="cpu")


def test_a_picture_is_kept_to_what_fits(monkeypatch):
    """With room for one tile only, the same picture has fewer tokens than with room for all."""
    folder = str(tiny_folder("idefics3"))
    large = load_backbone(folder, precision="fp32", device="cpu")
    free(monkeypatch, taken(folder, Plan("fp32", CPU), -1) + 1000)
    told = []
    small = load_backbone(
        folder, precision="fp32", device="cpu", progress=lambda _d, _t, what: told.append(what)
    )
    picture = noise((128, 128))
    tokens = [len(backbone.encode(picture, "What?").boxes) for backbone in (large, small)]
    assert tokens == [20, 4]
    assert told == [small.fit]
    assert "larger pictures, up to 256 × 256, would not" in small.fit


def test_auto_on_a_cpu_keeps_the_weights_packed_where_memory_is_short(monkeypatch):
    folder = str(tiny_folder("llava"))
    unpacked, packed = (taken(folder, Plan("nf4", CPU, dequantize), 0) for dequantize in (True, False))
    assert packed < unpacked
    free(monkeypatch, (packed + unpacked) / 2)
    assert load_backbone(folder, device="cpu").compute == "4-bit NF4 weights"
    free(monkeypatch, 2 * unpacked)
    assert load_backbone(folder, device="cpu").compute == "NF4 weights, computed in fp32"


def test_where_the_page_is_not_local_nothing_else_is_read(monkeypatch, tmp_path):
    monkeypatch.delenv("SMOLA_BACKBONES", raising=False)
    monkeypatch.setattr("smola_demo.catalogue.find", lambda _id: pytest.fail("a folder was looked at"))
    public = Catalogue()
    assert (public.choices, public.open) == ((("embedded", "embedded"),), False)
    for id_ in (str(tmp_path), "/etc", "someone/model"):
        with pytest.raises(BackboneError, match="may not be loaded here: choose embedded"):
            public.model(id_)
        with pytest.raises(BackboneError, match="may not be loaded here"):
            public.load(id_, "none", "auto", silent)


def test_a_list_of_what_is_allowed_holds_for_a_local_page_too(monkeypatch):
    monkeypatch.setenv("SMOLA_BACKBONES", "embedded, HuggingFaceTB/SmolVLM-256M-Instruct")
    narrow = Catalogue(local=True)
    assert [name for name, _ in narrow.choices] == ["embedded", "SmolVLM-256M"]
    assert not narrow.open
    with pytest.raises(BackboneError, match="may not be loaded here"):
        narrow.check(str(tiny_folder("llava")))


def test_experts_of_the_hub_are_offered_to_the_backbone_they_were_made_for(monkeypatch, tmp_path):
    free(monkeypatch, 1e11)
    small = "HuggingFaceTB/SmolVLM-256M-Instruct"
    facts = json.loads((ROOT / "checkpoints" / "embedded-omni" / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(facts | {"base_model_name_or_path": small}))

    def fetched(name):
        if name == "you/gone":
            raise ExpertsError("no experts 'you/gone': the hub has none of that name")
        return tmp_path if name == "you/mine" else find_experts(name)

    monkeypatch.setattr("smola_demo.catalogue.find_experts", fetched)
    monkeypatch.setenv("SMOLA_BACKBONES", f"embedded,{small}")
    monkeypatch.setenv("SMOLA_EXPERTS", "you/gone,you/mine")
    models = Catalogue("embedded")
    assert [id_ for _, id_ in models.choices] == ["embedded", small], "experts are no backbone"
    assert [made.name for made in models.model("embedded").experts] == ["embedded-omni", "none", "untrained"]
    assert [made.name for made in models.model(small).experts] == ["you/mine", "none", "untrained"]
    models.check(small, "you/mine")


def test_a_known_models_name_stands_for_its_id(monkeypatch):
    free(monkeypatch, 1e11)
    models, loaded = Catalogue(local=True), []
    monkeypatch.setattr("smola_demo.catalogue.Engine.load", lambda *asked, **_: loaded.append(asked))
    assert models.model("SmolVLM-256M").id == "HuggingFaceTB/SmolVLM-256M-Instruct"
    models.check("SmolVLM-256M", "none")
    models.load("SmolVLM-256M", "none", "auto", silent)
    assert loaded == [("HuggingFaceTB/SmolVLM-256M-Instruct", "none", "auto")]


def test_what_cannot_be_read_under_checkpoints_stands_in_nobodys_way(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(experts, "CHECKPOINTS", tmp_path)
    shutil.copytree(ROOT / "checkpoints" / "embedded-omni", tmp_path / "good", symlinks=True)
    for name, text in (("lora", '{"peft_type": "LORA"}'), ("bare", '{"peft_type": "LORA"}'), ("torn", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(text)
    (tmp_path / "lora" / "training.json").write_text('{"base_model_name_or_path": "embedded", "steps": 7}')
    assert experts.checkpoint_names("embedded") == ["good", "lora"]
    assert main(["info", "--json"]) == 0
    told = {made["name"]: made for made in json.loads(capsys.readouterr().out)["checkpoints"]}
    assert (told["good"]["num_experts"], told["lora"]["method"], told["lora"]["steps"]) == (8, "lora", 7)
    assert "missing or damaged" in told["bare"]["error"]
    assert "error" in told["torn"]


def test_facts_of_known_models_need_no_network(monkeypatch):
    free(monkeypatch, 1e9)
    local = Catalogue(local=True)
    assert local.open
    assert {"embedded", "SmolVLM-256M", "Gemma-3-4B"} <= {name for name, _ in local.choices}
    own = local.model("embedded")
    assert (own.licence, own.parameters, own.fits) == ("Apache-2.0", 140_128_064, True)
    assert own.experts[0].name == "embedded-omni"
    big = local.model("google/gemma-3-4b-it", "bf16")
    assert not big.fits
    assert "GB more than the 1.0 GB free" in big.fit
    assert [made.name for made in big.experts] == ["none", "untrained"]
    with pytest.raises(ExpertsError, match="no experts 'embedded-omni' for 'google/gemma-3-4b-it'"):
        local.check("google/gemma-3-4b-it", "embedded-omni")


def test_switching_frees_the_first_model_before_the_second_loads():
    first, second = str(tiny_folder("llava")), str(tiny_folder("idefics3"))
    models = Catalogue(first, local=True)
    handle = EngineHandle(
        lambda report: models.load(first, "untrained", "fp32", report), models=lambda: models
    )
    handle.load()
    old = weakref.ref(handle.engine), weakref.ref(handle.engine.backbone.model)
    seen = []

    def build(report):
        gc.collect()
        seen.append([ref() for ref in old])
        return models.load(second, "none", "fp32", report)

    assert handle.switch(build) == ""
    assert seen == [[None, None]]
    assert handle.require().backbone == second
    assert "could not be loaded" in handle.switch(
        lambda report: models.load("/nowhere", "none", "auto", report)
    )
    assert handle.require().backbone == second


@pytest.mark.parametrize(
    ("host", "name", "local"),
    [
        ("127.0.0.1", "", True),
        ("0.0.0.0", "", False),
        ("127.0.0.1", "SPACE_ID", False),
        ("127.0.0.1", "GRADIO_ROOT_PATH", False),
    ],
)
def test_a_page_is_local_where_only_this_machine_reaches_it(monkeypatch, host, name, local):
    for variable in ("SPACE_ID", "GRADIO_ROOT_PATH"):
        monkeypatch.delenv(variable, raising=False)
    if name:
        monkeypatch.setenv(name, "/somewhere")
    assert app.is_local(host) is local
