"""The first tab's left side and its live map: a picture, a task, a question; the answer as it is written."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo.plots import RunningRouting, routing_view
from smola_demo.results import Answer, Request, Step
from smola_demo.runs import run_record
from smola_demo.tasks import TASKS, check_question, get_task
from smola_demo.ui.examples import uploaded
from smola_demo.ui.shipped import NO_MIXTURE

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from PIL import Image

    from smola_demo.results import EngineInfo, Token

PLOT_SECONDS = 0.12
HINT = "The answer appears here, word by word."
CONFIDENCE = (
    "Confidence is the mean probability the model gave its own tokens, not the chance of being right."
)


def engine_facts(info: EngineInfo | None) -> list[tuple[str, str]]:
    """What is loaded, always on screen: label and value."""
    if info is None:
        return []
    return [
        ("model", info.backbone_name),
        ("precision", info.compute),
        ("device", info.device),
        ("memory at load", f"{info.memory_mb:,.0f} MB"),
        ("experts", experts_state(info)),
        ("licence", info.licence),
    ]


def experts_state(info: EngineInfo) -> str:
    """Which experts are loaded and how far they were trained."""
    if info.experts_state == "lora":
        return f"{info.experts}: a LoRA, trained for {info.experts_steps:,} steps; no mixture, no routing"
    if info.experts_state == "none" or not info.groups:
        return "none: the plain backbone answers"
    size = f"{len(info.groups)} groups × {info.num_experts}, rank {info.rank}, {info.routing} routing"
    if info.experts_state == "untrained":
        return f"UNTRAINED ({size})"
    return f"{info.experts}, trained for {info.experts_steps:,} steps ({size})"


def notice(info: EngineInfo | None) -> str:
    """The honest words under every answer."""
    if info is None:
        return CONFIDENCE
    small = (
        "This model has about 140 million parameters and is often wrong. "
        if info.backbone == "embedded"
        else ""
    )
    warning = {
        "untrained": "Its experts are untrained: nearly uniform, and taking one out changes nothing. ",
        "none": "No experts are loaded, so there is no routing to see. ",
        "lora": "A plain LoRA is loaded, so there is no routing to see. ",
    }.get(info.experts_state, "")
    return (small or "Models are often wrong. ") + warning + CONFIDENCE


def answer_value(info: EngineInfo | None, state: str = "idle", **shown: Any) -> dict[str, Any]:
    """Value of the answer view. `state` is idle, waiting, writing, done, stopped or error."""
    return {
        "state": state,
        "text": "",
        "hint": HINT,
        "engine": engine_facts(info),
        "notice": notice(info),
        **shown,
    }


def empty_map(info: EngineInfo | None) -> dict[str, Any]:
    """Value of the routing view before anything was asked."""
    groups, layers, experts = (info.groups, info.layers, info.num_experts) if info else ((), (), 0)
    value = routing_view(groups, layers, experts, {})
    if info is None:
        value["notice"] = "The map appears when the model is loaded."
    elif not groups:
        value["notice"] = NO_MIXTURE.format(what="there is no routing to see")
    else:
        value["notice"] = (
            "Ask something: the map fills while the model reads and answers. Click a cell to pick its expert."
        )
    return value


def confidence(tokens: tuple[Token, ...] | list[Token]) -> str:
    """Mean token probability as a percentage."""
    return f"{100 * float(np.mean(np.exp([t.logprob for t in tokens]))):.0f} %" if tokens else "–"


def token_list(tokens: tuple[Token, ...] | list[Token]) -> list[tuple[str, float]]:
    """(text, probability) of each token."""
    return [(t.text, round(float(np.exp(t.logprob)), 4)) for t in tokens]


def run_facts(tokens: int, seconds: float, said: str) -> list[tuple[str, str]]:
    """Figures while the answer is on its way."""
    return [("time", f"{seconds:.1f} s"), ("tokens", str(tokens)), ("confidence", said)]


def answer_facts(answer: Answer) -> list[tuple[str, str]]:
    """Figures of a finished answer."""
    timing, on_gpu = answer.timing, answer.device.startswith("cuda")
    return [
        ("time", f"{timing.prefill_s + timing.decode_s:.1f} s"),
        ("first token after", f"{timing.prefill_s:.2f} s"),
        ("speed", f"{timing.tokens_per_s:.1f} tokens/s"),
        ("tokens", str(len(answer.tokens)) + (" (cut at the limit)" if answer.stopped == "length" else "")),
        ("confidence", confidence(answer.tokens)),
        ("peak memory" if on_gpu else "memory after answer", f"{answer.memory_mb:,.0f} MB"),
    ]


def make_request(
    payload: dict[str, Any] | None, task: str, question: str | None, ablation: str = ""
) -> Request:
    """What the visitor asked, checked. Raises ImageError or TaskError with one sentence for the page."""
    get_task(task)
    asked = check_question(task, question)
    return Request(image=uploaded(payload), task=task, question=asked, ablation=ablation)


def stream_answer(
    steps: Iterator[Step | Answer],
    info: EngineInfo,
    stopped: threading.Event,
    picture: Image.Image,
    name: str = "",
    asked: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]]:
    """Steps of the engine → (answer value, routing value or None when the map stays, recorded run or None).

    `asked` says on screen what is answered, since the inputs above may change meanwhile.
    Text comes with every token, the map at most eight times a second and once more at the end, the run at the
    end only. When `stopped` is set the steps are closed and the last values say so. `name` is the picture's.
    """
    about = [("asked", asked)] if asked else []
    began = clock()
    drawn = -PLOT_SECONDS
    routing = RunningRouting(info.groups, info.layers, info.num_experts)
    tokens: list[Token] = []
    text = ""
    try:
        for item in steps:
            if isinstance(item, Answer):
                done = {
                    "text": item.text,
                    "tokens": token_list(item.tokens),
                    "run": [*about, *answer_facts(item)],
                }
                done["hint"] = "The model ended its answer at once: it said nothing."
                when = datetime.now(UTC).isoformat(timespec="seconds")
                yield (
                    answer_value(info, "done", picture=name, **done),
                    routing.view(),
                    run_record(item, info, picture, when),
                )
                return
            tokens.append(item.token)
            text = item.text
            routing.add(item.phase, item.weight, item.contribution)
            now = clock()
            state = "stopped" if stopped.is_set() else "writing"
            due = now - began - drawn >= PLOT_SECONDS or state == "stopped"
            drawn = now - began if due else drawn
            figures = run_facts(len(tokens), now - began, confidence(tokens))
            value = answer_value(info, state, text=text, tokens=token_list(tokens), run=[*about, *figures])
            if state == "stopped":
                value["message"] = f"Stopped after {len(tokens)} tokens."
            yield value, routing.view() if due else None, None
            if state == "stopped":
                return
    finally:
        close = getattr(steps, "close", None)
        if close is not None:
            close()


def suggestion_picks(task: str) -> dict[str, Any]:
    """Suggested questions of a task as the value of a picks view."""
    known = TASKS.get(task)
    wanted = known.suggestions if known and known.needs_question else ()
    return {"label": "Suggested questions", "items": [{"text": q, "title": q} for q in wanted]}
