"""The one object the command line, the API and the page talk to: a backbone, its experts, and a lock.

Every call stands alone: nothing of one request is left for the next. Calls are iterators, so a caller sees
tokens and progress as they come, and stops the work by closing the iterator.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smola_demo.ablation import AblationSpec, resolve
from smola_demo.backbone import load_backbone
from smola_demo.backbone.quantization import pick_device
from smola_demo.chance import random_entropy
from smola_demo.effects import GivenAnswer
from smola_demo.experts import DEFAULT_EXPERTS, find_experts, load_experts
from smola_demo.generation import Generation, generate, stream
from smola_demo.memory import enough_memory, memory_mb, start_peak
from smola_demo.results import (
    Answer,
    Comparison,
    EngineInfo,
    Progress,
    Request,
    Step,
    Sweep,
    Timing,
    Token,
)
from smola_demo.sweep import RANDOM_REMOVALS, leave_one_out, sweep
from smola_demo.tasks import TASKS, check_question

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from smola_demo.adapter import Adapter
    from smola_demo.backbone.base import Backbone, Encoded


class EngineError(ValueError):
    """A request that cannot be answered, or experts that do not fit; one sentence for the user."""


class Engine:
    """Answers, compares and sweeps on one loaded model. Thread-safe: calls wait for each other.

    backbone  the frozen model · adapter  its experts, None for the bare backbone
    """

    def __init__(
        self, backbone: Backbone, adapter: Adapter | None, experts: str, facts: dict[str, Any], load_s: float
    ) -> None:
        self.backbone = backbone
        self.adapter = adapter
        self._experts = experts
        self._facts = facts
        self._load_s = load_s
        self._random_entropy = None if adapter is None else random_entropy(adapter)
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        backbone: str = "embedded",
        experts: str = "",
        precision: str = "auto",
        device: str = "auto",
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Engine:
        """Load a backbone and experts.

        experts   a name under checkpoints/, a folder, a hub id, "none", "untrained", or "" for the usual ones
        progress  called with (bytes done, bytes in all, what) while weights are fetched

        Raises BackboneError, PrecisionError, CacheError, AdapterError, ExpertsError or MemoryShortError with
        one sentence.
        """
        start = time.perf_counter()
        experts = experts or DEFAULT_EXPERTS.get(backbone, "none")
        folder = find_experts(experts)
        with enough_memory(f"load {backbone}", "close other programs or choose a smaller --precision"):
            start_peak(pick_device(device))
            model = load_backbone(backbone, precision, device, progress=progress)
            adapter, name, facts = load_experts(model, experts, folder)
        return cls(model, adapter, name, facts, time.perf_counter() - start)

    def info(self) -> EngineInfo:
        """What is loaded, and the state of its training."""
        backbone, adapter = self.backbone, self.adapter
        state = "lora" if self._facts.get("lora") else "none"
        if adapter is not None:
            state = "trained" if adapter.is_trained() else "untrained"
        return EngineInfo(
            backbone=backbone.id,
            backbone_name=backbone.name,
            licence=backbone.licence,
            experts=self._experts,
            experts_state=state,
            experts_steps=int(self._facts.get("steps", 0)),
            experts_sha256=str(self._facts.get("sha256", "")),
            routing=adapter.config.routing if adapter else "",
            groups=tuple(adapter.config.groups) if adapter else (),
            num_experts=adapter.config.num_experts if adapter else 0,
            rank=adapter.config.rank if adapter else 0,
            layers=adapter.layers if adapter else (),
            projections=adapter.projections if adapter else (),
            precision=backbone.precision,
            compute=backbone.compute,
            device=str(backbone.device),
            memory_mb=memory_mb(backbone.device),
            load_s=self._load_s,
            tasks=tuple(TASKS),
            random_entropy=self._random_entropy,
            folder=str(self._facts.get("folder", "")),
            weights=round(backbone.memory_mb * 1e6),
            fit=backbone.fit,
            experts_option=str(self._facts.get("option", "")),
        )

    def answer(self, request: Request, capture: bool = True) -> Iterator[Step | Answer]:
        """Stream one answer: a Step per token, then the Answer. Closing the iterator stops between tokens.

        Raises EngineError, TaskError, AblationError or ImageError before the model starts, and
        MemoryShortError.
        """
        row, spec = self._prepare(request)
        with self._lock, enough_memory("answer"):
            yield from self._stream(request, row, spec, capture)

    def answer_many(self, requests: Sequence[Request]) -> list[str]:
        """The answers' texts of several requests as one batch, without routing; for evaluation.

        Raises as `answer` does.
        """
        rows, specs = zip(*[self._prepare(request) for request in requests], strict=True)
        limit = max(_limit(request) for request in requests)
        with self._lock, enough_memory("answer"):
            generation = generate(self.backbone, self.adapter, rows, specs, limit)
        return [
            self._text(request, generated.ids[: _limit(request)])
            for request, generated in zip(requests, generation.rows, strict=True)
        ]

    def compare(self, request: Request) -> Iterator[Progress | Step | Comparison]:
        """Answer without and with the request's ablation, then score the baseline answer under both.

        Yields Progress, the ablated answer's Steps, and the Comparison. Raises as `answer` does, and
        EngineError when the request names no ablation.
        """
        baseline_request = replace(request, ablation="")
        row, spec = self._prepare(request)
        if not spec or self.adapter is None:
            raise EngineError(
                "name the experts to take out, for example visual:3, to compare with and without them"
            )
        with self._lock, enough_memory("answer"):
            yield Progress(0, 3, "answering with all experts")
            baseline = yield from self._baseline(baseline_request, row, 3)
            yield Progress(1, 3, f"answering without {spec}")
            ablated = yield from _answer_of(self._stream(request, row, spec, True))
            yield Progress(2, 3, "scoring the first answer under both")
            effect = GivenAnswer(self.backbone, self.adapter, row, _ids(baseline)).under([spec])[0]
        yield Progress(3, 3, "done")
        yield Comparison(
            baseline=baseline,
            ablated=ablated,
            delta_logprob=sum(effect.deltas),
            delta_logprobs=effect.deltas,
            divergence=effect.divergence,
            layers=self.adapter.layers,
            answer_changed=baseline.text != ablated.text,
        )

    def sweep(
        self, request: Request, by: str = "expert", expert: str | None = None, shared: bool = False
    ) -> Iterator[Progress | Sweep]:
        """Leave-one-out: the effect of each expert, or of one ("visual:3") by layer or by projection.

        Random removals of the same size are scored beside them. `shared`: all processes of a launch sweep
        this request together. Yields Progress, then the Sweep. Raises as `answer` does, EngineError without
        experts, AblationError for an unknown `by` or a missing expert.
        """
        request = replace(request, ablation="")
        row, _ = self._prepare(request)
        if self.adapter is None:
            raise EngineError("there are no experts to take out: load some with --experts")
        places = leave_one_out(self.adapter, by, expert)
        start, total = time.perf_counter(), len(places) + RANDOM_REMOVALS
        with self._lock, enough_memory("answer"):
            yield Progress(0, total, "answering with all experts")
            baseline = yield from self._baseline(request, row, total)
            for item in sweep(
                self.backbone,
                self.adapter,
                row,
                baseline,
                by,
                places,
                _limit(request),
                lambda ids: self._text(request, ids),
                shared,
            ):
                yield replace(item, seconds=time.perf_counter() - start) if isinstance(item, Sweep) else item

    def _baseline(self, request: Request, row: Encoded, total: int) -> Generator[Progress, None, Answer]:
        """The answer with all experts; a Progress per token, so that a caller can close the work early."""
        with closing(self._stream(request, row, AblationSpec(), record=True)) as items:
            for item in items:
                if isinstance(item, Answer):
                    return item
                yield Progress(0, total, f"answering with all experts, {item.index + 1} tokens")
        raise AssertionError("a stream that does not raise ends with its Answer")

    def _prepare(self, request: Request) -> tuple[Encoded, AblationSpec]:
        if request.task not in TASKS:
            raise EngineError(f"no task '{request.task}': there are {', '.join(TASKS)}")
        if request.max_new_tokens is not None and not 1 <= request.max_new_tokens <= 512:
            raise EngineError(f"max_new_tokens must be between 1 and 512, not {request.max_new_tokens}")
        question = check_question(request.task, request.question)
        spec = AblationSpec.parse(request.ablation)
        if spec and self.adapter is None:
            raise EngineError(f"'{spec}' takes experts out, but none are loaded: choose some with --experts")
        if spec and self.adapter is not None:
            resolve([spec], self.adapter.config, self.adapter.sites)
        # The tokenizer holds how it was last asked to split: two threads must not ask at once.
        with self._lock, enough_memory("read the picture"):
            return self.backbone.encode(request.image, self.backbone.prompt(request.task, question)), spec

    def _stream(
        self, request: Request, row: Encoded, spec: AblationSpec, record: bool
    ) -> Generator[Step | Answer]:
        """The Steps and the Answer of one request; the caller holds the lock."""
        ids: list[int] = []
        start_peak(self.backbone.device)
        with closing(stream(self.backbone, self.adapter, row, spec, _limit(request), record)) as events:
            for event in events:
                if isinstance(event, Generation):
                    yield self._answer(request, row, spec, event)
                    return
                ids.append(event.id)
                (token,) = self._tokens([event.id], [event.logprob])
                phase = "prompt" if len(ids) == 1 else "answer"
                text = self._text(request, ids)
                yield Step(len(ids) - 1, token, text, phase, event.weight, event.contribution)

    def _answer(self, request: Request, row: Encoded, spec: AblationSpec, generation: Generation) -> Answer:
        generated, backbone = generation.rows[0], self.backbone
        trace = None
        if generation.recorder is not None:
            texts = backbone.token_texts([*row.input_ids.tolist(), *generated.ids[:-1]])
            trace = generation.recorder.trace(texts, backbone.patch_boxes(row).numpy())
        read = len(generated.ids) - 1
        speed = read / generation.decode_s if read and generation.decode_s > 0 else 0.0
        return Answer(
            text=self._text(request, generated.ids),
            task=request.task,
            question=request.question,
            tokens=tuple(self._tokens(generated.ids, generated.logprobs)),
            logprob=float(sum(generated.logprobs)),
            ablation=str(spec),
            modules_touched=generation.modules_touched[0],
            backbone=backbone.id,
            experts=self._experts,
            precision=backbone.precision,
            compute=backbone.compute,
            device=str(backbone.device),
            timing=Timing(self._load_s, generation.prefill_s, generation.decode_s, speed),
            memory_mb=memory_mb(backbone.device),
            stopped=generated.stopped,
            trace=trace,
        )

    def _text(self, request: Request, ids: Sequence[int]) -> str:
        return TASKS[request.task].postprocess(self.backbone.decode(list(ids)))

    def _tokens(self, ids: Sequence[int], logprobs: Sequence[float]) -> list[Token]:
        texts = self.backbone.token_texts(list(ids))
        return [Token(text, i, logprob) for text, i, logprob in zip(texts, ids, logprobs, strict=True)]


def _limit(request: Request) -> int:
    return request.max_new_tokens or TASKS[request.task].max_new_tokens


def _ids(answer: Answer) -> tuple[int, ...]:
    return tuple(token.id for token in answer.tokens)


def _answer_of(items: Iterator[Step | Answer]) -> Generator[Step, None, Answer]:
    """Pass a stream's Steps on and return its Answer."""
    for item in items:
        if isinstance(item, Answer):
            return item
        yield item
    raise AssertionError("a stream that does not raise ends with its Answer")
