"""Gemma 3 alone: which tokens see which, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from family_checks import request
from tiny_vlm import tiny_vlm
from tiny_vlm_gemma3 import WINDOW

from smola_demo.backbone import BackboneError
from smola_demo.context import VISUAL


@pytest.fixture
def backbone():
    return tiny_vlm("gemma3")


def moved(backbone, inputs, at):
    """(layers, t) bool: whose states change after each layer when visual token `at` looks different."""

    def run(nudge):
        def push(module, args, features):
            features = features.clone()
            features[0, at] += nudge
            return features

        hook = backbone.model.model.multi_modal_projector.register_forward_hook(push)
        try:
            with torch.no_grad():
                out = backbone.model(**inputs, output_hidden_states=True, use_cache=False)
        finally:
            hook.remove()
        return torch.cat(out.hidden_states[1:])

    return (run(0.0) != run(1.0)).any(-1)


def test_a_picture_sees_itself_both_ways_and_nothing_before_it_sees_it(backbone):
    asked = request("gemma3")
    row = backbone.encode(asked.image, backbone.prompt("vqa", asked.question))
    inputs = backbone.collate([row]).inputs
    visual = row.modality == VISUAL
    first, last = visual.nonzero()[[0, -1], 0].tolist()
    reached = moved(backbone, inputs, -1)
    assert not reached[:, :first].any()
    assert reached[:, first : last + 1].all()
    del inputs["token_type_ids"]
    assert not moved(backbone, inputs, -1)[:, :last].any(), "it is the token types that open the block"


def test_a_sliding_layer_forgets_the_picture_and_a_full_one_does_not(backbone):
    asked = request("gemma3")
    row = backbone.encode(asked.image, backbone.prompt("vqa", asked.question))
    last = int((row.modality == VISUAL).nonzero()[-1])
    sliding, full = moved(backbone, backbone.collate([row]).inputs, -1)
    assert sliding[last : last + WINDOW].all()
    assert not sliding[last + WINDOW :].any()
    assert full[last:].all()
    assert len(row.input_ids) > last + WINDOW


def test_float16_is_refused(backbone):
    half = replace(backbone, model=SimpleNamespace(dtype=torch.float16))
    with pytest.raises(BackboneError, match="choose precision bf16 or fp32"):
        half.check()
