"""Training changes what it should, learns, resumes exactly, and writes what loads again."""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator, DistributedType
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import tiny_backbone
from tiny_vlm import tiny_folder

from smola_demo import train as training
from smola_demo.adapter import Adapter, attach
from smola_demo.adapter_files import WEIGHTS_NAME, load_weights, read_config
from smola_demo.backbone import connector
from smola_demo.config import ConfigError, TrainConfig
from smola_demo.data.row import RowError, held_out
from smola_demo.engine import Engine
from smola_demo.experts import ExpertsError
from smola_demo.metric_files import MetricFileError
from smola_demo.model_card import terms_of, write_card
from smola_demo.train import DivergedError, state_folder, train
from smola_demo.train_state import STATE_NAME, StateError

BIAS = "model.multi_modal_projector.linear_1.bias"
BASE = {
    "data": [{"name": "shapes", "tasks": ["count"]}],
    "batch_size": 2,
    "pack": 2,
    "smola": {"num_experts": 2, "rank": 2, "target_modules": ["q_proj", "down_proj"]},
    "save_every": 2,
    "log_every": 2,
    "learning_rate": 0.02,
}


def config(**values) -> TrainConfig:
    return TrainConfig.from_dict(BASE | {"stage": "experts", "output": "out/experts", "steps": 4} | values)


@contextmanager
def stopped_at(monkeypatch, step: int):
    """A run in here is interrupted in its step number `step`."""
    steps = iter(range(1, step))

    def interrupt(*_args):
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training._Log, "write", interrupt)
        yield


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / WEIGHTS_NAME)


def test_experts_learn_and_the_backbone_stays(here):
    before = tiny_backbone().model.state_dict()
    result = train(config(steps=40, data=[{"name": "shapes", "tasks": ["count"]}]), quiet=True)
    losses = [
        json.loads(line)["loss"] for line in Path("runs/out/experts/log.jsonl").read_text().splitlines()
    ]
    assert losses[-1] < 0.8 * losses[0]
    assert result.samples == 80
    assert result.dev_loss > 0
    after = here[0].model.state_dict()
    for name, value in before.items():
        wrapped = name if name in after else ".base_layer.".join(name.rsplit(".", 1))
        assert torch.equal(after[wrapped], value), f"{name} changed"


def test_a_saved_checkpoint_loads_and_knows_how_it_was_made(here):
    train(config(seed=3), quiet=True)
    smola, facts = read_config("out/experts")
    assert (smola.num_experts, smola.rank) == (2, 2)
    assert (facts["base_model_name_or_path"], facts["steps"], facts["seed"]) == ("tiny", 4, 3)
    backbone = tiny_backbone()
    targets = backbone.target_linears(smola.target_modules)
    adapter = attach(backbone.model, smola, targets, backbone.decoder, backbone.modality_of)
    load_weights(adapter, "out/experts")
    assert adapter.is_trained()
    card = Path("out/experts/README.md").read_text()
    assert "| experts per group × rank | 2 × 2 |" in card
    assert "`shapes`, drawn by smola_demo" in card
    assert (facts["tasks"], facts["terms"]) == (["count"], ["`shapes`, drawn by smola_demo: Apache-2.0"])
    assert facts["run"]["learning_rate"] == config().learning_rate
    assert [(source["name"], source["weight"]) for source in facts["run"]["data"]] == [("shapes", 1.0)]


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_what_would_be_saved_in_shards_is_refused(kind):
    with pytest.raises(ConfigError, match="without FSDP or DeepSpeed"):
        training._refuse_shards(kind)
    training._refuse_shards(DistributedType.MULTI_CPU)


def test_a_checkpoint_shows_how_its_loss_went(here):
    train(config(steps=20, log_every=2), quiet=True)
    log = Path("out/experts/log.jsonl").read_text()
    assert log == Path("runs/out/experts/log.jsonl").read_text()
    losses = [json.loads(line)["loss"] for line in log.splitlines()]
    card = Path("out/experts/README.md").read_text()
    steps, hours, shown = (
        [float(value) for value in line.split(" | ")[1:]]
        for line in re.findall(r"^\| (?:up to step|hours|loss) \| .*(?= \|$)", card, re.MULTILINE)
    )
    assert steps == [4, 8, 12, 16, 20]
    assert hours == sorted(hours)
    assert shown == pytest.approx([sum(losses[i : i + 2]) / 2 for i in range(0, 10, 2)], abs=6e-4)


def test_a_new_checkpoint_does_not_keep_the_figures_of_the_old(here):
    """Metrics beside a checkpoint are shown only while they are of its weights, with all experts in."""
    train(config(), quiet=True)
    folder = Path("out/experts")
    sha256 = hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    one = {"metric": "anls", "value": 0.5, "ci95": [0.4, 0.6], "n": 9}
    facts = {"sha256": sha256, "ablation": "", "compute": "fp32", "mean": 0.5, "tasks": {"read": one}}
    for change, shown in (({}, True), ({"ablation": "visual:1"}, False), ({"sha256": "other"}, False)):
        (folder / "metrics.json").write_text(json.dumps(facts | change))
        assert ("## Results" in write_card(folder).read_text()) == shown
    (folder / "metrics.json").write_text(json.dumps(facts))
    train(config(seed=5), quiet=True)
    assert "## Results" not in (folder / "README.md").read_text()


@pytest.mark.parametrize("scores", ['{"read": {"rows": "x", "each": {"a:1": 1.0}}}', "{"])
def test_damaged_figures_of_other_weights_spoil_no_training(here, scores):
    """As an evaluation leaves them that was killed between its two files."""
    folder = Path("out/experts")
    folder.mkdir(parents=True)
    one = {"metric": "anls", "value": 0.5, "ci95": [0.4, 0.6], "n": 9}
    told = {"sha256": "other", "ablation": "", "mean": 0.5, "tasks": {"read": one}}
    (folder / "metrics.json").write_text(json.dumps(told))
    (folder / "scores.json").write_text(scores)
    train(config(steps=1), quiet=True)
    assert "## Results" not in (folder / "README.md").read_text()
    (folder / "metrics.json").write_text("[" * 100_000)
    assert "## Results" not in write_card(folder).read_text()
    sha256 = hashlib.sha256((folder / WEIGHTS_NAME).read_bytes()).hexdigest()
    (folder / "metrics.json").write_text(json.dumps(told | {"sha256": sha256}))
    with pytest.raises(MetricFileError, match="evaluate again"):
        write_card(folder)


def test_align_trains_the_connector_only(here):
    before = {n: p.clone() for n, p in tiny_backbone().model.named_parameters()}
    train(config(stage="align", output="out/base"), quiet=True)
    after = dict(here[0].model.named_parameters())
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {name for name in before if "multi_modal_projector" in name}
    saved = load_file("out/base/model.safetensors")
    assert set(saved) == changed


def test_align_starts_anew_or_from_a_base_but_never_from_what_is_shipped(here):
    train(config(stage="align", output="out/one", steps=1), quiet=True)
    shifted = tiny_backbone()
    with torch.no_grad():
        shifted.model.model.multi_modal_projector.linear_1.bias.add_(1)
    connector.save_base(shifted.model, Path("out/shifted"), {})
    train(config(stage="align", output="out/two", steps=1, init_base="out/shifted"), quiet=True)
    fresh = tiny_backbone()
    connector.start(fresh.model, 0)
    expected = fresh.model.model.multi_modal_projector.linear_1.bias
    one, two = (load_file(f"out/{n}/model.safetensors")[BIAS] for n in ("one", "two"))
    torch.testing.assert_close(one, expected, atol=0.03, rtol=0)  # one step of at most the learning rate
    shifted_bias = shifted.model.model.multi_modal_projector.linear_1.bias
    torch.testing.assert_close(two, shifted_bias, atol=0.03, rtol=0)


@pytest.fixture
def bare_steps(monkeypatch):
    """Grows by one with every pass that leaves the experts out."""
    steps = []
    disabled = Adapter.disabled

    def counted(self):
        steps.append(1)
        return disabled(self)

    monkeypatch.setattr(Adapter, "disabled", counted)
    return steps


def test_align_may_always_run_with_its_experts(here, bare_steps):
    train(
        config(stage="align", output="out/base", experts_output="out/beside", steps=8, bare_every=0),
        quiet=True,
    )
    assert not bare_steps


def test_align_with_experts_beside_trains_both_and_saves_each(here, bare_steps):
    """Every fourth step runs bare; the experts fit the stage that goes on from them."""
    train(config(stage="align", output="out/base", experts_output="out/beside", steps=8), quiet=True)
    assert len(bare_steps) == 2
    assert all("multi_modal_projector" in name for name in load_file("out/base/model.safetensors"))
    first = weights("out/beside")
    assert any(bool(value.any()) for name, value in first.items() if name.endswith(".B"))
    again = config(
        stage="align",
        output="out/later",
        init_base="out/base",
        experts_output="out/again",
        init_experts="out/beside",
        steps=1,
        learning_rate=1e-9,
    )
    train(again, quiet=True)
    for name, value in weights("out/again").items():
        if name.endswith((".A", ".B")):
            torch.testing.assert_close(value, first[name], atol=1e-6, rtol=0)


def test_experts_of_another_base_are_no_start(here):
    """Those made beside a connector belong to the base that was written with them."""
    train(config(stage="align", output="out/base", experts_output="out/beside", steps=1), quiet=True)
    _, facts = read_config("out/beside")
    assert facts["revision"] == connector.revision_of(Path("out/base"))
    with pytest.raises(ExpertsError, match="revision"):
        train(config(init_experts="out/beside", steps=1), quiet=True)
    assert not Path("out/experts").exists()


def test_a_base_that_is_not_there_is_no_start(here):
    with pytest.raises(ConfigError, match="no base at out/gone"):
        train(config(stage="align", output="out/base", init_base="out/gone"), quiet=True)
    assert not Path("out/base").exists()


def test_data_without_development_rows_is_told_before_the_first_step(here):
    """photo_1, photo_2, … count as parts of one picture: all of them on one side."""
    for i in range(12):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(f"photo_{i}.png")
    rows = [
        {"image": f"photo_{i}.png", "task": "caption", "question": None, "answers": ["a"]} for i in range(12)
    ]
    Path("rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(RowError, match="names of its pictures"):
        train(config(data=[{"name": "rows.jsonl"}], steps=1), quiet=True)
    assert not Path("runs").exists()


def test_a_picture_that_does_not_open_is_left_out(here):
    for i in range(40):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(f"p{i}.png")
    rows = [{"image": f"p{i}.png", "task": "caption", "question": None, "answers": ["a"]} for i in range(40)]
    Path("rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    train_side = [i for i in range(40) if not held_out(f"p{i}.png")]
    for i in train_side[::2]:
        Path(f"p{i}.png").write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="left out of the training"):
        result = train(config(data=[{"name": "rows.jsonl"}], steps=6, pack=1), quiet=True)
    assert math.isfinite(result.final_loss)
    for i in train_side:
        Path(f"p{i}.png").write_bytes(b"nothing")
    with pytest.raises(RowError, match="look at this file"), pytest.warns(UserWarning, match="left out"):
        train(config(data=[{"name": "rows.jsonl"}], steps=6, pack=1, output="out/none"), quiet=True)
    elsewhere = {"output": "out/worker", "num_workers": 1}  # which warns in a process of its own
    with warnings.catch_warnings(), pytest.raises(RowError, match=r"^a hundred pictures in turn") as told:
        warnings.simplefilter("ignore")
        train(config(data=[{"name": "rows.jsonl"}], steps=6, pack=1, **elsewhere), quiet=True)
    assert "\n" not in str(told.value)


def test_experts_go_on_at_another_scaling_from_what_they_did(here):
    """Eight times the scaling starts from an eighth of every B: the outputs are the same."""
    train(config(steps=3), quiet=True)
    before = weights("out/experts")
    scaled = {"init_experts": "out/experts", "output": "out/scaled", "steps": 1, "learning_rate": 1e-9}
    train(config(smola={**BASE["smola"], "scaling": 8.0}, **scaled), quiet=True)
    after = weights("out/scaled")
    trained = [name for name in before if name.endswith(".B") and before[name].any()]
    assert trained
    for name in trained:
        torch.testing.assert_close(after[name] * 8, before[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"groups": ["visual", "multimodal"]},
            "groups visual, text, smola asks for visual, multimodal: make",
        ),
        ({"routing": "prefix"}, "routing token, smola asks for prefix: make them equal"),
    ],
)
def test_experts_of_another_mixture_are_no_start(here, change, said):
    """Though their tensors have the same names and shapes."""
    shape = {**BASE["smola"], "groups": ["visual", "text"]}
    train(config(smola=shape, steps=1), quiet=True)
    with pytest.raises(ConfigError, match=f"the experts in out/experts have {said}"):
        train(config(smola=shape | change, init_experts="out/experts", output="out/on", pack=1), quiet=True)
    assert not Path("out/on").exists()


@pytest.mark.parametrize("shared", [False, True])
def test_experts_go_on_with_sharper_routers(here, shared):
    """At four times the first scale every learned scale is four times itself, of a shared router too."""
    shape = {**BASE["smola"], "target_modules": ["q_proj", "v_proj"], "shared_router": shared}
    train(config(smola=shape, steps=2), quiet=True)
    before = weights("out/experts")
    sharper = {"init_experts": "out/experts", "output": "out/sharp", "steps": 1, "scale_learning_rate": 1e-9}
    train(config(smola={**shape, "router_scale": 4.0}, **sharper), quiet=True)
    after = weights("out/sharp")
    scales = [name for name in before if name.endswith("router.scale")]
    assert scales
    for name in scales:
        torch.testing.assert_close(after[name], before[name] * 4)


def test_a_tuned_tower_stays_in_the_base_of_later_stages(here):
    train(config(stage="words", output="out/words", tune_vision=True, steps=2, batch_size=4), quiet=True)
    train(config(stage="align", output="out/base", init_base="out/words", steps=1), quiet=True)
    tuned, later = (load_file(f"out/{n}/model.safetensors") for n in ("words", "base"))
    towers = {name for name in tuned if "vision_tower" in name}
    assert towers
    assert all(torch.equal(tuned[name], later[name]) for name in towers)


def test_words_bring_pictures_near_what_is_said_of_them(here):
    train(config(stage="words", output="out/base", steps=30, batch_size=8), quiet=True)
    losses = [json.loads(line)["loss"] for line in Path("runs/out/base/log.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < 0.97 * sum(losses[:5])
    assert "sharpness" not in load_file("out/base/model.safetensors")


def test_cells_learn_what_lies_in_them(here):
    data = [{"name": "words"}]
    train(config(stage="cells", output="out/base", steps=30, batch_size=4, data=data), quiet=True)
    losses = [json.loads(line)["loss"] for line in Path("runs/out/base/log.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert all("multi_modal_projector" in name for name in load_file("out/base/model.safetensors"))


def test_a_broken_run_of_cells_resumes_to_the_same_end(here, monkeypatch):
    told = [{"name": "words"}, {"name": "charts"}]
    values = {"stage": "cells", "tune_vision": True, "data": told, "steps": 4, "bucket": 2}
    whole = train(config(output="out/whole", **values), quiet=True)
    with stopped_at(monkeypatch, 3):
        train(config(output="out/again", **values), quiet=True)
    resumed = train(config(output="out/again", **values), resume=True, quiet=True)
    assert resumed.final_loss == pytest.approx(whole.final_loss, abs=1e-6)
    one, two = (load_file(f"out/{n}/model.safetensors") for n in ("whole", "again"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_align_goes_on_with_experts_of_an_earlier_base(here):
    """The connector it makes is another anyway; experts alone must fit to the digit."""
    train(config(stage="align", output="out/base", experts_output="out/beside", steps=1), quiet=True)
    train(config(stage="cells", output="out/cells", init_base="out/base", steps=2), quiet=True)
    later = {"init_base": "out/cells", "experts_output": "out/later", "init_experts": "out/beside"}
    train(config(stage="align", output="out/end", steps=1, **later), quiet=True)
    _, facts = read_config("out/later")
    assert facts["revision"] == connector.revision_of(Path("out/end"))


def test_the_connector_learns_at_its_own_rate_from_visual_tokens_as_long_as_words(here):
    train(config(stage="align", output="out/base", steps=1), quiet=True)
    base = load_file("out/base/model.safetensors")
    still = {"shorten": True, "connector_learning_rate": 1e-12, "init_base": "out/base"}
    train(
        config(stage="align", output="out/short", experts_output="out/beside", steps=2, **still), quiet=True
    )
    short = load_file("out/short/model.safetensors")
    name = "model.multi_modal_projector.linear_2.weight"
    factor = connector.read_facts(Path("out/short"))["visual_tokens_scaled_by"]
    torch.testing.assert_close(short[name].float(), base[name].float() * factor, rtol=0.02, atol=1e-4)
    assert any(bool(value.any()) for key, value in weights("out/beside").items() if key.endswith(".B"))
    with pytest.raises(ConfigError, match="shorten is for the stage align"):
        config(shorten=True)


def test_align_with_the_tower_trains_the_tower_too(here):
    before = {n: p.clone() for n, p in tiny_backbone().model.named_parameters()}
    train(config(stage="align", output="out/base", tune_vision=True, steps=2), quiet=True)
    after = dict(here[0].model.named_parameters())
    changed = {name.split(".")[1] for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {"multi_modal_projector", "vision_tower"}


@pytest.mark.parametrize("routing", ["token", "prefix"])
def test_a_broken_run_resumes_to_the_same_end(here, monkeypatch, routing):
    """Stopped after five of eight steps (step 4 on disk), resumed: weights equal the unbroken run's."""
    smola = BASE["smola"] | {"routing": routing}
    whole = config(output="out/whole", steps=8, smola=smola, pack=1)
    train(whole, quiet=True)
    broken = config(output="out/broken", steps=8, smola=smola, pack=1)
    with stopped_at(monkeypatch, 5):
        train(broken, quiet=True)
    train(broken, resume=True, quiet=True)
    expected, resumed = weights("out/whole"), weights("out/broken")
    for name, value in expected.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-6, rtol=0)


def test_only_what_our_generators_drew_has_our_licence():
    assert terms_of("charts") == "`charts`, drawn by smola_demo: Apache-2.0"
    assert terms_of("mine/charts/rows.jsonl") == "`charts`, terms: ask whoever made it"
    assert terms_of("hub:owner/name") == "`hub:owner/name`, terms: ask whoever made it"


def test_runs_of_one_name_in_two_folders_keep_their_own_state():
    folders = {
        output: state_folder(config(output=output))
        for output in ("a/experts", "b/experts", "runs/experts", "/nowhere/experts", "../experts")
    }
    assert len(set(folders.values())) == 5
    told = {output: str(folder) for output, folder in folders.items()}
    assert told["a/experts"] == "runs/a/experts"
    assert told["runs/experts"] == "runs/experts"
    assert re.fullmatch(r"runs/experts-[0-9a-f]{8}", told["/nowhere/experts"])
    assert state_folder(config(output=str(Path("runs/experts").resolve()))) == Path("runs/experts")


@pytest.mark.parametrize("broken", ["nan", "inf"])
def test_a_run_that_diverges_says_so_and_keeps_its_last_state(here, monkeypatch, broken):
    train(config(steps=4, save_every=2), quiet=True)
    state = state_folder(config()) / STATE_NAME
    before = state.read_bytes()
    clipped = Accelerator.clip_grad_norm_

    def diverging(self, parameters, norm):
        parameters = list(parameters)
        parameters[0].grad.fill_(float(broken))
        return clipped(self, parameters, norm)

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", diverging)
    with pytest.raises(DivergedError, match=r"gradient of step 1 is no number: lower the learning rates"):
        train(config(steps=4, save_every=1), quiet=True)
    assert state.read_bytes() == before


def test_experts_may_be_made_for_another_base_than_the_shipped_one(here):
    train(config(stage="align", output="out/base", steps=1), quiet=True)
    train(config(init_base="out/base", steps=1), quiet=True)
    assert read_config("out/experts")[1]["revision"] == connector.revision_of(Path("out/base"))
    train(config(output="out/other", steps=1), quiet=True)
    assert read_config("out/other")[1]["revision"] != connector.revision_of(Path("out/base"))
    with pytest.raises(ConfigError, match="no base at out/none"):
        train(config(init_base="out/none", steps=1), quiet=True)


def test_resume_says_why_it_cannot(here, monkeypatch):
    with pytest.raises(StateError, match="nothing to resume"):
        train(config(), resume=True, quiet=True)
    train(config(), quiet=True)
    with pytest.raises(StateError, match="learning_rate"):
        train(config(learning_rate=0.5), resume=True, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(training, "mixed_precision", lambda *_: "bf16")
        with pytest.raises(StateError, match="mixed_precision = 'no', this run has 'bf16'"):
            train(config(), resume=True, quiet=True)
    train(config(about="the same in other words", save_every=3), resume=True, quiet=True)
    Path("runs/out/experts/state.safetensors").write_bytes(b"half a file")
    with pytest.raises(StateError, match="delete it"):
        train(config(), resume=True, quiet=True)


def test_resume_stays_on_the_frozen_weights_it_began_on(here, monkeypatch):
    train(config(stage="align", output="out/base", steps=1), quiet=True)
    run = config(init_base="out/base")
    train(run, quiet=True)
    train(run, resume=True, quiet=True)
    load = training.load_backbone

    def in_nf4(*args, **options):
        backbone = load(*args, **options)
        backbone.precision = "nf4"
        return backbone

    with monkeypatch.context() as patch:
        patch.setattr(training, "load_backbone", in_nf4)
        with pytest.raises(StateError, match="backbone_precision = 'fp32', this run has 'nf4'"):
            train(run, resume=True, quiet=True)
    train(config(stage="align", output="out/base", steps=1, seed=1), quiet=True)
    with pytest.raises(StateError, match=r"backbone_revision = .* use the same config and backbone"):
        train(run, resume=True, quiet=True)


def test_a_state_that_does_not_tell_its_frozen_weights_resumes(here):
    train(config(), quiet=True)
    path = state_folder(config()) / STATE_NAME
    with safe_open(path, framework="pt") as file:
        told = file.metadata()
    older = {k: v for k, v in json.loads(told["config"]).items() if not k.startswith("backbone_")}
    save_file(load_file(path), path, told | {"config": json.dumps(older)})
    train(config(), resume=True, quiet=True)


def test_prefix_routing_refuses_packing():
    with pytest.raises(ConfigError, match="pack"):
        config(smola=BASE["smola"] | {"routing": "prefix"}, pack=2)
    with pytest.raises(ConfigError, match="experts_output is for the stage align"):
        config(experts_output="out/beside")


@pytest.mark.parametrize("name", ["idefics3", "paligemma", "qwen3_vl"])
def test_experts_learn_on_a_family(tmp_path, monkeypatch, name):
    """One question per sequence: tiles, a prompt that attends both ways, own positions. It loads again."""
    monkeypatch.chdir(tmp_path)
    folder = str(tiny_folder(name))
    result = train(config(backbone=folder, precision="nf4", steps=3, learning_rate=0.002), quiet=True)
    assert math.isfinite(result.final_loss)
    info = Engine.load(folder, "out/experts", "nf4", "cpu").info()
    assert (info.experts_state, info.experts_steps) == ("trained", 3)


def test_only_the_embedded_backbone_has_a_connector_of_ours():
    with pytest.raises(ConfigError, match="align makes the connector of the embedded backbone, not of 'a/b'"):
        config(stage="align", backbone="a/b")


def test_runs_of_two_precisions_in_one_process(here):
    train(config(mixed_precision="bf16", steps=1, output="out/one"), quiet=True)
    train(config(mixed_precision="no", steps=1, output="out/two"), quiet=True)
    assert read_config("out/one")[1]["mixed_precision"] == "bf16"
    assert read_config("out/two")[1]["mixed_precision"] == "no"
