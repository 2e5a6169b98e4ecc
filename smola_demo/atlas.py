"""What each expert does over a corpus: where it is used most, on which patches and words, what it is worth.

Computed offline over our own pictures and drawings, shipped beside the experts it describes.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smola_demo import __version__
from smola_demo.context import TEXT, VISUAL
from smola_demo.effects import GivenAnswer
from smola_demo.processes import share_out
from smola_demo.results import Answer, Request
from smola_demo.sweep import leave_one_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from PIL import Image

    from smola_demo.data.row import Row
    from smola_demo.engine import Engine
    from smola_demo.trace import RoutingTrace

FORMAT, VERSION = "smola-atlas", 1
LAYERS, PATCHES, WORDS = 2, 6, 10  # shown for each expert
THUMBNAIL = 64  # pixels
AROUND = 0.75  # of a patch's side, shown beyond it on each side
CONTEXT = 2  # tokens before and after a word


@dataclass(frozen=True)
class Seen:
    """One answered row. weight and share (G, L, T, E): means over projections; delta (G, E): nats a token."""

    row: Row
    picture: Image.Image
    trace: RoutingTrace
    weight: np.ndarray
    share: np.ndarray
    delta: np.ndarray


def atlas(
    engine: Engine, rows: Sequence[Row], when: str, progress: Callable[[int], Any] | None = None
) -> dict[str, Any]:
    """The JSON object of an atlas: {"made", "groups", "layers", "experts", "uniform", "entries"}.

    Each entry is one expert: its mean weight, contribution share and effect (nats per answer token when it is
    taken out) over all rows and by task, and the layers where its weight varies most over tokens, each with
    the patches and words it weighs highest. Raises ValueError when the engine has no experts.
    """
    if engine.adapter is None:
        raise ValueError("an atlas needs experts: choose a checkpoint with --experts")
    info = engine.info()
    seen = share_out(rows, lambda row: _look(engine, row, progress))
    entries = [
        _entry(seen, g, group, e, info.layers)
        for g, group in enumerate(info.groups)
        for e in range(info.num_experts)
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "made": {
            "app": __version__,
            "when": when,
            "backbone": info.backbone,
            "experts": info.experts,
            "steps": info.experts_steps,
            "sha256": info.experts_sha256,
            "precision": info.precision,
            "rows": len(rows),
            "sources": dict(Counter(row.source for row in rows)),
            "tasks": dict(Counter(row.task for row in rows)),
        },
        "groups": list(info.groups),
        "layers": list(info.layers),
        "experts": info.num_experts,
        "uniform": 1 / info.num_experts,
        "entries": entries,
    }


def _look(engine: Engine, row: Row, progress: Callable[[int], Any] | None) -> Seen:
    """Answer a row, then score that answer with each expert out."""
    adapter, backbone = engine.adapter, engine.backbone
    assert adapter is not None  # noqa: S101  checked by the caller
    picture = row.open()
    *_, answer = engine.answer(Request(picture, row.task, row.question), capture=False)
    assert isinstance(answer, Answer)  # noqa: S101  a stream that does not raise ends with its Answer
    encoded = backbone.encode(picture, backbone.prompt(row.task, row.question))
    given = GivenAnswer(backbone, adapter, encoded, [token.id for token in answer.tokens])
    places = leave_one_out(adapter, "expert", None)
    under = [
        effect
        for first in range(0, len(places), given.at_once)
        for effect in given.under([place.spec for place in places[first : first + given.at_once]])
    ]
    delta = np.array([np.mean(effect.deltas) for effect in under])
    trace = given.trace
    if progress:
        progress(1)
    return Seen(
        row=row,
        picture=picture,
        trace=trace,
        weight=np.nanmean(trace.weight, axis=2).astype(np.float16),
        share=np.nanmean(trace.share(), axis=2).astype(np.float16),
        delta=delta.reshape(len(trace.groups), -1),
    )


def _entry(seen: Sequence[Seen], g: int, group: str, e: int, layers: Sequence[int]) -> dict[str, Any]:
    spread = _spread(seen, g, e)
    chosen = np.argsort(-spread, kind="stable")[:LAYERS]
    by_task = {
        task: [s for s in seen if s.row.task == task] for task in dict.fromkeys(s.row.task for s in seen)
    }
    return {
        "group": group,
        "expert": e,
        **_use(seen, g, e),
        "tasks": {task: _use(own, g, e) | {"n": len(own)} for task, own in by_task.items()},
        "layers": [
            {
                "layer": layers[n],
                "spread": round(float(spread[n]), 5),
                "patches": [_patch(*best) for best in _patches(seen, g, int(n), e)],
                "words": list(_words(seen, g, int(n), e)),
            }
            for n in chosen.tolist()
        ],
    }


def _use(seen: Sequence[Seen], g: int, e: int) -> dict[str, float]:
    """Means over rows, layers and the tokens the group serves."""
    weights, shares = [], []
    for s in seen:
        served = s.trace.serves()[g]
        if served.any():
            weights.append(float(s.weight[g][:, served, e].astype(np.float32).mean()))
            shares.append(float(s.share[g][:, served, e].astype(np.float32).mean()))
    effect = float(np.mean([s.delta[g, e] for s in seen]))
    known = {
        "weight": np.mean(weights) if weights else 0.0,
        "contribution": np.mean(shares) if shares else 0.0,
    }
    return {name: round(float(value), 5) for name, value in (known | {"effect": effect}).items()}


def _spread(seen: Sequence[Seen], g: int, e: int) -> np.ndarray:
    """(L,) standard deviation of the expert's weight over all tokens its group serves."""
    columns = [s.weight[g][:, s.trace.serves()[g], e].astype(np.float32) for s in seen]
    return np.concatenate(columns, axis=1).std(1)


def _patches(seen: Sequence[Seen], g: int, n: int, e: int) -> list[tuple[Seen, int, float]]:
    """(row, index of the patch, weight) of the highest weights, one patch a picture."""
    best = []
    for s in seen:
        visual = np.flatnonzero(s.trace.modality == VISUAL)
        values = s.weight[g, n, visual, e].astype(np.float32)
        if values.any():
            at = int(values.argmax())
            best.append((s, at, float(values[at])))
    return sorted(best, key=lambda found: -found[2])[:PATCHES]


def _patch(s: Seen, at: int, weight: float) -> dict[str, Any]:
    """A thumbnail of the patch with some of its surroundings; inner is the patch within it, in fractions."""
    x0, y0, x1, y1 = (float(v) for v in s.trace.boxes[at])
    wide, high = (x1 - x0) * AROUND, (y1 - y0) * AROUND
    left, top = max(0.0, x0 - wide), max(0.0, y0 - high)
    right, bottom = min(1.0, x1 + wide), min(1.0, y1 + high)
    size = s.picture.size
    crop = s.picture.convert("RGB").crop(
        (round(left * size[0]), round(top * size[1]), round(right * size[0]), round(bottom * size[1]))
    )
    buffer = io.BytesIO()
    crop.resize((THUMBNAIL, THUMBNAIL)).save(buffer, "JPEG", quality=80)
    inner = [(x0 - left), (y0 - top), (x1 - left), (y1 - top)]
    spans = [right - left, bottom - top] * 2
    return {
        "image": "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(),
        "inner": [round(v / span, 3) for v, span in zip(inner, spans, strict=True)],
        "weight": round(weight, 4),
        "row": s.row.id,
        "task": s.row.task,
    }


def _words(seen: Sequence[Seen], g: int, n: int, e: int) -> Iterator[dict[str, Any]]:
    """The text tokens of highest weight with what stands around them; the same words in place count once."""
    found: dict[tuple[str, str, str], tuple[float, str]] = {}
    for s in seen:
        for t in np.flatnonzero(s.trace.modality == TEXT).tolist():
            text = s.trace.tokens[t]
            if not any(c.isalnum() for c in text) or text.startswith("<|"):
                continue
            before = "".join(s.trace.tokens[max(0, t - CONTEXT) : t])
            after = "".join(s.trace.tokens[t + 1 : t + 1 + CONTEXT])
            weight = float(s.weight[g, n, t, e])
            if weight > found.get((before, text, after), (0.0, ""))[0]:
                found[before, text, after] = (weight, s.row.task)
    best = sorted(found.items(), key=lambda item: -item[1][0])[:WORDS]
    for (before, text, after), (weight, task) in best:
        yield {"before": before, "text": text, "after": after, "weight": round(weight, 4), "task": task}
