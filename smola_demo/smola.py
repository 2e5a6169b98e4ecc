"""The soft mixture of low-rank experts: what routers decide, what experts compute, what the linear adds.

Axes, in every shape and einsum of this package:

    b batch · t token · d width in · o width out · g group · e expert · r rank · s slot

One wrapped linear computes (Omni-SMoLA, section 3; Soft MoE for the routing):

    y_t = W x_t + Σ_g Σ_e weight[t, g, e] · B[g, e] A[g, e] x̃

with x̃ = x_t (token routing) or the slots (prefix routing).

It is a LoRA of rank g·e·r whose hidden units are weighted in blocks of r, so all groups and experts
run as two dense products: one with every A, one with every B.

This file knows tensors and calls. It knows no transformers model, no layer name, no file and no page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from smola_demo.config import Group, SmolaConfig

PAD, TEXT, VISUAL = -1, 0, 1
NORM_EPSILON = 1e-6  # inside the square root, as in the Soft MoE authors' router


@dataclass(frozen=True)
class Removal:
    """Which experts one linear leaves out, per batch row (one call can try many ablations at once).

    keep          (b, g, e) bool, False where an expert's output is taken out
    renormalize   (b,) bool, the rest of the group is re-weighted to sum to 1
    mean          (b,) bool, a removed output is replaced by its mean over the prompt instead of by nothing
    """

    keep: Tensor
    renormalize: Tensor
    mean: Tensor


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
        return Step(self, known.to(device), is_prompt.to(device), bool(is_prompt.any()))


@dataclass(frozen=True)
class Step:
    """The facts of one forward pass: modality and is_prompt (b, t), reads_prompt if any token is prompt."""

    context: TokenContext
    modality: Tensor
    is_prompt: Tensor
    reads_prompt: bool
    _serves: dict[tuple[Group, ...], Tensor] = field(default_factory=dict["tuple[Group, ...]", Tensor])

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


@dataclass
class Call:
    """The one place where all wrapped linears of a model find the present step."""

    step: Step | None = None
    enabled: bool = True


class Routing(NamedTuple):
    """What a router decides for one pass, both float32.

    combine_weights   (b, t, g, e, s), sum to 1 over (e, s) where the group serves the token, else 0
    dispatch_weights  (b, t, g, e, s), sum to 1 over the prompt's tokens of the group; None when nothing pools
    """

    combine_weights: Tensor
    dispatch_weights: Tensor | None


class Mixture(NamedTuple):
    """What one mixture did in one pass.

    residual         (b, t, o), the sum of all experts' outputs
    routing_weights  (b, t, g, e) float32
    hidden           (b, t, g, e, r), weighted
    """

    residual: Tensor
    routing_weights: Tensor
    hidden: Tensor


class Router(nn.Module):
    """Decides how much of each expert a token gets: a softmax over scaled cosines (Soft MoE, section 2.3).

    phi    (g, e, s, d), one direction per slot; only its direction counts
    scale  (g,), learned; at 1 all logits lie in [-1, 1] and the mixture starts nearly uniform
    """

    def __init__(self, config: SmolaConfig, width: int) -> None:
        super().__init__()
        self.groups = config.groups
        self.pools = config.routing == "prefix"
        shape = (len(config.groups), config.num_experts, config.num_slots, width)
        self.phi = nn.Parameter(torch.randn(shape) / math.sqrt(width))
        self.scale = nn.Parameter(torch.full(shape[:1], float(config.router_scale)))

    def routing_logits(self, x: Tensor) -> Tensor:
        """Scaled cosine of each token with each slot's direction. x (b, t, d) → (b, t, g, e, s), float32."""
        # Both softmaxes need float32, whatever the model runs in.
        with torch.autocast(x.device.type, enabled=False):
            x, phi = x.float(), self.phi.float()
            phi = phi * _inverse_norm(phi) * self.scale.view(-1, 1, 1, 1)
            logits = F.linear(x, phi.flatten(0, 2)) * _inverse_norm(x)
        return logits.view(*x.shape[:-1], *self.phi.shape[:3])

    def forward(self, x: Tensor, step: Step) -> Routing:
        """x (b, t, d) → the weights of this step; dispatch weights only if it holds prompt tokens to pool."""
        logits = self.routing_logits(x)
        serves = step.serves(self.groups)
        combine = torch.softmax(logits.flatten(-2), dim=-1).view_as(logits) * serves[..., None, None]
        if not (self.pools and step.reads_prompt):
            return Routing(combine, None)
        pooled = (serves & step.is_prompt[..., None])[..., None, None]
        # A finite fill and a product keep a group with no token at 0, where -inf would give NaN.
        dispatch = torch.softmax(logits.masked_fill(~pooled, torch.finfo(logits.dtype).min), dim=1) * pooled
        return Routing(combine, dispatch)


def _inverse_norm(x: Tensor) -> Tensor:
    return torch.rsqrt(x.square().sum(-1, keepdim=True) + NORM_EPSILON)


class Experts(nn.Module):
    """Low-rank maps d → r → o, all groups and experts in two tensors.

    A  (g, e, r, d), random as in LoRA
    B  (o, g, e, r), zero at first, so that attached and untrained means unchanged; output-major, so that
       the fused product of all experts is a view and not a copy
    """

    def __init__(self, config: SmolaConfig, d: int, o: int) -> None:
        super().__init__()
        shape = (len(config.groups), config.num_experts, config.rank)
        self.A = nn.Parameter(torch.empty(*shape, d).uniform_(-1, 1) / math.sqrt(d))
        self.B = nn.Parameter(torch.zeros(o, *shape))

    def down(self, x: Tensor) -> Tensor:
        """Every expert's hidden values of every token: x (b, t, d) → (b, t, g, e, r)."""
        return F.linear(x, self.A.flatten(0, 2)).view(*x.shape[:-1], *self.A.shape[:3])

    def down_slots(self, slots: Tensor) -> Tensor:
        """Each expert's hidden values of its own slots: (b, g, e, s, d) → (b, g, e, s, r)."""
        return torch.einsum("bgesd,gerd->bgesr", slots, self.A.to(slots.dtype))

    def up(self, hidden: Tensor) -> Tensor:
        """Sum of all experts' outputs: weighted hidden values (b, t, g, e, r) → (b, t, o)."""
        return F.linear(hidden.flatten(-3), self.B.flatten(1))

    def gram(self) -> Tensor:
        """BᵀB per expert, (g, e, r, r) float32: all that the norm of an expert's output needs."""
        b = self.B.detach().float()
        return torch.einsum("oger,oges->gers", b, b)


class SmolaMixture(nn.Module):
    """Router and experts of one linear: hidden values by either routing, then ablation, then one product."""

    def __init__(self, config: SmolaConfig, d: int, o: int, router: Router | None = None) -> None:
        super().__init__()
        self.router = router if router is not None else Router(config, d)
        self.experts = Experts(config, d, o)

    def forward(self, x: Tensor, step: Step) -> Mixture:
        """x (b, t, d) → Mixture. Raises RuntimeError when prefix routing is to decode with no prompt read."""
        routing = self.router(x, step)
        weights = routing.combine_weights
        removal = step.context.removals.get(self)
        if removal is not None:
            weights = _remove(weights, removal)
        hidden = self._hidden(x.to(self.experts.A.dtype), weights, routing, step)
        if removal is not None and bool(removal.mean.any()):
            full = self._hidden(x.to(self.experts.A.dtype), routing.combine_weights, routing, step)
            hidden = self._replace_by_mean(hidden, full, removal, step)
        return Mixture(self.experts.up(hidden), weights.sum(-1), hidden)

    def _hidden(self, x: Tensor, weights: Tensor, routing: Routing, step: Step) -> Tensor:
        """Weighted hidden values (b, t, g, e, r), of the tokens themselves or of the slots they read."""
        if not self.router.pools:
            hidden = self.experts.down(x)
            return hidden * weights.to(hidden.dtype)
        slots = step.context.slots
        if routing.dispatch_weights is not None:
            pooled = torch.einsum("btges,btd->bgesd", routing.dispatch_weights.to(x.dtype), x)
            slots[self] = self.experts.down_slots(pooled)
        elif self not in slots:
            raise RuntimeError(
                "prefix routing has read no prompt in this call: run the prompt before its answer"
            )
        return torch.einsum("btges,bgesr->btger", weights.to(slots[self].dtype), slots[self])

    def _replace_by_mean(self, hidden: Tensor, full: Tensor, removal: Removal, step: Step) -> Tensor:
        """Put each removed expert's mean over the prompt tokens it serves in the place of its own output."""
        serves = step.serves(self.router.groups)
        if step.reads_prompt:
            pooled = (serves & step.is_prompt[..., None]).to(full.dtype)
            total = torch.einsum("btger,btg->bger", full, pooled)
            step.context.means[self] = total / pooled.sum(1).clamp(min=1)[..., None, None]
        mean = step.context.means[self][:, None] * serves[..., None, None]
        replaced = (~removal.keep & removal.mean[:, None, None])[:, None, :, :, None]
        return torch.where(replaced, mean.to(hidden.dtype), hidden)


def _remove(weights: Tensor, removal: Removal) -> Tensor:
    """Zero the removed experts' combine weights (b, t, g, e, s); where asked, the others sum to 1 again."""
    kept = weights * removal.keep[:, None, :, :, None]
    total = kept.sum((-2, -1), keepdim=True)
    renormalized = kept / torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(removal.renormalize.view(-1, 1, 1, 1, 1), renormalized, kept)


class SmolaLinear(nn.Module):
    """A frozen linear and the mixture beside it. The linear may be of any kind, quantized ones included."""

    def __init__(self, base_layer: nn.Module, mixture: SmolaMixture, call: Call) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.mixture = mixture
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        """x (b, t, d) or (b·t, d) → W x plus the experts' residual, shaped and typed as that linear's."""
        y = self.base_layer(x)
        if not self.call.enabled:
            return y
        step = self.call.step
        if step is None:
            raise RuntimeError("no TokenContext: call the model itself, or enter adapter.context(...) first")
        mixture = self.mixture(x.reshape(*step.modality.shape, x.shape[-1]), step)
        return y + mixture.residual.reshape(y.shape).to(y.dtype)

    def merge(self) -> None:
        """Always raises NotImplementedError: the weights depend on the token, no single matrix holds them."""
        raise NotImplementedError("a soft mixture depends on the token and cannot be merged into the linear")
