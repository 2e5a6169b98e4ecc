"""A scored answer goes on where another would be said, as if it had been generated alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image
from tiny_experts import CONFIG, with_experts

from smola_demo.ablation import AblationSpec
from smola_demo.generation import generate
from smola_demo.scoring import score

LIMIT = 8
SPECS = [
    AblationSpec.parse(text) for text in ("", "visual:0", "mean!text:*", "renormalize!multimodal:1", "*:*")
]


def prompt_row(backbone):
    image = Image.linear_gradient("L").convert("RGB")
    return backbone.encode(image, backbone.prompt("vqa", "What is it?"))


def alone(backbone, adapter, spec, limit=LIMIT):
    (found,) = generate(backbone, adapter, [prompt_row(backbone)], [spec], limit).rows
    return found


@pytest.mark.parametrize("routing", ["token", "prefix"])
@pytest.mark.parametrize("at", [0, 3, LIMIT - 1])
def test_rows_go_on_from_the_first_token_that_differs(routing, at):
    """`at`: where the given answer leaves what the first row would say; the others differ anywhere."""
    backbone, adapter = with_experts(replace(CONFIG, routing=routing), strength=16.0)
    said = [alone(backbone, adapter, spec) for spec in SPECS]
    assert len({one.ids for one in said}) > 2, "experts that change answers"
    ids = list(said[0].ids)
    assert len(ids) == LIMIT
    ids[at] = 5 if ids[at] != 5 else 6
    scored, recorder = score(
        backbone, adapter, [prompt_row(backbone).answered(ids)] * len(SPECS), SPECS, True, LIMIT
    )
    assert [one.own for one in scored] == [one.ids for one in said]
    assert not any(one.greedy for one in scored)
    assert len(recorder.passes) == 1, "what is said after the scoring is not recorded"
    assert adapter.call.step is None


def test_the_same_answer_is_not_said_again():
    backbone, adapter = with_experts(strength=1.0)
    said = alone(backbone, adapter, AblationSpec())
    rows = [prompt_row(backbone).answered(list(said.ids))] * 2
    (same, other), _ = score(backbone, adapter, rows, [AblationSpec(), SPECS[-1]], max_new_tokens=LIMIT)
    assert (same.greedy, same.own) == (True, ())
    assert other.own == alone(backbone, adapter, SPECS[-1]).ids
    (unasked, _), _ = score(backbone, adapter, rows, [SPECS[-1], AblationSpec()])
    assert (unasked.greedy, unasked.own) == (False, ())
    assert unasked.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_an_answer_that_ends_at_once_ends_there(monkeypatch):
    """The first own token is an end token: nothing more is run."""
    backbone, adapter = with_experts(strength=1.0)
    ids = list(alone(backbone, adapter, AblationSpec()).ids)
    first, ids[0] = ids[0], 5
    monkeypatch.setattr(type(backbone), "stop_ids", (first,))
    (scored,), _ = score(
        backbone, adapter, [prompt_row(backbone).answered(ids)], [AblationSpec()], max_new_tokens=LIMIT
    )
    assert scored.own == (first,)
