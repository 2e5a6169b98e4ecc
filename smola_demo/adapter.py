"""Experts on a model: put them on, hand every forward pass its token facts, take them off.

Works on any module tree: the caller says which linears to wrap and how to tell a visual token. Saving and
loading are in adapter_files.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smola_demo.context import Call, TokenContext
from smola_demo.smola import Router, SmolaLinear, SmolaMixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from smola_demo.config import SmolaConfig

    ModalityOf = Callable[[Tensor, Tensor | None], Tensor]

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class AdapterError(ValueError):
    """Experts that cannot be attached, saved or loaded; the message says what does not fit."""


@dataclass(frozen=True)
class Site:
    """One wrapped linear and where it sits."""

    path: str
    layer: int
    projection: str
    linear: SmolaLinear


class Adapter:
    """The experts attached to one model. Make it with `attach`, end it with `detach`.

    sites    every wrapped linear, in the order of layers
    config   the mixture's shape
    call     the place where the wrapped linears find the present step; empty between calls
    """

    def __init__(
        self,
        model: nn.Module,
        config: SmolaConfig,
        sites: tuple[Site, ...],
        decoder: nn.Module,
        modality_of: ModalityOf,
    ) -> None:
        self.model = model
        self.config = config
        self.sites = sites
        self.decoder = decoder
        self.call = sites[0].linear.call
        self._modality_of = modality_of
        self._context: TokenContext | None = None
        self._explicit = False
        self._handles = [
            model.register_forward_pre_hook(self._before_model, with_kwargs=True),
            decoder.register_forward_pre_hook(self._before_decoder, with_kwargs=True),
            model.register_forward_hook(self._after_model, always_call=True),
        ]

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices of the layers that hold a wrapped linear, ascending."""
        return tuple(sorted({site.layer for site in self.sites}))

    @property
    def projections(self) -> tuple[str, ...]:
        """Leaf names of the wrapped linears, in the order of the config."""
        present = {site.projection for site in self.sites}
        return tuple(name for name in self.config.target_modules if name in present)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The adapter's own parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) of the adapter, by path in the unwrapped model; a shared router comes once."""
        seen: set[int] = set()
        for site in self.sites:
            for name, parameter in site.linear.mixture.named_parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{site.path}.{name}", parameter

    def num_parameters(self) -> int:
        """How many numbers the adapter holds."""
        return sum(parameter.numel() for parameter in self.parameters())

    def is_trained(self) -> bool:
        """False while every B is still zero: such experts change nothing, and their pictures mean nothing."""
        return any(bool(site.linear.mixture.experts.B.detach().any()) for site in self.sites)

    @contextmanager
    def context(self, context: TokenContext) -> Iterator[TokenContext]:
        """Run the forward passes inside as one call with these facts; what was there comes back after."""
        previous = (self._context, self._explicit)
        self._context, self._explicit = context, True
        try:
            yield context
        finally:
            self._context, self._explicit = previous
            self.call.step = None

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The bare backbone for the length of the block."""
        previous, self.call.enabled = self.call.enabled, False
        try:
            yield
        finally:
            self.call.enabled = previous

    def detach(self) -> None:
        """Take the experts off: every linear is what it was, no hook is left."""
        for handle in self._handles:
            handle.remove()
        for site in self.sites:
            _replace(self.model, site.path, site.linear.base_layer)
        self._context = self.call.step = None

    def _before_model(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A plain call of the model (generate, a Trainer) starts its own context with every new prompt."""
        if self._explicit or _seen(kwargs.get("past_key_values")):
            return
        self._context = None  # a call by embeddings alone must not run on the last call's facts
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            return
        labels = kwargs.get("labels")
        is_answer = torch.zeros_like(ids, dtype=torch.bool) if labels is None else labels != -100
        modality = self._modality_of(ids, kwargs.get("attention_mask"))
        self._context = TokenContext(modality.cpu(), is_answer.cpu())

    def _before_decoder(self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (kwargs.get("inputs_embeds"), kwargs.get("input_ids"), *args)
        tokens = next((value for value in given if value is not None), None)
        self.call.step = None
        if self._context is not None and tokens is not None:
            seen = _seen(kwargs.get("past_key_values"))
            self.call.step = self._context.step(seen, tokens.shape[1], tokens.device)

    def _after_model(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """What a plain call keeps for its next token must not keep this pass's activations."""
        self.call.step = None
        if self._context is not None and not self._explicit:
            for kept in (self._context.slots, self._context.means):
                kept.update({mixture: value.detach() for mixture, value in kept.items()})


def _seen(cache: Any) -> int:
    """How many tokens a transformers KV cache already holds."""
    return int(cache.get_seq_length()) if cache is not None else 0


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _widths(linear: nn.Module, path: str) -> tuple[int, int]:
    try:
        return int(linear.in_features), int(linear.out_features)  # type: ignore[arg-type]  # all kinds do
    except AttributeError:
        raise AdapterError(
            f"{path} is a {type(linear).__name__}, not a linear layer: it cannot carry experts"
        ) from None


def attach(
    model: nn.Module,
    config: SmolaConfig,
    targets: Mapping[str, tuple[int, str]],
    decoder: nn.Module,
    modality_of: ModalityOf,
    seed: int = 0,
) -> Adapter:
    """Wrap linears of `model` with untrained experts and freeze everything else.

    targets      path → (layer, projection) of the linears that may be wrapped; `config` picks among them
    decoder      the module whose forward sees each step's tokens once (hidden size and cache included)
    modality_of  (input_ids, attention_mask) → (b, t) int8 of PAD, TEXT, VISUAL; used when no context is given
    seed         of the random A and router directions

    Raises AdapterError if a name or layer does not exist, none match, or experts are attached already.
    """
    if any(isinstance(module, SmolaLinear) for module in model.modules()):
        raise AdapterError("this model already carries experts: detach them first")
    chosen = chosen_linears(config, targets)
    call, sites, routers = Call(), [], {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for path, (layer, projection) in chosen:
            base = model.get_submodule(path)
            d, o = _widths(base, path)
            key = (layer, next((names for names in SAME_INPUT if projection in names), projection))
            shared = routers.setdefault(key, Router(config, d)) if config.shared_router else None
            mixture = SmolaMixture(config, d, o, shared)
            mixture.to(next(base.parameters()).device)
            sites.append(Site(path, layer, projection, SmolaLinear(base, mixture, call)))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for site in sites:
        _replace(model, site.path, site.linear)
    return Adapter(model, config, tuple(sites), decoder, modality_of)


def chosen_linears(
    config: SmolaConfig, targets: Mapping[str, tuple[int, str]]
) -> list[tuple[str, tuple[int, str]]]:
    """The targets the config asks for, in layer order. Raises AdapterError for a name or layer not there."""
    names = {projection for _, projection in targets.values()}
    layers = {layer for layer, _ in targets.values()}
    for name in config.target_modules:
        if name not in names:
            raise AdapterError(f"the backbone has no linear '{name}'; it has {', '.join(sorted(names))}")
    for layer in config.layers:
        if layer not in layers:
            raise AdapterError(f"the backbone has no layer {layer}; it has {min(layers)} to {max(layers)}")
    order = {name: i for i, name in enumerate(config.target_modules)}
    wanted = config.layers or layers
    chosen = [item for item in targets.items() if item[1][0] in wanted and item[1][1] in order]
    if not chosen:
        raise AdapterError(
            f"layers {config.layers} hold no {', '.join(config.target_modules)}: choose others"
        )
    return sorted(chosen, key=lambda item: (item[1][0], order[item[1][1]]))
