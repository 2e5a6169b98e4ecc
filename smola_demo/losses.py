"""What a training run makes small, as modules that accelerate can wrap: batch in, scalar out."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smola_demo.context import TokenContext
from smola_demo.packing import IGNORED, PackedBatch

if TYPE_CHECKING:
    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Batch

COMMON = 0.25  # a token that more than this share of a batch's pictures hold tells them nothing apart
LENGTH_WEIGHT = 0.1
FIRST_SHARPNESS = 30.0  # at 10 the softmaxes are so flat that learning takes several times as long


class AnswerLoss(nn.Module):
    """Weighted mean cross-entropy (nats) of the answer tokens, under the backbone and its experts, if any.

    A token weighs 1/√n in an answer of n tokens, so an answer weighs √n: a plain mean over tokens gives a
    caption ten times a count's share, a mean over answers gives each of its words a tenth of a count's.
    """

    def __init__(self, backbone: Backbone, adapter: Adapter | None) -> None:
        super().__init__()
        self.model = backbone.model
        self._head = backbone.head
        text = backbone.model.config.get_text_config()
        self._adds_masks = text._attn_implementation == "eager"  # noqa: SLF001  transformers names it so
        self._adapter = adapter

    def weight(self, batch: PackedBatch | Batch) -> float:
        """What the batch counts where several make up one step: the sum of its tokens' weights."""
        return float(token_weights(batch.labels[:, 1:]).sum())

    def forward(self, batch: PackedBatch | Batch, bare: bool = False) -> Tensor:
        """Scalar; `bare` takes the experts out."""
        nats = self._nats(batch, bare)
        weights = token_weights(batch.labels[:, 1:])
        return (nats * weights).sum() / weights.sum()

    def per_row(self, batch: PackedBatch | Batch) -> Tensor:
        """(b,) mean nats of each row's answer tokens, to compare two models row by row; no gradient."""
        with torch.no_grad():
            nats = self._nats(batch, bare=False)
        return nats.sum(1) / (batch.labels[:, 1:] != IGNORED).sum(1)

    def _nats(self, batch: PackedBatch | Batch, bare: bool) -> Tensor:
        """(b, t - 1) cross-entropy of each labelled token, 0 elsewhere."""
        if self._adapter is None:
            return self._cross_entropy(batch)
        out = self._adapter.disabled() if bare else nullcontext()
        facts = TokenContext(batch.modality.cpu(), batch.is_answer.cpu())
        with self._adapter.context(facts), out:
            return self._cross_entropy(batch)

    def _cross_entropy(self, batch: PackedBatch | Batch) -> Tensor:
        inputs = batch.added() if isinstance(batch, PackedBatch) and self._adds_masks else batch.inputs
        hidden = self.model.base_model(**inputs, use_cache=False).last_hidden_state
        targets = batch.labels[:, 1:]
        scored = targets != IGNORED  # the vocabulary is wide: only answer positions are worth its product
        logits = self._head(hidden[:, :-1][scored])
        nats = F.cross_entropy(logits.float(), targets[scored], reduction="none")
        return torch.zeros_like(targets, dtype=nats.dtype).masked_scatter(scored, nats)


def token_weights(labels: Tensor) -> Tensor:
    """(b, t) labels → (b, t) float: 1/√n for a token of an answer of n tokens, 0 where none is labelled.

    Answers are the runs of labelled tokens: in a packed sequence a question stands between any two.
    """
    scored = labels != IGNORED
    starts = scored & ~F.pad(scored, (1, 0))[:, :-1]
    answer = starts.flatten().cumsum(0)  # 0 before the first answer, then 1, 2, …
    lengths = torch.bincount(answer[scored.flatten()], minlength=1 + int(starts.sum()))
    return torch.where(scored, lengths.clamp(min=1)[answer].view_as(labels).float().rsqrt(), 0.0)


class VisualWordsLoss(nn.Module):
    """Visual tokens near the embeddings of the words said about their picture; no language model runs.

    A picture holds a token of its answers about as strongly as the nearest of its visual tokens does: the
    log-sum-exp over them of sharpness · cosine, embeddings taken relative to their mean. Two softmaxes ask
    which pictures of the batch hold a token, and which tokens a picture holds; a third term keeps visual
    tokens as long as words are.
    """

    middle: Tensor
    words: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone.model
        words = backbone.model.get_input_embeddings().weight.detach().float()
        self.log_sharpness = nn.Parameter(torch.tensor(FIRST_SHARPNESS, device=words.device).log())
        self.register_buffer("middle", words.mean(0), persistent=False)
        self.register_buffer("words", F.normalize(words - words.mean(0), dim=-1), persistent=False)
        self.length = float((words - words.mean(0)).norm(dim=-1).mean())

    def weight(self, batch: PackedBatch | Batch) -> float:
        """Every batch counts alike: pictures are told apart within a batch, whatever is said of them."""
        return 1.0

    def forward(self, batch: PackedBatch) -> Tensor:
        """Scalar; of fewer than four pictures only length is learned: no token is rare enough (COMMON)."""
        features = self.model.model.vision_tower(batch.pixel_values).hidden_states[-1]
        visual = self.model.model.multi_modal_projector(features).float() - self.middle
        vocabulary, holds = _tokens_held(batch.labels)
        cosine = torch.einsum("bvd,wd->bvw", F.normalize(visual, dim=-1), self.words[vocabulary])
        strength = torch.logsumexp(self.log_sharpness.exp() * cosine, dim=1)
        length = (visual.norm(dim=-1) / self.length - 1).square().mean() * LENGTH_WEIGHT
        if not len(vocabulary):
            return length + 0.0 * self.log_sharpness  # every parameter has a part: DDP waits for each
        pictures = -(F.log_softmax(strength, 0) * holds).sum(0) / holds.sum(0)
        tokens = -(F.log_softmax(strength, 1) * holds).sum() / holds.sum()
        return pictures.mean() + tokens + length


def _tokens_held(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Answer tokens that tell pictures apart (w,), and (b, w) float: which picture's answers hold which."""
    vocabulary = labels[labels != IGNORED].unique()
    holds = (labels[:, :, None] == vocabulary).any(1)
    telling = holds.float().mean(0) <= COMMON
    return vocabulary[telling], holds[:, telling].float()
