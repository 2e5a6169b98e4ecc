"""The facts of one call that every wrapped linear must know: what each token is, and what is taken out.

Axes as in smola: b batch · t token · g group · e expert · s slot · r rank
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from smola_demo.config import Group
    from smola_demo.smola import Mixture, SmolaLinear

PAD, TEXT, VISUAL = -1, 0, 1


@dataclass(frozen=True)
class Removal:
    """Which experts one linear leaves out, per batch row (one call can try many ablations at once).

    keep          (b, g, e) bool, False where an expert's output is taken out
    renormalize   (b,) bool, the rest of the group is re-weighted to sum to 1
    mean          (b,) bool, a removed output is replaced by its mean over the prompt instead of by nothing
    any_mean      whether `mean` holds for some row, known without asking the device
    """

    keep: Tensor
    renormalize: Tensor
    mean: Tensor
    any_mean: bool


@dataclass
class TokenContext:
    """The facts of one call: made for it, handed to every wrapped linear, dropped after it.

    modality    (b, t) int8, PAD, TEXT or VISUAL by the token's origin; tokens beyond it are generated text
    is_answer   (b, t) bool, tokens the prompt does not contain: they never enter a slot
    removals    what each mixture leaves out; empty when nothing is ablated
    slots       per mixture, the experts' hidden values of the slots, (b, g, e, s, r): filled by the prompt
    means       per mixture, the mean hidden values over the prompt, (b, g, e, r): for "mean" ablations
    """

    modality: Tensor
    is_answer: Tensor
    removals: dict[nn.Module, Removal] = field(default_factory=dict[nn.Module, Removal])
    slots: dict[nn.Module, Tensor] = field(default_factory=dict[nn.Module, Tensor])
    means: dict[nn.Module, Tensor] = field(default_factory=dict[nn.Module, Tensor])

    def step(self, offset: int, length: int, device: torch.device) -> Step:
        """The facts of the `length` tokens from `offset` on: what one forward pass of the decoder sees."""
        known = self.modality[:, offset : offset + length]
        is_answer = self.is_answer[:, offset : offset + length]
        extra = length - known.shape[1]
        if extra:  # decoding has gone past the prompt
            known = F.pad(known, (0, extra), value=TEXT)
            is_answer = F.pad(is_answer, (0, extra), value=True)
        is_prompt = ~is_answer & (known != PAD)
        kinds = frozenset(kind for kind in (TEXT, VISUAL) if bool((known == kind).any()))
        return Step(self, known.to(device), is_prompt.to(device), bool(is_prompt.any()), kinds)


@dataclass(frozen=True)
class Step:
    """The facts of one forward pass: modality and is_prompt (b, t), reads_prompt if any token is prompt.

    kinds   which of TEXT and VISUAL some token is
    """

    context: TokenContext
    modality: Tensor
    is_prompt: Tensor
    reads_prompt: bool
    kinds: frozenset[int]
    _serves: dict[tuple[Group, ...], Tensor] = field(default_factory=dict["tuple[Group, ...]", Tensor])
    _at_work: dict[tuple[Group, ...], tuple[slice, Tensor | None]] = field(default_factory=dict[Any, Any])

    def serves(self, groups: tuple[Group, ...]) -> Tensor:
        """(b, t, g) bool: whether a group's experts work on a token. Padding is served by none."""
        if groups not in self._serves:
            masks = {
                "visual": self.modality == VISUAL,
                "text": self.modality == TEXT,
                "multimodal": self.modality != PAD,
            }
            self._serves[groups] = torch.stack([masks[group] for group in groups], dim=-1)
        return self._serves[groups]

    def at_work(self, groups: tuple[Group, ...]) -> tuple[slice, Tensor | None]:
        """What this pass runs: the groups from the first to the last that has a token here, all if experts
        are removed; and what to multiply their weights with, (b, t, g, 1) float32, 1 where `serves` holds and
        0 elsewhere, None where it would be 1 everywhere.
        """
        if groups not in self._at_work:
            has_token = {
                "visual": VISUAL in self.kinds,
                "text": TEXT in self.kinds,
                "multimodal": bool(self.kinds),
            }
            places = [i for i, group in enumerate(groups) if has_token[group]] or [0]
            span = slice(0, len(groups)) if self.context.removals else slice(places[0], places[-1] + 1)
            serves = self.serves(groups)[..., span]
            share = None if bool(serves.all()) else serves.float().unsqueeze(-1)
            self._at_work[groups] = span, share
        return self._at_work[groups]


@dataclass
class Call:
    """The one place where all wrapped linears of a model find the present step.

    observers   called by each of them with itself, its W x and its Mixture, after every mixture that ran
    """

    step: Step | None = None
    enabled: bool = True
    observers: list[Callable[[SmolaLinear, Tensor, Mixture], None]] = field(default_factory=list[Any])

    def checkpoint(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For torch's checkpointing: around a layer's forward pass, and around running it again for backward.

        By then another call may be under way, or none: the second one brings this call's step back.
        """
        return nullcontext(), self._again(self.step, self.enabled)

    @contextmanager
    def _again(self, step: Step | None, enabled: bool) -> Iterator[None]:
        if step is not None:  # what a prompt leaves behind would keep the whole layer's activations alive
            step = replace(step, context=replace(step.context, slots={}, means={}))
        previous = self.step, self.enabled
        self.step, self.enabled = step, enabled
        try:
            yield
        finally:
            self.step, self.enabled = previous
