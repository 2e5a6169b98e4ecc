"""An engine without a model: the same interface, numbers derived from the input alone, as slow as wanted.

What it says is a fixed text chosen by a digest of picture, task, question and ablation. Its routing is a
softmax over pseudo-random logits that drifts from step to step, so that a live plot has something to show.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from smola_demo.results import (
    Answer,
    Comparison,
    Effect,
    EngineInfo,
    Progress,
    RandomRemoval,
    Request,
    Step,
    Sweep,
    Timing,
    Token,
)
from smola_demo.tasks import TASKS, check_question
from smola_demo.trace import RoutingTrace

SENTENCES = (
    "a brown dog runs over wet sand towards the grey sea",
    "two people sit on a bench and look at a tall tree",
    "a plate with pizza and a glass stands on a wooden table",
    "a child in a red jacket throws a ball over a green lawn",
)
SPEC = re.compile(r"(\w+|\*):([\d,-]+|\*)(?:@([\d,-]+))?(?:/([\w,]+))?")
KIND = re.compile(r"^(zero|renormalize|mean)!")


class FakeError(ValueError):
    """A request that cannot be answered, in one sentence."""


def set_event() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@dataclass
class FakeEngine:
    """token_s, prefill_s and sweep_s: seconds a token, the prompt and one removal take.

    fail: the second step breaks like a bug. closed_early: how many calls were ended before they were done.
    """

    token_s: float = 0.0
    prefill_s: float = 0.0
    sweep_s: float = 0.0
    groups: tuple[str, ...] = ("visual", "text", "multimodal")
    experts: int = 8
    layers: int = 30
    state: str = "trained"
    fail: bool = False
    running: int = 0
    most_running: int = 0
    closed_early: int = 0
    started: threading.Event = field(default_factory=threading.Event)
    idle: threading.Event = field(default_factory=set_event)

    def info(self) -> EngineInfo:
        """Plausible facts."""
        return EngineInfo(
            backbone="embedded",
            backbone_name="SmolLM2-135M + EfficientNet-Lite2",
            licence="Apache-2.0",
            experts="none" if self.state == "none" else "embedded-omni",
            experts_state=self.state,
            experts_steps=4000 if self.state in ("trained", "lora") else 0,
            experts_sha256="f00d" * 16,
            routing="token",
            groups=self.groups,
            num_experts=self.experts,
            rank=4,
            layers=tuple(range(self.layers)),
            projections=("q_proj", "v_proj", "down_proj"),
            precision="nf4",
            compute="NF4 weights, computed in fp32",
            device="cpu",
            memory_mb=612.0,
            load_s=2.5,
            tasks=tuple(TASKS),
            random_entropy=np.full((len(self.groups), self.layers, 2), np.log(max(self.experts, 1)))
            * [0.93, 0.99],
        )

    def answer(self, request: Request, capture: bool = True) -> Iterator[Step | Answer]:
        """A step per word, then the answer."""
        with self._running():
            yield from self._answer(request, capture)

    @contextmanager
    def _running(self) -> Iterator[None]:
        self.running += 1
        self.idle.clear()
        self.started.set()
        self.most_running = max(self.most_running, self.running)
        try:
            yield
        except BaseException:
            self.closed_early += 1
            raise
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()

    def _answer(self, request: Request, capture: bool) -> Iterator[Step | Answer]:
        question = check_question(request.task, request.question)
        yield from self._steps(request, question, self._touched(request.ablation), capture)

    def _steps(
        self, request: Request, question: str | None, touched: int, capture: bool
    ) -> Iterator[Step | Answer]:
        seed = self._seed(request)
        rng = np.random.default_rng(seed)
        words = SENTENCES[seed % len(SENTENCES)].split()
        limit = request.max_new_tokens or TASKS[request.task].max_new_tokens
        tokens = [
            Token((" " if i else "") + w, 100 + i, float(np.log(rng.uniform(0.2, 0.98))))
            for i, w in enumerate(words)
        ]
        tokens = tokens[:limit]
        text = ""
        for i, token in enumerate(tokens):
            time.sleep(self.token_s if i else self.prefill_s)
            if self.fail and i == 1:
                raise RuntimeError("a bug with a <secret> in it")
            text += token.text
            weight, contribution = self.routing(seed, i) if capture and self.groups else (None, None)
            yield Step(i, token, text, "answer" if i else "prompt", weight, contribution)
        info = self.info()
        decode = self.token_s * len(tokens)
        yield Answer(
            text=text,
            task=request.task,
            question=question,
            tokens=tuple(tokens),
            logprob=sum(t.logprob for t in tokens),
            ablation=request.ablation,
            modules_touched=touched,
            backbone=info.backbone,
            experts=info.experts,
            precision=info.precision,
            compute=info.compute,
            device=info.device,
            timing=Timing(info.load_s, self.prefill_s, decode, len(tokens) / decode if decode else 0.0),
            memory_mb=info.memory_mb,
            stopped="length" if len(tokens) == limit else "end",
            trace=self._trace(request, seed, tokens) if capture and self.groups else None,
        )

    def compare(self, request: Request) -> Iterator[Progress | Step | Comparison]:
        """Both answers, and differences that depend on the ablation's text only."""
        with self._running():
            yield from self._compare(request)

    def _compare(self, request: Request) -> Iterator[Progress | Step | Comparison]:
        if not request.ablation:
            raise FakeError("name the experts to take out, for example visual:3")
        self._touched(request.ablation)
        yield Progress(0, 2, "answering with all experts")
        baseline = None
        for item in self._answer(replace(request, ablation=""), capture=False):
            if isinstance(item, Answer):
                baseline = item
            else:
                yield Progress(0, 2, f"answering with all experts, {item.index + 1} tokens")
        yield Progress(1, 2, f"answering without {request.ablation}")
        ablated = baseline
        for item in self._answer(request, capture=False):
            if isinstance(item, Step):
                yield item
            else:
                ablated = item
        assert isinstance(baseline, Answer)
        assert isinstance(ablated, Answer)
        rng = np.random.default_rng(self._seed(request))
        deltas = tuple(float(d) for d in rng.normal(-0.3, 0.5, len(baseline.tokens)))
        left = not request.ablation.endswith("*:*")
        moved = tuple(float(d) if left else math.nan for d in np.abs(rng.normal(0, 0.004, self.layers)))
        changed = baseline.text != ablated.text
        yield Comparison(baseline, ablated, sum(deltas), deltas, moved, tuple(range(self.layers)), changed)

    def sweep(
        self, request: Request, by: str = "expert", expert: str | None = None
    ) -> Iterator[Progress | Sweep]:
        """One effect for every expert, or for every layer or projection of one, and eight random ones."""
        with self._running():
            yield from self._sweep(request, by, expert)

    def _sweep(self, request: Request, by: str, expert: str | None) -> Iterator[Progress | Sweep]:
        if by != "expert" and not expert:
            raise FakeError(f"a sweep by {by} looks into one expert: name it, for example visual:3")
        places = self._places(by, expert)
        total = len(places) + 8
        baseline = None
        for item in self._answer(request, capture=False):
            if isinstance(item, Answer):
                baseline = item
            else:
                yield Progress(0, total, f"answering with all experts, {item.index + 1} tokens")
        assert baseline is not None
        effects = []
        for i, (group, number, where, spec) in enumerate(places):
            time.sleep(self.sweep_s)
            yield Progress(i, total, "taking experts out, one at a time")
            rng = np.random.default_rng(self._seed(replace(request, ablation=spec)))
            delta, js, weight, share = rng.normal(-0.4, 0.8), *rng.uniform(0, (0.01, 0.2, 0.1))
            text = baseline.text + " again" * (delta < -1)
            effects.append(Effect(group, number, where, spec, delta, js, weight, share, delta < -1, text))
        rng = np.random.default_rng(self._seed(request))
        random = tuple(RandomRemoval("visual:0@1", self.layers, float(d)) for d in rng.normal(-0.1, 0.2, 8))
        yield Sweep(baseline, tuple(effects), 0.1, random, 0)

    def _places(self, by: str, expert: str | None) -> list[tuple[str, int, str, str]]:
        """(group, expert, where, spec) of each removal."""
        if by == "expert":
            return [(g, e, "all", f"{g}:{e}") for g in self.groups for e in range(self.experts)]
        group, _, number = str(expert).partition(":")
        if by == "layer":
            return [(group, int(number), f"layer {n}", f"{expert}@{n}") for n in range(self.layers)]
        names = self.info().projections
        return [(group, int(number), f"projection {name}", f"{expert}/{name}") for name in names]

    def routing(self, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(weight, contribution) of a step, (G, L, E) each; the visual group has none after the prompt."""
        shape = (len(self.groups), self.layers, self.experts)
        still, moving = np.random.default_rng(seed), np.random.default_rng([seed, step])
        logits = still.normal(0, 0.5, shape) + moving.normal(0, 0.35, shape)
        weight = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        contribution = weight * still.uniform(0.1, 2.0, shape) * (self.state == "trained")
        if step:
            for array in (weight, contribution):
                array[[g for g, name in enumerate(self.groups) if name == "visual"]] = 0
        return weight.astype(np.float32), contribution.astype(np.float32)

    def _trace(self, request: Request, seed: int, tokens: list[Token]) -> RoutingTrace:
        """As `trace`; nothing is routed when everything is taken out."""
        found = self.trace(seed, [t.text for t in tokens[:-1]])
        if not request.ablation.endswith("*:*"):
            return found
        return replace(found, weight=0 * found.weight, contribution=0 * found.contribution)

    def trace(self, seed: int, answer: list[str], grid: int = 4, words: int = 6) -> RoutingTrace:
        """A record of grid² patches, a few prompt words and the answer's words, in the axes of a real one."""
        tokens = ["<image>"] * grid**2 + [f" w{i}" for i in range(words)] + answer
        visual = np.arange(len(tokens)) < grid**2
        serves = {"visual": visual, "text": ~visual, "multimodal": visual | True}
        served = np.stack([serves[g] for g in self.groups])[:, None, None, :, None]
        rng = np.random.default_rng(seed)
        shape = (len(self.groups), self.layers, 3, len(tokens), self.experts)
        logits = rng.normal(0, 0.5, (*shape[:3], 1, self.experts)) + rng.normal(0, 0.4, shape)
        weight = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) * served
        edges = np.arange(grid + 1) / grid
        y, x = (a.ravel() for a in np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij"))
        boxes = np.stack([edges[x], edges[y], edges[x + 1], edges[y + 1]], -1)
        contribution = weight * rng.uniform(0.1, 2.0, shape) * (self.state == "trained")
        return RoutingTrace(
            groups=self.groups,
            layers=tuple(range(self.layers)),
            projections=("q_proj", "v_proj", "down_proj"),
            tokens=tuple(tokens),
            modality=visual.astype(np.int8),
            phase=np.array([0] * (grid**2 + words) + [1] * len(answer), np.int8),
            weight=weight.astype(np.float32),
            contribution=contribution.astype(np.float32),
            alignment=(rng.uniform(-1, 1, shape) * (contribution > 0)).astype(np.float32),
            base_norm=rng.uniform(5, 50, shape[1:4]).astype(np.float32),
            boxes=boxes.astype(np.float32),
        )

    def _seed(self, request: Request) -> int:
        image = request.image.convert("RGB").resize((8, 8)).tobytes()
        told = f"{request.task}|{request.question}|{request.ablation}".encode()
        return int.from_bytes(hashlib.sha256(image + told).digest()[:4], "big")

    def _touched(self, ablation: str) -> int:
        """How many modules an ablation touches. Raises FakeError when it names what is not there."""
        touched = 0
        for part in filter(None, KIND.sub("", ablation).split(";")):
            match = SPEC.fullmatch(part.strip())
            if match is None:
                raise FakeError(f"cannot read '{part}': write group:experts, for example visual:3")
            group, experts, layers, _ = match.groups()
            if group not in (*self.groups, "*"):
                raise FakeError(f"no expert group '{group}': there are {', '.join(self.groups)}")
            if experts != "*" and max(numbers(experts)) >= self.experts:
                raise FakeError(f"no expert {group}:{experts}: each group has 0 to {self.experts - 1}")
            named = numbers(layers) if layers else range(self.layers)
            if max(named) >= self.layers:
                raise FakeError(f"no experts in layer {max(named)}: wrapped layers are 0-{self.layers - 1}")
            touched += 3 * len(named)
        return touched


def numbers(text: str) -> set[int]:
    """'0,4-6' → {0, 4, 5, 6}."""
    ends = [[int(n) for n in part.split("-")] for part in text.split(",")]
    return {n for first, *last in ends for n in range(first, (last or [first])[0] + 1)}
