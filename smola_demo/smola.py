"""The soft mixture of low-rank experts: what routers decide, what experts compute, what the linear adds.

Axes, in every shape and einsum of this package:

    b batch · t token · d width in · o width out · g group · e expert · r rank · s slot

One wrapped linear computes (Omni-SMoLA, section 3; Soft MoE for the routing):

    y_t = W x_t + Σ_g Σ_e weight[t, g, e] · scaling · B[g, e] A[g, e] x̃

with x̃ = x_t (token routing) or the slots (prefix routing).

It is a LoRA of rank g·e·r whose hidden units are weighted in blocks of r, so all groups and experts
run as two dense products: one with every A, one with every B.

This file knows tensors; the facts of a call are in context. It knows no transformers model, no layer name, no
file and no page.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from smola_demo.config import SmolaConfig
    from smola_demo.context import Call, Removal, Step

NORM_EPSILON = 1e-6  # inside the square root, as in the Soft MoE authors' router


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
    groups           which groups g are: a pass may leave out those that work on none of its tokens
    """

    residual: Tensor
    routing_weights: Tensor
    hidden: Tensor
    groups: slice


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

    def directions(self) -> Tensor:
        """phi at unit length times its group's scale, (g·e·s, d) float32: what x / ‖x‖ is multiplied with."""
        phi = self.phi.float()
        return (phi * _inverse_norm(phi) * self.scale.float().view(-1, 1, 1, 1)).flatten(0, 2)

    def routing_logits(self, x: Tensor) -> Tensor:
        """Scaled cosine of each token with each slot's direction. x (b, t, d) → (b, t, g, e, s), float32."""
        # Both softmaxes need float32, whatever the model runs in.
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            product = F.linear(x, self.directions())
            return (product * _inverse_norm(x)).view(*x.shape[:-1], *self.phi.shape[:3])

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
        self.scaling = config.scaling
        self._ranks = config.num_experts * config.rank  # of a group, all its experts side by side
        self.A = nn.Parameter(torch.empty(*shape, d).uniform_(-1, 1) / math.sqrt(d))
        self.B = nn.Parameter(torch.zeros(o, *shape))

    def scaled_A(self) -> Tensor:
        """A times the scaling of every expert's output, (g, e, r, d)."""
        return self.A if self.scaling == 1 else self.A * self.scaling

    def down(self, x: Tensor) -> Tensor:
        """Every expert's hidden values of every token: x (b, t, d) → (b, t, g, e, r)."""
        return F.linear(x, self.scaled_A().flatten(0, 2)).view(*x.shape[:-1], *self.A.shape[:3])

    def down_slots(self, slots: Tensor) -> Tensor:
        """Each expert's hidden values of its own slots: (b, g, e, s, d) → (b, g, e, s, r)."""
        return torch.einsum("bgesd,gerd->bgesr", slots, self.scaled_A().to(slots.dtype))

    def up(self, hidden: Tensor, groups: slice) -> Tensor:
        """Sum of the outputs of these groups' experts: weighted hidden values (b, t, g, e, r) → (b, t, o)."""
        return F.linear(hidden.flatten(-3), self.up_weights(groups))

    def up_weights(self, groups: slice) -> Tensor:
        """B of these groups as one matrix (o, g·e·r), a view."""
        size = self._ranks
        return self.B.flatten(1)[:, groups.start * size : groups.stop * size]

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
        self.pools = self.router.pools
        self._groups = config.groups
        self._shape = (len(config.groups), config.num_experts, config.rank)
        self._inward: tuple[tuple[int, ...], Tensor] | None = None

    def forward(self, x: Tensor, step: Step) -> Mixture:
        """x (b, t, d) → Mixture. Raises RuntimeError when prefix routing is to decode with no prompt read."""
        experts, groups = self.experts, slice(0, len(self._groups))
        removal = step.context.removals.get(self)
        if self._fuses(x, experts):
            groups, share = step.at_work(self._groups)
            routing, down = self._read_at_once(x.float(), groups, share)
        else:
            self._inward = None  # an optimizer may be about to write to these parameters
            routing = self.router(x, step)
            down = None if self.router.pools else experts.down(x.to(experts.A.dtype))
        weights = routing.combine_weights
        if removal is not None:
            weights = _remove(weights, removal)
        hidden = self._hidden(x, down, weights, routing, step)
        if removal is not None and removal.any_mean:
            full = self._hidden(x, down, routing.combine_weights, routing, step)
            hidden = self._replace_by_mean(hidden, full, removal, step)
        return Mixture(experts.up(hidden, groups), weights.sum(-1), hidden, groups)

    def _fuses(self, x: Tensor, experts: Experts) -> bool:
        """Whether router and experts may read the token in one float32 product: where nothing is trained."""
        quiet = not (torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type))
        return quiet and not self.pools and experts.A.dtype == torch.float32

    def _read_at_once(self, x: Tensor, groups: slice, share: Tensor | None) -> tuple[Routing, Tensor]:
        """What the router decides and the experts' hidden values, for token routing: few, small operations.

        A decode step spends more time on starting operations and fetching weights than on computing: this is
        the router's formula in few operations, over `groups` alone. x (b, t, d) float32; `share` as of
        `Step.at_work`.
        """
        b, t, _ = x.shape
        e, r = self._shape[1:]
        product = F.linear(x, self._inward_weights()[groups].flatten(0, 1)).view(b, t, -1, e + e * r)
        norm = torch.rsqrt(x.square().sum(-1) + NORM_EPSILON)
        logits = product[..., :e] * norm.view(b, t, 1, 1)
        combine = torch.softmax(logits, dim=-1)
        combine = combine if share is None else combine * share
        return Routing(combine.unsqueeze(-1), None), product[..., e:].view(b, t, -1, e, r)

    def _inward_weights(self) -> Tensor:
        """Per group directions over A, (g, e + e·r, d), made anew when a parameter has changed or moved.

        A forward pass that trains drops it: bitsandbytes' optimizers write without torch's knowing.
        """
        router, a = self.router, self.experts.A
        phi, scale = router.phi, router.scale
        made_from = (  # the one way torch has to tell that a tensor was written to
            *(phi.data_ptr(), phi._version),  # noqa: SLF001  torch names it so
            *(scale.data_ptr(), scale._version),  # noqa: SLF001  torch names it so
            *(a.data_ptr(), a._version),  # noqa: SLF001  torch names it so
        )
        if self._inward is None or self._inward[0] != made_from:
            with torch.inference_mode(False), torch.no_grad():
                directions = router.directions().view(*self._shape[:2], -1)
                weights = torch.cat([directions, self.experts.scaled_A().flatten(1, 2)], dim=1)
            self._inward = made_from, weights
        return self._inward[1]

    def _hidden(
        self, x: Tensor, down: Tensor | None, weights: Tensor, routing: Routing, step: Step
    ) -> Tensor:
        """Weighted hidden values (b, t, g, e, r), of the tokens (`down`) or of the slots they read."""
        if down is not None:
            return down * weights.to(down.dtype)
        x = x.to(self.experts.A.dtype)
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
        call = self.call
        if not call.enabled:
            return y
        step = call.step
        if step is None:
            raise RuntimeError("no TokenContext: call the model itself, or enter adapter.context(...) first")
        mixture = self.mixture(x if x.dim() == 3 else x.view(*step.modality.shape, x.shape[-1]), step)
        for observe in call.observers:
            observe(self, y, mixture)
        return y + mixture.residual.reshape(y.shape).to(y.dtype)

    def merge(self) -> None:
        """Always raises NotImplementedError: the weights depend on the token, no single matrix holds them."""
        raise NotImplementedError("a soft mixture depends on the token and cannot be merged into the linear")
