"""What routing would look like by chance: routers with random directions and the trained scales.

A picture of routing weights always looks like something; this is what it has to be held against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from smola_demo.adapter import Adapter

DRAWS = 400
BAND = (5, 95)  # per cent


def random_entropy(adapter: Adapter, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(G, L, 2) nats: 5th and 95th percentile of one token's routing entropy under random routers.

    The cosine of any input with a random direction in d dimensions has one distribution, so no input is
    needed: each draw gives every router of a layer a fresh one and takes the mean over its linears, of
    which several may share one.
    """
    rng = np.random.default_rng(seed)
    config, layers = adapter.config, adapter.layers
    total = np.zeros((len(config.groups), len(layers), draws))
    linears = np.zeros(len(layers))
    drawn: dict[int, np.ndarray] = {}
    for site in adapter.sites:
        router = site.linear.mixture.router
        scale = router.scale.detach().float().cpu().numpy()
        if id(router) not in drawn:
            shape = (len(scale), draws, config.num_experts * config.num_slots)
            cosine = rng.standard_normal(shape)
            cosine /= np.sqrt(cosine**2 + rng.chisquare(router.phi.shape[-1] - 1, shape))
            drawn[id(router)] = entropy(_softmax(scale[:, None, None] * cosine, config.num_experts))
        place = layers.index(site.layer)
        total[:, place] += drawn[id(router)]
        linears[place] += 1
    return np.percentile(total / linears[:, None], BAND, axis=-1).transpose(1, 2, 0)


def entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy in nats over the last axis; a weight of 0 adds nothing."""
    return -np.sum(weights * np.log(np.maximum(weights, 1e-12)), axis=-1)


def _softmax(logits: np.ndarray, experts: int) -> np.ndarray:
    """Softmax over experts and slots, summed over each expert's slots."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    weights = powers / powers.sum(-1, keepdims=True)
    return weights.reshape(*weights.shape[:-1], experts, -1).sum(-1)
