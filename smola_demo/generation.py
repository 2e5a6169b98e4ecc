"""Let the model answer greedily, a batch of prompts at once or one prompt token by token.

Every row may carry its own ablation. Nothing of a call stays on the model.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smola_demo.ablation import AblationSpec, resolve
from smola_demo.context import TokenContext
from smola_demo.trace import Recorder, capture

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from torch import Tensor

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Batch, Encoded

    OnToken = Callable[[int, float, Recorder | None], None]


@dataclass(frozen=True)
class Generated:
    """One row's answer: token ids and log-probs (nats), the end token included if the model ended it."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: str  # "end", "length" or "cancelled"


@dataclass(frozen=True)
class Generation:
    """Answers of a batch, the recorded routing (None without experts or recording), the seconds taken."""

    rows: tuple[Generated, ...]
    recorder: Recorder | None
    modules_touched: tuple[int, ...]
    prefill_s: float
    decode_s: float


@dataclass(frozen=True)
class NewToken:
    """A token as soon as it is known; weight and contribution (G, L, E) are means over the pass behind it."""

    id: int
    logprob: float
    weight: np.ndarray | None
    contribution: np.ndarray | None


class _Listener:
    """Sees each step's scores before a token is chosen: LogitsProcessor and StoppingCriteria in one."""

    def __init__(
        self, on_token: OnToken | None, cancelled: Callable[[], bool] | None, recorder: Recorder | None
    ) -> None:
        self.logprobs: list[Tensor] = []
        self.first_at = 0.0
        self._on_token, self._cancelled, self._recorder = on_token, cancelled, recorder

    def scores(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Record the log-prob of each row's greedy choice; the scores themselves go on untouched."""
        best, chosen = torch.log_softmax(scores.float(), dim=-1).max(dim=-1)
        self.logprobs.append(best.cpu())  # waits for a GPU, so the time below is when the token was there
        if len(self.logprobs) == 1:
            self.first_at = time.perf_counter()
        if self._on_token is not None:
            self._on_token(int(chosen[0]), float(best[0]), self._recorder)
        return scores

    def stop(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """True for every row once the caller has cancelled."""
        stop = self._cancelled is not None and self._cancelled()
        return torch.full((input_ids.shape[0],), stop, device=input_ids.device, dtype=torch.bool)


@torch.inference_mode()
def generate(
    backbone: Backbone,
    adapter: Adapter | None,
    rows: Sequence[Encoded],
    specs: Sequence[AblationSpec],
    max_new_tokens: int,
    record: bool = False,
    on_token: OnToken | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Generation:
    """Greedy answers of a batch of prompts.

    on_token   called with (token id, log-prob, recorder) of the first row, as soon as each token is known
    cancelled  asked between tokens; once true, the answer ends where it is

    Raises AblationError for a spec that does not fit.
    """
    start = time.perf_counter()
    batch = backbone.collate(rows, side="left")
    with ExitStack() as stack:
        touched = enter(stack, adapter, batch, specs)
        recorder = stack.enter_context(capture(adapter)) if record and adapter is not None else None
        listener = _Listener(on_token, cancelled, recorder)
        inputs = {name: value for name, value in batch.inputs.items() if name != "position_ids"}
        length = inputs["input_ids"].shape[1]
        output = backbone.model.generate(
            **inputs,
            generation_config=greedy(backbone, max_new_tokens),
            logits_processor=[listener.scores],
            stopping_criteria=[listener.stop],
        )
    end = time.perf_counter()
    logprobs = torch.stack(listener.logprobs, dim=1)
    was_cancelled = cancelled is not None and cancelled()
    answers = [
        _answer(ids, values, backbone.stop_ids, was_cancelled)
        for ids, values in zip(output[:, length:].tolist(), logprobs.tolist(), strict=True)
    ]
    return Generation(tuple(answers), recorder, touched, listener.first_at - start, end - listener.first_at)


def enter(
    stack: ExitStack, adapter: Adapter | None, batch: Batch, specs: Sequence[AblationSpec]
) -> tuple[int, ...]:
    """Put the call's facts in place for the length of the stack; how many modules each spec touches."""
    if adapter is None:
        return (0,) * len(specs)
    resolved = resolve(specs, adapter.config, adapter.sites)
    stack.enter_context(
        adapter.context(TokenContext(batch.modality.cpu(), batch.is_answer.cpu(), resolved.removals))
    )
    return resolved.modules_touched


def greedy(backbone: Backbone, max_new_tokens: int) -> Any:
    """The generation config of every answer: the most probable token, up to an end token or so many."""
    return type(backbone.model.generation_config)(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(backbone.stop_ids),
        pad_token_id=backbone.tokenizer.pad_token_id,
        suppress_tokens=[backbone.image_token_id],  # a placeholder without a picture behind it is no answer
    )


def cut(ids: list[int], stop_ids: Sequence[int]) -> list[int]:
    """The tokens up to and with the first end token."""
    end = next((i for i, token in enumerate(ids) if token in stop_ids), len(ids))
    return ids[: end + 1]


def _answer(ids: list[int], logprobs: list[float], stop_ids: tuple[int, ...], cancelled: bool) -> Generated:
    """One row up to and with its first end token."""
    said = tuple(cut(ids, stop_ids))
    stopped = "cancelled" if cancelled else "length"
    if said[-1:] and said[-1] in stop_ids:
        stopped = "end"
    return Generated(said, tuple(logprobs[: len(said)]), stopped)


def stream(
    backbone: Backbone,
    adapter: Adapter | None,
    row: Encoded,
    spec: AblationSpec,
    max_new_tokens: int,
    record: bool,
) -> Generator[NewToken | Generation]:
    """Run `generate` on one row in a thread and hand its tokens over as they come, then the Generation.

    Closing the iterator ends the work between two tokens and waits for it, so the model is free afterwards.
    """
    events: queue.SimpleQueue[NewToken | Generation | BaseException] = queue.SimpleQueue()
    cancel = threading.Event()

    def on_token(token_id: int, logprob: float, recorder: Recorder | None) -> None:
        events.put(NewToken(token_id, logprob, *_last_pass(recorder)))

    def work() -> None:
        try:
            events.put(
                generate(backbone, adapter, [row], [spec], max_new_tokens, record, on_token, cancel.is_set)
            )
        except BaseException as error:  # noqa: BLE001  handed to the caller, who raises it in his own thread
            events.put(error)

    worker = threading.Thread(target=work, name="smola-generate", daemon=True)
    worker.start()
    try:
        while True:
            event = events.get()
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Generation):
                return
    finally:
        cancel.set()
        worker.join()


def _last_pass(recorder: Recorder | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Mean weight and contribution (G, L, E) of the newest pass, for the live picture."""
    if recorder is None or not recorder.passes:
        return None, None
    trace = recorder.trace((), np.zeros((0, 4)), last=True)
    return trace.mean(trace.weight), trace.mean(trace.contribution)
