"""The band of random routers: real random directions on real inputs fall into it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_experts import with_experts

from smola_demo.chance import BAND, entropy, random_entropy
from smola_demo.config import SmolaConfig


def test_entropy_of_even_and_certain_weights():
    assert entropy(np.full(4, 0.25)) == np.float64(np.log(4))
    assert entropy(np.array([1.0, 0.0, 0.0])) == 0


def test_routers_drawn_at_random_give_the_same_percentiles():
    """Cosines taken with torch between one input and fresh directions, the long way round."""
    _, adapter = with_experts(SmolaConfig(num_experts=3, rank=1, target_modules=("q_proj", "down_proj")))
    for site in adapter.sites:
        site.linear.mixture.router.scale.data.fill_(6.0)
    band = random_entropy(adapter, draws=4000)
    assert band.shape == (3, len(adapter.layers), 2)
    torch.manual_seed(1)
    layer = [site.linear.mixture.router for site in adapter.sites if site.layer == adapter.layers[0]]
    found = []
    for _ in range(3000):
        values = []
        for router in layer:
            x, phi = torch.randn(router.phi.shape[-1]), torch.randn(3, router.phi.shape[-1])
            logits = 6.0 * torch.nn.functional.cosine_similarity(phi, x[None], dim=-1)
            values.append(float(torch.distributions.Categorical(logits=logits).entropy()))
        found.append(np.mean(values))
    np.testing.assert_allclose(band[0, 0], np.percentile(found, BAND), rtol=0.04)


def test_a_small_scale_is_nearly_even_and_slots_count_for_their_expert():
    config = SmolaConfig(num_experts=3, rank=1, num_slots=2, routing="prefix", target_modules=("q_proj",))
    _, adapter = with_experts(config)
    for site in adapter.sites:
        site.linear.mixture.router.scale.data.fill_(0.01)
    np.testing.assert_allclose(random_entropy(adapter), np.log(3), atol=1e-3)


def test_linears_that_share_a_router_are_one_draw():
    """Two linears of one router vary together: their mean varies as one of them does."""
    shape = {"num_experts": 3, "rank": 1, "target_modules": ("q_proj", "v_proj"), "router_scale": 6.0}
    shared, own, one = (
        random_entropy(with_experts(SmolaConfig(**shape | change))[1], draws=4000)
        for change in ({"shared_router": True}, {}, {"target_modules": ("q_proj",)})
    )
    wide, narrow, single = (float(np.ptp(band[0, 0])) for band in (shared, own, one))
    assert wide == pytest.approx(single, rel=0.05)
    assert narrow < 0.85 * wide
