"""The mixture once more, as plain loops over tokens, groups, experts and slots in float64: slow but clear."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from smola_demo.smola import SmolaMixture

PAD, TEXT, VISUAL = -1, 0, 1
SERVED = {"visual": (VISUAL,), "text": (TEXT,), "multimodal": (TEXT, VISUAL)}


class Values(NamedTuple):
    """Parameters of one mixture in float64: phi (g, e, s, d), scale (g,), A (g, e, r, d), B (o, g, e, r)."""

    phi: np.ndarray
    scale: np.ndarray
    A: np.ndarray
    B: np.ndarray


class Result(NamedTuple):
    """residual (b, t, o), weights (b, t, g, e), each expert's part of the residual (b, t, g, e, o)."""

    residual: np.ndarray
    weights: np.ndarray
    parts: np.ndarray


def values_of(mixture: SmolaMixture) -> Values:
    given = (mixture.router.phi, mixture.router.scale, mixture.experts.A, mixture.experts.B)
    return Values(*(parameter.detach().double().numpy() for parameter in given))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def loop(
    x: np.ndarray,
    modality: np.ndarray,
    is_answer: np.ndarray,
    values: Values,
    groups: tuple[str, ...],
    routing: str,
    removed: frozenset[tuple[int, int]] = frozenset(),
    kind: str = "zero",
) -> Result:
    """x (b, t, d), modality and is_answer (b, t); removed holds (group index, expert index)."""
    g, e, s, _ = values.phi.shape
    b, t, _ = x.shape
    parts = np.zeros((b, t, g, e, values.B.shape[0]))
    weights = np.zeros((b, t, g, e))
    for row in range(b):
        for group, name in enumerate(groups):
            served = [i for i in range(t) if modality[row, i] in SERVED[name]]
            prompt = [i for i in served if not is_answer[row, i]]
            logits = {i: _logits(x[row, i], values, group) for i in served}
            combine = {i: softmax(logits[i].ravel()).reshape(e, s) for i in served}
            inputs = _slots(x[row], prompt, logits, e, s) if routing == "prefix" else None
            plain = np.zeros((t, e, values.B.shape[0]))  # each expert's output as if nothing were removed
            for i in served:
                for expert in range(e):
                    for slot in range(s):
                        given = x[row, i] if inputs is None else inputs[expert, slot]
                        output = values.B[:, group, expert] @ (values.A[group, expert] @ given)
                        plain[i, expert] += combine[i][expert, slot] * output
            gone = [expert for expert in range(e) if (group, expert) in removed]
            for i in served:
                share = combine[i].sum(1)
                kept = 1 - share[gone].sum()
                for expert in range(e):
                    if expert not in gone:
                        factor = 1 / kept if kind == "renormalize" and gone else 1
                        parts[row, i, group, expert] = factor * plain[i, expert]
                        weights[row, i, group, expert] = factor * share[expert]
                    elif kind == "mean" and prompt:
                        parts[row, i, group, expert] = sum(plain[j, expert] for j in prompt) / len(prompt)
    return Result(parts.sum((2, 3)), weights, parts)


def _logits(x: np.ndarray, values: Values, group: int) -> np.ndarray:
    """(e, s): scale times the cosine, both lengths with 1e-6 added to their squares."""
    e, s = values.phi.shape[1:3]
    logits = np.zeros((e, s))
    for expert in range(e):
        for slot in range(s):
            phi = values.phi[group, expert, slot]
            lengths = np.sqrt(x @ x + 1e-6) * np.sqrt(phi @ phi + 1e-6)
            logits[expert, slot] = values.scale[group] * (x @ phi) / lengths
    return logits


def _slots(x: np.ndarray, prompt: list[int], logits: dict[int, np.ndarray], e: int, s: int) -> np.ndarray:
    """(e, s, d): each slot a mean of the prompt's tokens, weighted by a softmax over them; 0 without any."""
    slots = np.zeros((e, s, x.shape[1]))
    if prompt:
        for expert in range(e):
            for slot in range(s):
                dispatch = softmax(np.array([logits[i][expert, slot] for i in prompt]))
                slots[expert, slot] = sum(w * x[i] for w, i in zip(dispatch, prompt, strict=True))
    return slots
