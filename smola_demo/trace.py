"""What the routing did: recorded by `capture()` while the model runs, kept as a plain numpy record.

The record holds no tensor and no model. Rows are the prompt's tokens, then every answer token that was read
back: generating n tokens gives prompt + n - 1 rows, since the last token is never an input.
"""

from __future__ import annotations

import io
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from smola_demo.config import GROUPS
from smola_demo.context import PAD, TEXT, VISUAL

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor, nn

    from smola_demo.adapter import Adapter
    from smola_demo.smola import Mixture, SmolaLinear

PROMPT, ANSWER = 0, 1
MAX_BYTES = 10**9  # of a file's arrays
TINY = 1e-30  # keeps a quotient finite where it is not used


class TraceError(ValueError):
    """A file that is no trace; the message says what is wrong with it."""


@dataclass(frozen=True)
class RoutingTrace:
    """Routing of one call. Axes: G groups, L layers, P projections, T tokens, E experts.

    weight         (G, L, P, T, E) routing weights after ablation, 0 for tokens a group does not serve; on
                   the others they sum to 1, or to less where experts are out and the rest keep their weights
    contribution   (G, L, P, T, E) norm of weight · B A x, in the unit of the linear's own output
    alignment      (G, L, P, T, E) cosine of weight · B A x and W x, -1 to 1; 0 where either is zero
    base_norm      (L, P, T) norm of W x
    modality       (T,) 0 text, 1 visual · phase (T,) 0 prompt, 1 answer
    boxes          (V, 4) rectangle of each visual token, x0 y0 x1 y1, in fractions of the image
    """

    groups: tuple[str, ...]
    layers: tuple[int, ...]
    projections: tuple[str, ...]
    tokens: tuple[str, ...]
    modality: np.ndarray
    phase: np.ndarray
    weight: np.ndarray
    contribution: np.ndarray
    alignment: np.ndarray
    base_norm: np.ndarray
    boxes: np.ndarray

    def select(self, tokens: np.ndarray) -> RoutingTrace:
        """The same record over some of its token rows, given as indices or as a mask (T,)."""
        picked = np.arange(len(self.tokens))[tokens]
        rows: list[int] = picked.tolist()
        nth_visual = np.cumsum(self.modality == VISUAL) - 1
        return replace(
            self,
            tokens=tuple(self.tokens[i] for i in rows),
            modality=self.modality[picked],
            phase=self.phase[picked],
            weight=self.weight[..., picked, :],
            contribution=self.contribution[..., picked, :],
            alignment=self.alignment[..., picked, :],
            base_norm=self.base_norm[..., picked],
            boxes=self.boxes[nth_visual[picked][self.modality[picked] == VISUAL]],
        )

    def serves(self) -> np.ndarray:
        """(G, T) bool: the tokens each group works on."""
        kinds = {
            "visual": self.modality == VISUAL,
            "text": self.modality == TEXT,
            "multimodal": np.ones_like(self.modality, bool),
        }
        return np.stack([kinds[str(group)] for group in self.groups])

    def share(self) -> np.ndarray:
        """(G, L, P, T, E) contribution as a share of all experts' at that linear and token, or 0.

        NaN where a layer lacks a projection, as in what it is made of.
        """
        total = self.contribution.sum((0, 4), keepdims=True)
        none = np.where(np.isnan(total), total, 0) + np.zeros_like(self.contribution)
        return np.divide(self.contribution, total, out=none, where=total > 0)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """(G, L, P, T, E) → (G, L, E): mean over projections and the tokens each group serves, or 0."""
        serves = self.serves()
        wrapped = np.logical_not(np.isnan(self.base_norm).any(axis=-1))  # a layer may lack a projection
        total = np.einsum(
            "glpte,gt->gle", np.where(wrapped[..., None, None], values, 0), serves.astype(values.dtype)
        )
        return total / np.maximum(serves.sum(1), 1)[:, None, None] / np.maximum(wrapped.sum(1), 1)[:, None]

    def entropy(self) -> np.ndarray:
        """(G, L) mean entropy of the routing in nats, among the experts that are left; NaN where none is."""
        total = self.weight.sum(-1, keepdims=True)
        left = np.divide(self.weight, total, out=np.zeros_like(self.weight), where=total > 0)
        return self._where_some_are_left(-np.sum(left * np.log(np.maximum(left, 1e-12)), axis=-1))

    def uniform_entropy(self) -> np.ndarray:
        """(G, L) what `entropy` is where those that are left share evenly: log E with all of them."""
        return self._where_some_are_left(np.log(np.maximum((self.weight > 0).sum(-1), 1)))

    def _where_some_are_left(self, values: np.ndarray) -> np.ndarray:
        """(G, L, P, T) → (G, L): mean over projections and tokens where the group has experts, or NaN."""
        some = self.weight.sum(-1) > 0
        number = some.sum((2, 3))
        total = np.where(some, values, 0).sum((2, 3))
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)

    def save(self, path: str | Path) -> None:
        """Write as .npz (compressed, no pickle)."""
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        arrays["version"] = np.asarray(2)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        Path(path).write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> RoutingTrace:
        """Read an .npz written by `save`. Raises TraceError if it is none or its arrays do not fit."""
        try:
            with Path(path).open("rb") as raw:
                if (
                    zipfile.is_zipfile(raw)
                    and sum(f.file_size for f in zipfile.ZipFile(raw).filelist) > MAX_BYTES
                ):
                    raise TraceError(f"{path} is larger than {MAX_BYTES // 10**6} MB once unpacked")
                raw.seek(0)
                with np.load(raw, allow_pickle=False) as file:
                    small = {name: _numbers(file[name], np.int8) for name in ("modality", "phase")}
                    large = ("weight", "contribution", "alignment", "base_norm", "boxes")
                    trace = cls(
                        groups=tuple(str(name) for name in file["groups"]),
                        layers=tuple(int(i) for i in file["layers"]),
                        projections=tuple(str(name) for name in file["projections"]),
                        tokens=tuple(str(text) for text in file["tokens"]),
                        **small,
                        **{name: _numbers(file[name], np.float32) for name in large},
                    )
        except FileNotFoundError:
            raise TraceError(f"no trace at {path}") from None
        except TraceError:
            raise
        except Exception as error:  # noqa: BLE001  # zipfile, zlib, numpy: each has its own kinds of damage
            kind = type(error).__name__
            raise TraceError(f"{path} is not a routing trace ({kind}): record it again") from None
        if not trace._is_whole():
            raise TraceError(f"{path} is not a whole routing trace: its arrays do not fit; record it again")
        return trace

    def _is_whole(self) -> bool:
        g, n, p, t = len(self.groups), len(self.layers), len(self.projections), len(self.tokens)
        return (
            set(self.groups) <= set(GROUPS)
            and self.weight.shape == self.contribution.shape == (g, n, p, t, *self.weight.shape[4:5])
            and self.alignment.shape == self.weight.shape
            and self.weight.ndim == 5
            and self.base_norm.shape == (n, p, t)
            and self.modality.shape == self.phase.shape == (t,)
            and bool(np.isin((self.modality, self.phase), (0, 1)).all())
            and self.boxes.shape == (int((self.modality == VISUAL).sum()), 4)
        )


def _numbers(array: np.ndarray, dtype: Any) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{array.dtype} in place of numbers")
    return array.astype(dtype)


class Recorder:
    """Collects every forward pass inside one `capture()`. `passes` grows by one array set per pass.

    Each pass holds weight, contribution and alignment (b, G, L, P, t, E) and base_norm (b, L, P, t), float32,
    numpy.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        mixtures = [site.linear.mixture for site in adapter.sites]
        self._gram = torch.stack([mixture.experts.gram() for mixture in mixtures])  # one per site
        self._seen: dict[SmolaLinear, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        self._groups = slice(0)  # that the pass under way runs, the same in every mixture
        self.passes: list[tuple[np.ndarray, ...]] = []
        self.modality: list[np.ndarray] = []
        self.phase: list[np.ndarray] = []

    def on_linear(self, linear: SmolaLinear, output: Tensor, mixture: Mixture) -> None:
        """Called by each wrapped linear with its W x and what its mixture did.

        Keeps its weights, its hidden values, Bᵀ(W x) and the norm of W x: all that `on_decoder` needs, and
        small, so that no W x stays behind.
        """
        up = linear.mixture.experts.up_weights(mixture.groups).detach()
        base = output.detach().reshape(*mixture.hidden.shape[:2], -1).float()
        along = base @ up.float()
        norm: Tensor = cast("Any", torch.linalg).vector_norm(base, dim=-1)
        self._seen[linear] = (mixture.routing_weights.detach(), mixture.hidden.detach(), along, norm)
        self._groups = mixture.groups

    def _measured(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of all sites at once, in their order, since many small operations cost more than a few large.

        Weight, each expert's output norm, its cosine with W x, all (n, b, t, g, e) and 0 for groups that the
        pass left out; norm of W x (n, b, t).
        """
        seen = [self._seen[site.linear] for site in self._adapter.sites]
        weight, hidden, along, base = (torch.stack(values) for values in zip(*seen, strict=True))
        hidden, groups = hidden.float(), self._groups
        # ‖B h‖² = hᵀ BᵀB h and ⟨B h, W x⟩ = ⟨h, Bᵀ W x⟩ need no output of any expert.
        squared = (torch.einsum("nbtger,ngers->nbtges", hidden, self._gram[:, groups]) * hidden).sum(-1)
        norm = squared.clamp(min=0).sqrt()
        dot, lengths = (along.view_as(hidden) * hidden).sum(-1), norm * base[..., None, None]
        cosine = torch.where(lengths > 0, dot / lengths.clamp(min=TINY), 0).clamp(-1, 1)
        around = (0, 0, groups.start, self._gram.shape[1] - groups.stop)
        return F.pad(weight, around), F.pad(norm, around), F.pad(cosine, around), base

    def on_decoder(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        """Forward hook of the decoder: one pass is over, bring its numbers to the CPU in one go."""
        step = self._adapter.call.step
        if step is None or not self._seen:
            return
        layers, projections = self._adapter.layers, self._adapter.projections
        order = [-1] * (len(layers) * len(projections))
        for i, site in enumerate(self._adapter.sites):
            order[layers.index(site.layer) * len(projections) + projections.index(site.projection)] = i
        *each, base = self._measured()
        shape = (len(layers), len(projections))
        # (L, P, b, t, G, E) → (b, G, L, P, t, E); base (L, P, b, t) → (b, L, P, t)
        arrays = [_arrange(values, order, shape).transpose(2, 4, 0, 1, 3, 5) for values in each]
        self.passes.append((*arrays, _arrange(base, order, shape).transpose(2, 0, 1, 3)))
        self.modality.append(step.modality.cpu().numpy())
        self.phase.append(np.where(step.is_prompt.cpu().numpy(), PROMPT, ANSWER).astype(np.int8))
        self._seen.clear()

    def trace(
        self, tokens: Sequence[str], boxes: np.ndarray, row: int = 0, last: bool = False
    ) -> RoutingTrace:
        """The record of one batch row, of all passes or of the last.

        tokens names the tokens that were read, padding left out, in order; more than that are ignored.
        """
        first = len(self.passes) - 1 if last else 0
        modality = np.concatenate([m[row] for m in self.modality[first:]])
        real = modality != PAD
        joined = [
            np.concatenate([p[i][row] for p in self.passes[first:]], axis=axis)
            for i, axis in ((0, 3), (1, 3), (2, 3), (3, 2))
        ]
        return RoutingTrace(
            groups=tuple(self._adapter.config.groups),
            layers=self._adapter.layers,
            projections=self._adapter.projections,
            tokens=tuple(tokens)[: int(real.sum())],
            modality=modality[real].astype(np.int8),
            phase=np.concatenate([p[row] for p in self.phase[first:]])[real],
            weight=joined[0][..., real, :],
            contribution=joined[1][..., real, :],
            alignment=joined[2][..., real, :],
            base_norm=joined[3][..., real],
            boxes=np.asarray(boxes, np.float32),
        )


def _arrange(values: Tensor, order: list[int], shape: tuple[int, int]) -> np.ndarray:
    """Bring per-site values (n, …) onto a (layer, projection) grid; a place without experts holds NaN."""
    sites = values.float().cpu().numpy()
    grid = sites[order]
    grid[[i for i, place in enumerate(order) if place < 0]] = np.nan
    return grid.reshape(*shape, *sites.shape[1:])


@contextmanager
def capture(adapter: Adapter) -> Generator[Recorder]:
    """Record the routing of every forward pass inside the block, at a few small products; leaves nothing."""
    recorder = Recorder(adapter)
    observers = adapter.call.observers
    handle = adapter.decoder.register_forward_hook(recorder.on_decoder)
    observers.append(recorder.on_linear)
    try:
        yield recorder
    finally:
        observers.remove(recorder.on_linear)
        handle.remove()
