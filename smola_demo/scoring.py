"""Score an answer that is given (teacher forcing), and go on from there where the model would say another.

Every row may carry its own ablation. Nothing of a call stays on the model.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from smola_demo.generation import cut, enter, greedy
from smola_demo.trace import Recorder, capture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from smola_demo.ablation import AblationSpec
    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Encoded


@dataclass(frozen=True)
class Scored:
    """A given answer under one row's ablation.

    logprobs  per answer token, nats
    greedy    whether the model, decoding greedily, would have said exactly this answer
    own       what it says instead, token ids; empty where it would not, or was not asked to go on
    """

    logprobs: tuple[float, ...]
    greedy: bool
    own: tuple[int, ...] = ()


@torch.inference_mode()
def score(
    backbone: Backbone,
    adapter: Adapter | None,
    rows: Sequence[Encoded],
    specs: Sequence[AblationSpec],
    record: bool = False,
    max_new_tokens: int = 0,
) -> tuple[list[Scored], Recorder | None]:
    """Log-probs of the answers that the rows carry, in one forward pass; the recorder holds that pass alone.

    max_new_tokens  above 0: rows whose greedy answer is another say it, up to so many tokens. The prompt is
                    not read again: they go on from its keys and values, at the first token that differs.
                    All rows then carry the same prompt and answer, and differ by their specs only.

    Raises AblationError for a spec that does not fit.
    """
    batch = backbone.collate(rows, side="left")
    answers = [row.input_ids[row.answer_start :].to(backbone.device) for row in rows]
    longest = max(len(answer) for answer in answers)
    cache = backbone.rewindable_cache() if max_new_tokens else None
    with ExitStack() as stack:
        enter(stack, adapter, batch, specs)
        with capture(adapter) if record and adapter is not None else nullcontext() as recorder:
            output = backbone.model(
                **batch.inputs,
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=longest + 1,
            )
        logits = output.logits.float()
        logits[..., backbone.image_token_id] = -torch.inf  # as in `greedy`
        tables = [logits[i, -len(answer) - 1 : -1].log_softmax(-1) for i, answer in enumerate(answers)]
        chosen = [table.argmax(-1) for table in tables]
        differ = [(picks != answer).nonzero() for picks, answer in zip(chosen, answers, strict=True)]
        own = {}
        if cache is not None:
            own = _go_on(backbone, batch.inputs, cache, torch.stack(chosen), differ, max_new_tokens)
    scored = [
        Scored(tuple(table.gather(-1, answer[:, None])[:, 0].tolist()), not len(at), own.get(i, ()))
        for i, (table, answer, at) in enumerate(zip(tables, answers, differ, strict=True))
    ]
    return scored, recorder


def _go_on(
    backbone: Backbone,
    inputs: dict[str, Tensor],
    cache: Any,
    chosen: Tensor,
    differ: Sequence[Tensor],
    max_new_tokens: int,
) -> dict[int, tuple[int, ...]]:
    """Row → greedy answer of the rows that differ; all rows go on together from the first that does.

    chosen  (b, n) greedy token at each place of the given answer · differ  per row, where it is another
    """
    changed = {i: int(at[0]) for i, at in enumerate(differ) if len(at)}
    if not changed:
        return {}
    shared = min(changed.values())
    tokens, length = chosen.shape[1], inputs["input_ids"].shape[1]
    known = length - tokens + shared
    ids = torch.cat([inputs["input_ids"][:, :known], chosen[:, shared : shared + 1]], dim=1)
    ended = {i for i in changed if int(chosen[i, shared]) in backbone.stop_ids}
    if shared + 1 < max_new_tokens and len(ended) < len(changed):
        cache.crop(known - length)
        ids = backbone.model.generate(
            input_ids=ids,
            attention_mask=inputs["attention_mask"][:, : known + 1],
            past_key_values=cache,
            generation_config=greedy(backbone, max_new_tokens - shared - 1),
        )
    answers: dict[int, Any] = {i: ids[i, length - tokens :].tolist() for i in changed}
    return {i: tuple(cut(said, backbone.stop_ids)) for i, said in answers.items()}
