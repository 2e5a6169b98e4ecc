"""What taking experts out does to an answer that is already there.

The answer is scored token by token (teacher forcing) with and without the experts, on the same tokens,
so that the difference is the experts' alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smola_demo.ablation import AblationSpec, resolve
from smola_demo.divergence import divergence
from smola_demo.scoring import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Encoded
    from smola_demo.scoring import Scored
    from smola_demo.trace import RoutingTrace

TOKENS_AT_ONCE, LEAST_AT_ONCE = 1100, 4  # of one batch of ablations: more gain little and cost memory


@dataclass(frozen=True)
class Place:
    """One expert and where it is taken out: "all" its layers, one "layer 12", or one "projection q_proj"."""

    group: str
    expert: int
    where: str
    spec: AblationSpec


@dataclass(frozen=True)
class Under:
    """The given answer under one ablation.

    deltas       per answer token, log-prob without the experts minus with them (nats)
    divergence   per wrapped layer, Jensen-Shannon divergence (nats) of the remaining experts' routing, NaN
                 where no group keeps two
    same_answer  whether free, greedy decoding without the experts would say the same
    own          what it says instead, token ids, where asked for
    """

    deltas: tuple[float, ...]
    divergence: tuple[float, ...]
    same_answer: bool
    own: tuple[int, ...]


class GivenAnswer:
    """One prompt with one answer, scored once whole; every ablation is held against that."""

    def __init__(self, backbone: Backbone, adapter: Adapter, row: Encoded, answer_ids: Sequence[int]) -> None:
        self._row = row.answered(answer_ids)
        self._backbone, self._adapter = backbone, adapter
        self._full, (self.trace,) = self._score([AblationSpec()])
        self._share = self.trace.share()

    @property
    def at_once(self) -> int:
        """How many ablations should run as one batch."""
        return max(LEAST_AT_ONCE, TOKENS_AT_ONCE // len(self._row.input_ids))

    def under(self, specs: Sequence[AblationSpec], max_new_tokens: int = 0) -> list[Under]:
        """The answer under several ablations, as one batch. Raises AblationError for one that cannot be.

        Above 0 tokens, ablations that change the answer say their own, up to so many.
        """
        scored, traces = self._score(specs, max_new_tokens)
        full = self._full[0].logprobs
        return [
            Under(
                deltas=tuple(b - a for a, b in zip(full, one.logprobs, strict=True)),
                divergence=tuple(float(v) for v in divergence(self.trace, trace, kept(self._adapter, spec))),
                same_answer=one.greedy or one.logprobs == full,
                own=one.own,
            )
            for spec, one, trace in zip(specs, scored, traces, strict=True)
        ]

    def use_of(self, place: Place) -> tuple[float, float]:
        """Mean routing weight and mean share of the residual, over the prompt and answer tokens it serves."""
        g = self.trace.groups.index(place.group)
        layers, projections = slice(None), slice(None)
        kind, _, name = place.where.partition(" ")
        if kind == "layer":
            layers = slice(at := self.trace.layers.index(int(name)), at + 1)
        elif kind == "projection":
            projections = slice(at := self.trace.projections.index(name), at + 1)
        served = self.trace.serves()[g]
        if not served.any():
            return 0.0, 0.0
        values = (self.trace.weight, self._share)
        weight, share = (
            float(np.nanmean(v[g, layers, projections][..., served, place.expert])) for v in values
        )
        return weight, share

    def _score(
        self, specs: Sequence[AblationSpec], max_new_tokens: int = 0
    ) -> tuple[list[Scored], list[RoutingTrace]]:
        rows = [self._row] * len(specs)
        scored, recorder = score(self._backbone, self._adapter, rows, specs, True, max_new_tokens)
        assert recorder is not None  # noqa: S101  experts are attached and recording was asked for
        texts = self._backbone.token_texts(self._row.input_ids)
        boxes = self._backbone.patch_boxes(self._row).numpy()
        return scored, [recorder.trace(texts, boxes, row) for row in range(len(specs))]


def kept(adapter: Adapter, spec: AblationSpec) -> np.ndarray:
    """(G, L, P, E) bool: the experts a spec leaves in."""
    removals = resolve([spec], adapter.config, adapter.sites).removals
    shape = (
        len(adapter.config.groups),
        len(adapter.layers),
        len(adapter.projections),
        adapter.config.num_experts,
    )
    left = np.ones(shape, bool)
    for site in adapter.sites:
        removal = removals.get(site.linear.mixture)
        if removal is not None:
            place = adapter.layers.index(site.layer), adapter.projections.index(site.projection)
            left[:, place[0], place[1]] = removal.keep[0].cpu().numpy()
    return left
