"""The LoRA to measure against: as many parameters, PEFT's own files, alone or below trained experts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny import tiny_backbone

from smola_demo import train as training
from smola_demo.adapter import AdapterError
from smola_demo.adapter_files import WEIGHTS_NAME
from smola_demo.config import ConfigError, TrainConfig
from smola_demo.experts import ExpertsError, attach_experts
from smola_demo.lora import attach_lora, is_lora, matched_rank
from smola_demo.train import train

BASE = {
    "stage": "experts",
    "data": [{"name": "shapes", "tasks": ["count"]}],
    "batch_size": 2,
    "pack": 2,
    "smola": {"num_experts": 4, "rank": 3, "target_modules": ["q_proj", "down_proj"]},
    "steps": 6,
    "learning_rate": 0.02,
}


def config(**values) -> TrainConfig:
    return TrainConfig.from_dict(BASE | values)


def logits(model, backbone) -> torch.Tensor:
    batch = backbone.collate([backbone.encode(None, "What is it?")])
    with torch.no_grad():
        return model(**batch.inputs).logits


def facts(folder) -> dict:
    return json.loads((Path(folder) / "training.json").read_text())


def test_a_matched_lora_has_as_many_parameters_as_the_mixture(here):
    train(config(output="smola"), quiet=True)
    train(config(output="lora", method="lora"), quiet=True)
    smola = json.loads(Path("smola/adapter_config.json").read_text())["parameters"]
    assert abs(facts("lora")["parameters"] - smola) <= 0.02 * smola
    count = sum(t.numel() for t in load_file(f"smola/{WEIGHTS_NAME}").values())
    assert smola == count


def test_a_lora_wraps_the_layers_that_experts_would(here):
    one = BASE["smola"] | {"layers": [1]}
    train(config(output="smola", smola=one, steps=1), quiet=True)
    train(config(output="lora", method="lora", smola=one, steps=1), quiet=True)
    smola = json.loads(Path("smola/adapter_config.json").read_text())["parameters"]
    assert abs(facts("lora")["parameters"] - smola) <= 0.02 * smola
    assert {name.split(".layers.")[1][0] for name in load_file(f"lora/{WEIGHTS_NAME}")} == {"1"}
    with pytest.raises(AdapterError, match="no layer 9"):
        train(config(output="lora", method="lora", smola=BASE["smola"] | {"layers": [9]}), quiet=True)
    shared = BASE["smola"] | {"shared_router": True}
    with pytest.raises(ConfigError, match="set shared_router to false"):
        train(config(output="lora", method="lora", smola=shared), quiet=True)


@pytest.mark.parametrize(("d", "o"), [(576, 576), (576, 192), (1536, 576)])
def test_the_rank_of_the_shipped_shape_matches_to_one_percent(d, o):
    smola = config(output="x").smola
    exact = 3 * 4 * 3 * (d + o) + 3 * 4 * d + 3
    assert abs(matched_rank(smola, d, o) * (d + o) - exact) <= (d + o) / 2


def test_a_lora_learns_and_everything_else_stays(here):
    before = tiny_backbone().model.state_dict()
    train(config(output="lora", method="lora", steps=40), quiet=True)
    losses = [json.loads(line)["loss"] for line in Path("runs/lora/log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]
    after = here[0].model.state_dict()
    for name, value in before.items():
        wrapped = name if name in after else ".base_layer.".join(name.rsplit(".", 1))
        assert torch.equal(after[wrapped], value), f"{name} changed"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's own
def test_peft_itself_reads_the_checkpoint_and_computes_the_same(here):
    train(config(output="lora", method="lora"), quiet=True)
    ours, theirs, bare = tiny_backbone(), tiny_backbone(), tiny_backbone()
    adapter, loaded = attach_experts(ours, Path("lora"))
    assert adapter is None
    assert loaded["lora"]
    peft = PeftModel.from_pretrained(theirs.model, "lora")
    torch.testing.assert_close(logits(ours.model, ours), logits(peft, theirs))
    assert (logits(ours.model, ours) - logits(bare.model, bare)).abs().max() > 1e-3


def test_tuned_over_experts_the_experts_stay_and_both_come_back(here):
    train(config(output="generalist"), quiet=True)
    train(config(output="tuned", method="lora", lora_rank=2, init_experts="generalist"), quiet=True)
    assert facts("tuned")["experts"] == "generalist"
    trained = here[-1]
    fresh = tiny_backbone()
    adapter, loaded = attach_experts(fresh, Path("tuned"))
    assert adapter is not None
    assert loaded["lora"]
    saved = load_file(f"generalist/{WEIGHTS_NAME}")
    for name, parameter in adapter.named_parameters():
        assert torch.equal(parameter.bfloat16(), saved[f"base_model.model.{name}"])
    torch.testing.assert_close(  # saved in bfloat16
        logits(fresh.model, fresh), logits(trained.model, trained), atol=0.05, rtol=0.05
    )
    with adapter.disabled():
        without = logits(fresh.model, fresh)
    assert (without - logits(fresh.model, fresh)).abs().max() > 1e-3


def test_over_experts_of_prefix_routing_nothing_is_packed(here):
    """Whatever routing the config itself has, which a LoRA does not use."""
    prefix = BASE["smola"] | {"routing": "prefix"}
    train(config(output="generalist", smola=prefix, pack=1, steps=1), quiet=True)
    over = {"method": "lora", "lora_rank": 2, "init_experts": "generalist", "steps": 1}
    with pytest.raises(ConfigError, match="prefix routing pools one row's prompt: set pack to 1"):
        train(config(output="tuned", **over), quiet=True)
    assert not Path("tuned").exists()
    train(config(output="tuned", pack=1, **over), quiet=True)
    train(config(output="alone", method="lora", smola=prefix, steps=1), quiet=True)


def test_a_lora_is_not_laid_over_other_experts_than_its_own(here):
    train(config(output="generalist"), quiet=True)
    train(config(output="tuned", method="lora", lora_rank=2, init_experts="generalist"), quiet=True)
    train(config(output="generalist", seed=5), quiet=True)
    with pytest.raises(ExpertsError, match="LoRA in tuned was trained over other experts than those in gen"):
        attach_experts(tiny_backbone(), Path("tuned"))
    older = json.loads(Path("tuned/training.json").read_text())
    del older["experts_sha256"]
    Path("tuned/training.json").write_text(json.dumps(older))
    assert attach_experts(tiny_backbone(), Path("tuned"))[0] is not None


def test_a_lora_on_bfloat16_linears_is_trained_in_float32():
    backbone = tiny_backbone()
    backbone.model.to(torch.bfloat16)
    targets = backbone.target_linears(("q_proj",))
    lora = attach_lora(backbone.model, targets, {"q_proj": 2})
    assert {parameter.dtype for _, parameter in lora.named_parameters()} == {torch.float32}
    assert torch.isfinite(logits(backbone.model, backbone)).all()


def test_a_run_resumes_with_a_lora(here):
    values = {"method": "lora", "save_every": 2}
    train(config(output="whole", **values), quiet=True)
    with pytest.raises(KeyboardInterrupt):
        stop_after(3, config(output="parts", **values))
    train(config(output="parts", **values), resume=True, quiet=True)
    for name, value in load_file(f"whole/{WEIGHTS_NAME}").items():
        torch.testing.assert_close(load_file(f"parts/{WEIGHTS_NAME}")[name], value)


def stop_after(steps: int, run: TrainConfig) -> None:
    grouped = training._grouped

    def broken(batches, size):
        for i, group in enumerate(grouped(batches, size)):
            if i == steps:
                raise KeyboardInterrupt
            yield group

    training._grouped = broken
    try:
        train(run, quiet=True)
    finally:
        training._grouped = grouped


def test_damaged_or_foreign_files_get_one_sentence(here):
    train(config(output="lora", method="lora"), quiet=True)
    assert is_lora("lora")
    saved = load_file(f"lora/{WEIGHTS_NAME}")
    name = min(saved)
    for damage, words in (
        ({name: saved[name] * float("nan")}, "NaN or infinity"),
        ({name: saved[name][:1]}, "does not fit"),
        ({"stray": saved[name].clone()}, "does not fit"),
    ):
        save_file(saved | damage, f"lora/{WEIGHTS_NAME}")
        with pytest.raises(AdapterError, match=words):
            attach_experts(tiny_backbone(), Path("lora"))
    Path(f"lora/{WEIGHTS_NAME}").write_bytes(b"nothing")
    with pytest.raises(AdapterError, match="cannot be loaded"):
        attach_experts(tiny_backbone(), Path("lora"))
    Path("lora/training.json").unlink()
    with pytest.raises(AdapterError, match="was not made by smola_demo"):
        attach_experts(tiny_backbone(), Path("lora"))


def test_only_the_stage_experts_takes_a_lora():
    with pytest.raises(ConfigError, match="for the stage experts"):
        config(output="x", stage="align", method="lora")
    with pytest.raises(ConfigError, match="lora_rank"):
        config(output="x", method="lora", lora_rank=-1)
