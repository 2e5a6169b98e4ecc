"""What a run remembers beyond its parameters: 8-bit moments and running means, kept, resumed and saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from smola_demo import train as training
from smola_demo.adapter_files import WEIGHTS_NAME, read_config
from smola_demo.averaging import Average
from smola_demo.config import ConfigError, TrainConfig
from smola_demo.train import train
from smola_demo.train_state import STATE_NAME

# Wide enough that B has the 4,096 numbers from which on bitsandbytes holds moments in 8 bit.
BASE = {
    "stage": "experts",
    "data": [{"name": "shapes", "tasks": ["count"]}],
    "batch_size": 2,
    "pack": 2,
    "smola": {"num_experts": 16, "rank": 4, "target_modules": ["q_proj", "down_proj"]},
    "steps": 8,
    "save_every": 2,
    "log_every": 2,
    "dev_groups": 2,
    "learning_rate": 0.02,
}


def config(name: str, **values) -> TrainConfig:
    return TrainConfig.from_dict(BASE | {"output": f"out/{name}"} | values)


@pytest.mark.parametrize(
    "values",
    [
        {"ema": 0.9},
        {"optimizer": "adamw8bit", "ema": 0.5, "gradient_checkpointing": True},
        {"bucket": 3, "gradient_accumulation": 2},
    ],
    ids="-".join,
)
def test_a_broken_run_ends_as_the_whole_one_does(here, monkeypatch, values):
    """Broken after step 5, so resumed from step 4: parameters, moments, means and verdict are the same."""
    train(config("whole", **values), quiet=True)
    written = training._Log.write

    def interrupt(self, step, *args):
        written(self, step, *args)
        if step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Log, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config("broken", **values), quiet=True)
    train(config("broken", **values), resume=True, quiet=True)
    for path in (f"runs/out/{{}}/{STATE_NAME}", f"out/{{}}/{WEIGHTS_NAME}"):
        whole, broken = (load_file(path.format(name)) for name in ("whole", "broken"))
        assert whole.keys() == broken.keys()
        for name, value in whole.items():
            assert torch.equal(broken[name], value), name
    losses = [read_config(f"out/{name}")[1]["dev_loss"] for name in ("whole", "broken")]
    assert losses[0] == losses[1]
    kinds = {name.partition("/")[0] for name in load_file(f"runs/out/whole/{STATE_NAME}")}
    assert ("mean" in kinds) == ("ema" in values)
    assert ("absmax1" in kinds) == ("optimizer" in values)


def test_eight_bits_follow_adamw(here):
    """The same run with both: after some steps they are near each other and far from where they began."""
    for name in ("adamw", "adamw8bit"):
        train(config(name, optimizer=name, learning_rate=1e-3), quiet=True)
    exact, near = (load_file(f"runs/out/{name}/{STATE_NAME}") for name in ("adamw", "adamw8bit"))
    moved = gone = 0.0
    for name, value in exact.items():
        if name.endswith(".B") and name.startswith("parameter/"):
            moved += float(value.norm())
            gone += float((value - near[name]).norm())
    assert 0 < gone < 0.2 * moved


def test_a_paged_state_needs_a_gpu(here):
    with pytest.raises(
        ConfigError, match=r"paged_adamw8bit moves its state .* without CUDA choose adamw8bit"
    ):
        train(config("paged", optimizer="paged_adamw8bit"), quiet=True)


def test_the_mean_is_what_is_saved_and_judged(here):
    """Against a plain loop over the steps' parameters; the state keeps the last step's own."""
    steps: list[dict[str, torch.Tensor]] = []

    class Watched(Average):
        def update(self, step):
            super().update(step)
            steps.append({name: p.detach().clone() for name, p in self._params.items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Average", Watched)
        train(config("mean", ema=0.8), quiet=True)
    state, saved = load_file(f"runs/out/mean/{STATE_NAME}"), load_file(f"out/mean/{WEIGHTS_NAME}")
    for name, last in steps[-1].items():
        if not name.endswith(".B"):
            continue
        expected = torch.zeros_like(last)  # where every B starts
        for step, values in enumerate(steps, start=1):
            decay = min(0.8, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * values[name]
        torch.testing.assert_close(state[f"mean/{name}"], expected, atol=1e-6, rtol=0)
        assert torch.equal(state[f"parameter/{name}"], last)
        assert torch.equal(saved[f"base_model.model.{name}"], state[f"mean/{name}"].bfloat16())
    assert json.loads(Path("out/mean/adapter_config.json").read_text())["run"]["ema"] == 0.8


def test_the_parameters_come_back_whatever_happens():
    parameter = torch.nn.Parameter(torch.ones(3))
    average = Average({"p": parameter}, 0.5)
    with torch.no_grad():
        parameter.add_(1)
    with pytest.raises(KeyError), average.in_place():
        assert torch.equal(parameter, torch.ones(3))
        raise KeyError
    assert torch.equal(parameter, torch.full((3,), 2.0))
    assert Average({"p": parameter}, 0.0).means == {}
