"""The records that leave the engine: plain, frozen, on the CPU, safe to hand to any thread or to a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from smola_demo.trace import RoutingTrace


@dataclass(frozen=True)
class Request:
    """One question to the engine, about a picture or, with None, about nothing but itself.

    `ablation` is the text form of an AblationSpec; empty means none.
    """

    image: Image.Image | None
    task: str
    question: str | None = None
    ablation: str = ""
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Token:
    """One answer token: its text, its vocabulary id and its log-probability in nats."""

    text: str
    id: int
    logprob: float


@dataclass(frozen=True)
class Step:
    """One streamed step: the newest token, the answer so far, and where the model routed while producing it.

    weight and contribution are (group, layer, expert), mean over projections and over the step's tokens of
    the group; step 0 covers the whole prompt, later steps the one token read. Empty groups are 0. None when
    nothing is captured.
    """

    index: int
    token: Token
    text: str
    phase: str
    weight: np.ndarray | None
    contribution: np.ndarray | None


@dataclass(frozen=True)
class Timing:
    """Seconds, and tokens per second while decoding."""

    load_s: float
    prefill_s: float
    decode_s: float
    tokens_per_s: float


@dataclass(frozen=True)
class Answer:
    """A finished answer. `logprob` is the sum over its tokens, the end token included, in nats."""

    text: str
    task: str
    question: str | None
    tokens: tuple[Token, ...]
    logprob: float
    ablation: str
    modules_touched: int
    backbone: str
    experts: str
    precision: str
    compute: str
    device: str
    timing: Timing
    memory_mb: float
    stopped: str  # "end" (the model ended it), "length" or "cancelled"
    trace: RoutingTrace | None = None


@dataclass(frozen=True)
class Comparison:
    """One request answered twice, without and with an ablation, the same baseline answer scored by both.

    delta_logprobs: per token of the baseline answer, ablated minus baseline, nats, both teacher-forced.
    divergence: Jensen-Shannon divergence (nats) of the remaining routing per layer, over the same tokens; NaN
    in a layer where no group keeps two experts.
    """

    baseline: Answer
    ablated: Answer
    delta_logprob: float
    delta_logprobs: tuple[float, ...]
    divergence: tuple[float, ...]
    layers: tuple[int, ...]
    answer_changed: bool


@dataclass(frozen=True)
class Effect:
    """What taking one expert (or one expert's layer or projection) out does to the baseline answer.

    js: mean over layers of the divergence of the remaining routing, 0 where none remains to be compared.
    """

    group: str
    expert: int
    where: str  # "all", "layer 12" or "projection q_proj"
    spec: str
    delta_logprob: float
    js: float
    weight: float
    contribution: float
    answer_changed: bool
    answer: str


@dataclass(frozen=True)
class RandomRemoval:
    """What taking `pieces` random pieces of experts out does; a piece is one expert in one layer.

    In a sweep by projection a piece is one expert on one projection of one layer.
    """

    spec: str
    pieces: int
    delta_logprob: float


@dataclass(frozen=True)
class Sweep:
    """Leave-one-out effects on one baseline answer, in the order of the experts.

    random: removals of as many pieces as one place of the sweep has, drawn over all experts and layers from
    `seed` and scored the same way: how far an effect of that size comes about by chance.
    """

    baseline: Answer
    effects: tuple[Effect, ...]
    seconds: float
    random: tuple[RandomRemoval, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a long call has come, for a progress bar."""

    done: int
    total: int
    what: str


@dataclass(frozen=True)
class EngineInfo:
    """What is loaded, for the page and for `info`. `experts_state` is "none", "untrained", "trained",
    or "lora": a plain LoRA without any mixture.

    random_entropy (G, L, 2): the band of one token's routing entropy under random routers, see `chance`.
    experts_sha256: of their weights' file, "" without any: what tells one training from another.
    folder: where the experts came from, "" without any; stays on this machine.
    experts_option: what --experts takes to load the same again, "" without any.
    weights: bytes of the backbone's weights. fit: the sentence that said before loading that it would fit.
    """

    backbone: str
    backbone_name: str
    licence: str
    experts: str
    experts_state: str
    experts_steps: int
    experts_sha256: str
    routing: str
    groups: tuple[str, ...]
    num_experts: int
    rank: int
    layers: tuple[int, ...]
    projections: tuple[str, ...]
    precision: str
    compute: str
    device: str
    memory_mb: float
    load_s: float
    tasks: tuple[str, ...] = field(default=())
    random_entropy: np.ndarray | None = field(default=None, compare=False, repr=False)
    folder: str = field(default="", compare=False, repr=False)
    weights: int = 0
    fit: str = ""
    experts_option: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class OfferedExperts:
    """Experts that go with a backbone. `state` is "trained", "untrained" or "none"."""

    name: str
    state: str
    steps: int = 0


@dataclass(frozen=True)
class OfferedModel:
    """A backbone as it is told before it is loaded.

    weights  bytes in the precision it would get, 0 where they cannot be told beforehand
    fits     whether there is room for it; `fit` says so in one sentence, with what would fit if not
    experts  that were made for it, those it gets by default first
    """

    id: str
    name: str
    licence: str
    parameters: int
    weights: int
    compute: str
    fits: bool
    fit: str
    experts: tuple[OfferedExperts, ...]
