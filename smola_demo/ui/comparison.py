"""Two answers to one question, without and with an ablation, and what changed between them. Values only."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

from smola_demo.plots import divergence_figure
from smola_demo.results import Comparison, Progress, Step

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

BREAK = "⏎"


def word_diff(before: str, after: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Both texts as runs of words: ("same" | "gone", words) of one, ("same" | "new", words) of the other.

    A line break is a word of its own, ⏎: answers may differ in nothing else.
    """
    a, b = (text.replace("\n", f" {BREAK} ").split() for text in (before, after))
    left: list[tuple[str, str]] = []
    right: list[tuple[str, str]] = []
    for kind, i0, i1, j0, j1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        same = kind == "equal"
        if i1 > i0:
            left.append(("same" if same else "gone", " ".join(a[i0:i1])))
        if j1 > j0:
            right.append(("same" if same else "new", " ".join(b[j0:j1])))
    return left, right


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, minus as a real minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def verdict(found: Comparison, spec: str) -> str:
    """One sentence: does the answer change, and does the untouched answer become more or less likely."""
    changed = "gives another answer" if found.answer_changed else "gives the same answer"
    if found.delta_logprob == 0:
        return f"Without {spec} the model {changed}, and the untouched answer stays exactly as likely."
    way = "less" if found.delta_logprob < 0 else "more"
    size = abs(found.delta_logprob)
    return (
        f"Without {spec} the model {changed}; the untouched answer becomes {way} likely by {size:.3f} nats."
    )


def comparison_value(found: Comparison) -> dict[str, Any]:
    """Value of the comparison view for a finished comparison."""
    spec = found.ablated.ablation
    before, after = word_diff(found.baseline.text, found.ablated.text)
    deltas = [round(d, 5) for d in found.delta_logprobs]
    texts = [token.text for token in found.baseline.tokens]
    reach = max(0.1, *(abs(d) for d in deltas)) if deltas else 0.1
    moved = [(d, layer) for d, layer in zip(found.divergence, found.layers, strict=True) if math.isfinite(d)]
    return {
        "state": "done",
        "spec": spec,
        "verdict": verdict(found, spec),
        "baseline": before or [("same", "(nothing)")],
        "ablated": after or [("same", "(nothing)")],
        "facts": [
            ("total Δ log-probability", f"{signed(found.delta_logprob)} nats"),
            ("per token", f"{signed(found.delta_logprob / max(1, len(deltas)))} nats"),
            ("modules touched", str(found.ablated.modules_touched)),
            ("answer", "changed" if found.answer_changed else "unchanged"),
        ],
        "tokens": list(zip(texts, deltas, strict=False)),
        "reach": reach,
        "strip_note": "Ablated minus untouched, nats, on the untouched answer; below 0 (−): less likely.",
        "divergence": divergence_figure(found.layers, found.divergence) if moved else None,
        "divergence_said": _divergence_said(moved),
    }


def _divergence_said(moved: list[tuple[float, int]]) -> str:
    """What the chart of (divergence, layer) shows, or why there is none."""
    if not moved:
        return "No group keeps two experts in any layer, so there is no routing left to compare."
    most, layer = max(moved)
    return f"Divergence by layer, at most {most:.5f} nats (layer {layer}); table below."


def stream_comparison(
    items: Iterator[Progress | Step | Comparison], stopped: threading.Event
) -> Iterator[dict[str, Any]]:
    """Items of the engine → values of the comparison view; closes them when `stopped` is set."""
    words = 0
    try:
        for item in items:
            if isinstance(item, Comparison):
                yield comparison_value(item)
                return
            if stopped.is_set():
                yield {"state": "stopped", "message": "Stopped."}
                return
            if isinstance(item, Progress):
                yield {"state": "running", "verdict": f"{item.what} ({item.done} of {item.total}) …"}
            else:
                words += 1
                yield {"state": "running", "verdict": f"Answering, {words} tokens …"}
    finally:
        close(items)


def close(items: Iterator[object]) -> None:
    """End an engine's work now, between two of its items."""
    ending = getattr(items, "close", None)
    if ending is not None:
        ending()
