"""The part of the backbone that we train: saved, laid over the model, refused where it does not fit."""

from __future__ import annotations

import pytest
import torch
from assembled import WIDTH, load, tiny_model, use_tiny_parts
from safetensors.torch import load_file, save_file
from torch import nn

from smola_demo.backbone import connector
from smola_demo.backbone.connector import UNTRAINED, ConnectorError, read_facts, save_base


@pytest.fixture(autouse=True)
def assembled(tmp_path, monkeypatch):
    """An empty cache; the list of what was assembled."""
    return use_tiny_parts(tmp_path, monkeypatch)


@pytest.fixture
def base(tmp_path):
    """Where the trained connector is looked for."""
    return tmp_path / "base"


def trained(seed=1):
    """A tiny model whose connector and tower differ from the assembled one's."""
    return tiny_model(seed)


@torch.no_grad()
@pytest.mark.parametrize("tower", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_the_trained_connector_is_laid_over(assembled, base, tower, precision):
    before = load(precision)
    model = trained()
    save_base(model, base, {"stage": "align", "steps": 7}, tower=tower)
    after = load(precision)
    assert len(assembled) == 1
    assert (before.state, after.state) == (UNTRAINED, "")
    assert after.revision != before.revision
    for name, value in after.model.model.multi_modal_projector.named_parameters():
        stored = model.model.multi_modal_projector.get_parameter(name)
        stored = stored.to(torch.bfloat16).to(torch.float32) if stored.ndim > 1 else stored
        assert torch.equal(value, stored)
    expected = model if tower else before.model
    for name, value in after.model.model.vision_tower.named_parameters():
        torch.testing.assert_close(value, expected.model.vision_tower.get_parameter(name), rtol=2**-8, atol=0)
        assert value.dtype == torch.float32
    facts = read_facts(base)
    assert (facts["stage"], facts["steps"]) == ("align", 7)
    assert len(facts["parts"]) == 2


def test_revision_follows_the_connector_only(base):
    without = connector.revision_of(base)
    assert without == connector.revision_of(base)
    assert len(bytes.fromhex(without)) == 6
    save_base(trained(1), base, {})
    first = connector.revision_of(base)
    save_base(trained(2), base, {})
    assert len({without, first, connector.revision_of(base)}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t | {"model.language_model.norm.weight": torch.ones(WIDTH)},
            "'model.language_model.norm.weight'",
        ),
        (
            lambda t: t | {"model.multi_modal_projector.linear_1.bias": torch.ones(5)},
            r"linear_1.bias' is \(5,\)",
        ),
        (lambda t: {k: v for k, v in t.items() if "linear_2.bias" not in k}, "lacks '.*linear_2.bias'"),
    ],
    ids=["unknown", "shape", "missing"],
)
def test_a_connector_that_does_not_fit_is_refused(base, change, message):
    save_base(trained(), base, {})
    save_file(change(load_file(base / "model.safetensors")), base / "model.safetensors")
    with pytest.raises(ConnectorError, match=message):
        load("fp32")


def test_a_damaged_connector_is_one_sentence(base):
    save_base(trained(), base, {})
    (base / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ConnectorError, match="is damaged"):
        load("fp32")


@torch.no_grad()
def test_an_untrained_connector_speaks_in_the_range_of_words():
    """Features as the tower promises them come out around the mean word, as far apart as words are."""
    model = tiny_model()
    connector.start(model)
    again = tiny_model(1)
    again.load_state_dict(model.state_dict())
    connector.start(again)
    assert torch.equal(
        again.model.multi_modal_projector.linear_2.weight, model.model.multi_modal_projector.linear_2.weight
    )
    mean, deviation = model.model.vision_tower.token_statistics()
    features = mean + deviation * torch.randn(4000, 112, generator=torch.Generator().manual_seed(2))
    tokens, words = model.model.multi_modal_projector(features), model.get_input_embeddings().weight
    assert 0.7 < tokens.std(0).mean() / words.std(0).mean() < 1.3
    assert isinstance(model.model.multi_modal_projector.linear_1, nn.Linear)
    assert (tokens.mean(0) - words.mean(0)).abs().mean() < words.std(0).mean()


def test_shortened_visual_tokens_are_as_long_as_words_and_point_where_they_did():
    model = trained()
    words = model.get_input_embeddings().weight.detach()
    middle = words.mean(0)
    pictures = torch.randn(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))

    def visual():
        with torch.no_grad():
            features = model.model.vision_tower(pictures).hidden_states[-1]
            return model.model.multi_modal_projector(features) - middle

    with torch.no_grad():
        model.model.multi_modal_projector.linear_2.weight.mul_(40)
    before = visual()
    factor = connector.shorten(model, pictures)
    after = visual()
    typical = (words - middle).norm(dim=-1).mean()
    torch.testing.assert_close(after.norm(dim=-1).mean(), typical, rtol=1e-4, atol=0)
    torch.testing.assert_close(after, before * factor, rtol=1e-3, atol=1e-5)
    assert factor < 1
