"""Sweeps on the tiny backbone: random removals as a reference, and stopping in the middle."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tiny_experts import CONFIG, tiny_engine, with_experts

from smola_demo import effects
from smola_demo.ablation import AblationError, AblationSpec
from smola_demo.effects import GivenAnswer
from smola_demo.results import Progress, Request, Step
from smola_demo.sweep import leave_one_out, random_removals


def request(**values) -> Request:
    image = Image.linear_gradient("L").convert("RGB")
    return Request(image=image, task="vqa", question="What is it?", max_new_tokens=6, **values)


def pieces_of(spec):
    """Each term on its own: (group, expert, layer, projection or None)."""
    return [
        (term.group, *term.experts, *term.layers, *(term.where or (None,)))  # fails for a term of two
        for term in spec.terms
    ]


def test_a_random_removal_equals_its_single_comparison():
    """The reference is the same spec sent through `compare`: another path, one row at a time."""
    engine = tiny_engine()
    *_, sweep = engine.sweep(request())
    assert len(sweep.random) == 8
    for removal in sweep.random[:3]:
        *_, single = engine.compare(request(ablation=removal.spec))
        assert removal.delta_logprob == pytest.approx(single.delta_logprob, abs=1e-4)
    assert len({removal.delta_logprob for removal in sweep.random}) > 1


@pytest.mark.parametrize(
    ("by", "pieces", "modules"), [("expert", 2, 4), ("layer", 1, 2), ("projection", 2, 2)]
)
def test_a_random_removal_is_as_large_as_a_place(by, pieces, modules):
    """modules: (linear, expert) pairs; one expert has 2 layers x 2 projections of them in this model."""
    _, adapter = with_experts()
    for spec, count in random_removals(adapter, by):
        found = pieces_of(spec)
        assert count == pieces == len(found) == len(set(found))
        assert sum(1 if projection else 2 for *_, projection in found) == modules
        for group, expert, layer, _ in found:
            assert group in CONFIG.groups
            assert 0 <= expert < CONFIG.num_experts
            assert layer in adapter.layers


def test_random_removals_are_seeded_and_spread_over_everything():
    _, adapter = with_experts()
    many = random_removals(adapter, "expert", count=600, seed=3)
    assert many == random_removals(adapter, "expert", count=600, seed=3)
    assert many[:8] != random_removals(adapter, "expert", seed=4)
    seen = Counter(piece for spec, _ in many for piece in pieces_of(spec))
    cells = 2 * 3 * 3
    assert len(seen) == cells
    assert max(seen.values()) < 2 * 1200 / cells  # 67 each on average; twice that would be no even draw
    assert all(AblationSpec.parse(str(spec)) == spec for spec, _ in many[:20])


@pytest.mark.parametrize("by", ["layer", "projection"])
@pytest.mark.parametrize(
    "said", ["*:1", "renormalize!visual:1", "mean!visual:1", "visual:1@0", "visual:1/mlp"]
)
def test_a_sweep_within_an_expert_takes_its_name_alone(by, said):
    _, adapter = with_experts()
    assert leave_one_out(adapter, by, "visual:1")
    with pytest.raises(AblationError, match="give group and number alone, as visual:1"):
        leave_one_out(adapter, by, said)


@pytest.mark.parametrize("call", ["compare", "sweep"])
def test_the_first_answer_can_be_stopped_between_tokens(call):
    engine = tiny_engine()
    asked = replace(request(ablation="visual:0"), max_new_tokens=400)
    run = getattr(engine, call)(asked)
    first, second, third = next(run), next(run), next(run)
    assert all(isinstance(event, Progress) for event in (first, second, third))
    assert (second.done, second.what) == (0, "answering with all experts, 1 tokens")
    assert third.what.endswith("2 tokens")
    run.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "smola-generate"]
    assert engine.adapter.call.step is None
    assert isinstance(next(engine.answer(request())), Step)  # the lock is free again


def test_a_sweep_yields_after_every_batch(monkeypatch):
    """A stop waits for one batch at most: of four here, nine experts are three and eight removals two."""
    monkeypatch.setattr(effects, "TOKENS_AT_ONCE", 0)
    run = tiny_engine().sweep(request())
    whats = Counter(item.what for item in run if isinstance(item, Progress))
    assert whats["taking experts out, one at a time"] == 3
    assert whats["taking random pieces out, for comparison"] == 2
    assert torch.is_inference_mode_enabled() is False


def test_batches_of_removals_are_as_large_as_the_prompt_allows():
    backbone, adapter = with_experts()
    row = backbone.encode(request().image, "What is it?")
    short, long = (GivenAnswer(backbone, adapter, row, [5] * n) for n in (2, 400))
    assert len(row.input_ids) + 2 <= effects.TOKENS_AT_ONCE / short.at_once
    assert (short.at_once + 1) * (len(row.input_ids) + 2) > effects.TOKENS_AT_ONCE
    assert long.at_once == effects.LEAST_AT_ONCE


def test_a_changed_answer_is_the_one_its_ablation_gives():
    engine = tiny_engine(strength=1.0)
    *_, found = engine.sweep(request())
    changed = [effect for effect in found.effects if effect.answer_changed]
    assert changed
    for effect in changed:
        *_, alone = engine.answer(request(ablation=effect.spec))
        assert effect.answer == alone.text


def test_an_expert_that_serves_no_token_has_no_use():
    backbone, adapter = with_experts()
    given = GivenAnswer(backbone, adapter, backbone.encode(None, "Hello"), [5, 6])
    places = {
        (place.group, place.expert): given.use_of(place) for place in leave_one_out(adapter, "expert", None)
    }
    assert places["visual", 0] == (0.0, 0.0)
    assert min(places["text", 0]) > 0
