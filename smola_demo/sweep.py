"""A sweep: take places out one at a time, and as many random pieces, and see what each costs the answer."""

from __future__ import annotations

import math
import time
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from smola_demo.ablation import AblationError, AblationSpec, Term, resolve
from smola_demo.ablation_spec import ALL
from smola_demo.effects import GivenAnswer, Place
from smola_demo.processes import how_many, own_share, together
from smola_demo.results import Effect, Progress, RandomRemoval, Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Encoded
    from smola_demo.effects import Under
    from smola_demo.results import Answer

RANDOM_REMOVALS = 8
SEED = 0


def leave_one_out(adapter: Adapter, by: str, expert: str | None) -> list[Place]:
    """The single removals of a sweep: every expert, or one expert layer by layer or projection by projection.

    Raises AblationError for an unknown `by`, or when a sweep within one expert does not name exactly one, as
    GROUP:EXPERT and no more: the sweep itself says where and how it is taken out.
    """
    if by == "expert":
        names = [(group, e) for group in adapter.config.groups for e in range(adapter.config.num_experts)]
        return [Place(group, e, "all", AblationSpec.parse(f"{group}:{e}")) for group, e in names]
    if by not in ("layer", "projection"):
        raise AblationError(f"no sweep by '{by}': choose expert, layer or projection")
    spec = AblationSpec.parse(expert)
    experts = spec.terms[0].experts if len(spec.terms) == 1 else None
    if experts is None or len(experts) != 1:
        raise AblationError(f"a sweep by {by} looks into one expert: name it, for example visual:3")
    group, e = spec.terms[0].group, experts[0]
    if group == ALL or spec != AblationSpec((Term(group, experts),)):
        raise AblationError(
            f"a sweep by {by} looks into one expert: give group and number alone, as visual:{e}"
        )
    resolve([spec], adapter.config, adapter.sites)
    if by == "layer":
        return [Place(group, e, f"layer {n}", AblationSpec.parse(f"{group}:{e}@{n}")) for n in adapter.layers]
    return [
        Place(group, e, f"projection {name}", AblationSpec.parse(f"{group}:{e}/{name}"))
        for name in adapter.projections
    ]


def random_removals(
    adapter: Adapter, by: str, count: int = RANDOM_REMOVALS, seed: int = SEED
) -> list[tuple[AblationSpec, int]]:
    """`count` random specs and how many pieces each takes out: as many as one place of a sweep `by` has.

    Pieces are drawn without replacement over all layers, groups and experts. A piece spans a layer's
    projections; in a sweep by projection it is one projection of a layer.
    """
    rng = np.random.default_rng(seed)
    spots: list[tuple[int, str | None]] = [(layer, None) for layer in adapter.layers]
    pieces = 1 if by == "layer" else len(adapter.layers)
    if by == "projection":
        spots = [(site.layer, site.projection) for site in adapter.sites]
        pieces = max(1, round(len(spots) / len(adapter.projections)))
    groups, experts = adapter.config.groups, adapter.config.num_experts
    specs = []
    for _ in range(count):
        drawn = rng.choice(len(spots) * len(groups) * experts, pieces, replace=False)
        terms = []
        for at in sorted(drawn.tolist()):
            spot, rest = divmod(at, len(groups) * experts)
            g, e = divmod(rest, experts)
            layer, projection = spots[spot]
            terms.append(Term(groups[g], (e,), (layer,), None if projection is None else (projection,)))
        specs.append((AblationSpec(tuple(terms)), pieces))
    return specs


def sweep(
    backbone: Backbone,
    adapter: Adapter,
    row: Encoded,
    baseline: Answer,
    by: str,
    places: Sequence[Place],
    limit: int,
    read: Callable[[Sequence[int]], str],
    shared: bool = False,
) -> Iterator[Progress | Sweep]:
    """The effect of each place on a baseline answer, then of random removals: Progress, then the Sweep.

    limit  new tokens of the answers that change · read  token ids to an answer's text
    shared  whether the processes of this launch do the same sweep, a share each
    """
    start = time.perf_counter()
    chance = random_removals(adapter, by)
    total = len(places) + len(chance)
    given = GivenAnswer(backbone, adapter, row, [token.id for token in baseline.tokens])
    size = min(given.at_once, -(-len(places) // how_many())) if shared else given.at_once
    mine = own_share if shared else lambda items: dict(enumerate(items))
    batches = [places[first : first + size] for first in range(0, len(places), size)]
    effects: dict[int, list[Effect]] = {}
    done = 0
    for i, chunk in mine(batches).items():
        each = zip(chunk, given.under([place.spec for place in chunk], limit), strict=True)
        effects[i] = [
            _effect(given, place, found, None if found.same_answer else read(found.own), baseline.text)
            for place, found in each
        ]
        done += len(chunk)
        yield Progress(done, total, "taking experts out, one at a time")
    removals = [chance[first : first + size] for first in range(0, len(chance), size)]
    random: dict[int, list[RandomRemoval]] = {}
    for i, drawn in mine(removals).items():
        each = zip(drawn, given.under([spec for spec, _ in drawn]), strict=True)
        random[i] = [RandomRemoval(str(spec), pieces, sum(found.deltas)) for (spec, pieces), found in each]
        done += len(drawn)
        yield Progress(done, total, "taking random pieces out, for comparison")
    each_effect = chain.from_iterable(together(effects) if shared else effects.values())
    each_random = chain.from_iterable(together(random) if shared else random.values())
    yield Sweep(baseline, tuple(each_effect), time.perf_counter() - start, tuple(each_random), SEED)


def _effect(given: GivenAnswer, place: Place, under: Under, changed: str | None, same: str) -> Effect:
    weight, contribution = given.use_of(place)
    moved = [js for js in under.divergence if math.isfinite(js)]
    return Effect(
        group=place.group,
        expert=place.expert,
        where=place.where,
        spec=str(place.spec),
        delta_logprob=sum(under.deltas),
        js=float(np.mean(moved)) if moved else 0.0,
        weight=weight,
        contribution=contribution,
        answer_changed=changed is not None and changed != same,
        answer=same if changed is None else changed,
    )
