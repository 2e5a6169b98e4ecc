"""How answers are judged: one published metric per task, with a bootstrap interval.

Values are fractions 0-1; only CIDEr-D can exceed 1 (1.0 is what papers print as 100).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from smola_demo.caption_metrics import bleu4, cider_d
from smola_demo.tasks import get_task

ANLS_THRESHOLD = 0.5
RELAXED_TOLERANCE = 0.05

_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_MORE_WORDS = (
    "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_NAMED = {word: str(i) for i, word in enumerate(_NUMBER_WORDS)}
_DIGITS = _NAMED | {"none": "0"}
_COUNTS = _DIGITS | {word: str(i) for i, word in enumerate(_MORE_WORDS, start=11)} | {"no": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
# Contractions that people write without apostrophe, except where that is another word (its, were, well).
_CONTRACTED = (
    "ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't "
    "shouldn't wasn't weren't won't wouldn't could've i'm i've he's she's that's there's they'd they'll "
    "they're they've what's where's who's would've should've you'd you'll you're you've how's"
)
_CONTRACTIONS = {whole.replace("'", ""): whole for whole in _CONTRACTED.split(" ")}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")


class MetricError(ValueError):
    """Predictions and references that cannot be compared; the message says why."""


@dataclass(frozen=True)
class Scored:
    """One value per row, float64 (n,), and corpus figures worth reporting beside their mean."""

    values: np.ndarray
    extra: dict[str, float] = field(default_factory=dict)


def normalize_vqa(text: str) -> str:
    """The VQA evaluation's normal form: lower case, no articles, no punctuation, numbers in digits."""
    text = " ".join(text.split()).replace("\u2019", "'")
    has_number_comma = re.search(r"\d,\d", text) is not None
    out = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside_space or has_number_comma else " ")
    out = re.sub(r"\.(?!\d)", "", out)
    words = [_DIGITS.get(word, word) for word in out.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, references: Sequence[str]) -> float:
    """1.0 when the prediction equals a reference in normal form; an empty one equals none."""
    same = normalize_vqa(prediction) in {normalize_vqa(reference) for reference in references}
    return float(same and bool(prediction.strip()))


def parse_count(text: str) -> int | None:
    """The one whole number that a text holds, in digits or words; None when there is none or several."""
    words = re.findall(r"[a-z]+|\d+(?:\.\d+)?", text.lower().replace(",", ""))
    numbers = {_COUNTS.get(word) or word for word in words if word in _COUNTS or word[0].isdigit()}
    return int(numbers.pop()) if len(numbers) == 1 and all(number.isdigit() for number in numbers) else None


def count_accuracy(prediction: str, references: Sequence[str]) -> float:
    """1.0 when prediction and a reference name the same number, "two" and "2 dogs" both being 2."""
    guess = parse_count(prediction)
    return float(guess is not None and guess in {parse_count(reference) for reference in references})


def parse_number(text: str) -> float | None:
    """A number alone: thousands commas, a currency sign before and a percent sign after it are allowed."""
    bare = text.strip().rstrip(".").strip().removesuffix("%").strip()
    bare = re.sub(r"^([-+]?)[$£€]\s*", r"\1", bare)
    # Not "none", which a chart may have as a category.
    bare = _NAMED.get(bare.lower(), bare)
    return float(bare.replace(",", "")) if bare.strip("+-") and _NUMBER.fullmatch(bare) else None


def relaxed_accuracy(prediction: str, references: Sequence[str]) -> float:
    """ChartQA's measure: a number within 5 % of the reference, any other text equal but for case.

    Stricter than published in one thing: a reference of 1900 to 2099 may be a year, so only itself is right.
    """
    return float(any(_relaxed(prediction, reference) for reference in references))


def _relaxed(prediction: str, reference: str) -> bool:
    guess, truth = parse_number(prediction), parse_number(reference)
    if guess is not None and truth is not None and not _YEAR.fullmatch(reference.strip()):
        return abs(guess - truth) <= RELAXED_TOLERANCE * abs(truth) + 1e-9
    return _folded(prediction).rstrip(".") == _folded(reference).rstrip(".")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def anls(prediction: str, references: Sequence[str]) -> float:
    """Average normalized Levenshtein similarity of one row, case and spacing ignored; below 0.5 it is 0."""
    best = 0.0
    for reference in references:
        a, b = _folded(prediction), _folded(reference)
        distance = Levenshtein.distance(a, b) / max(len(a), len(b), 1)
        best = max(best, 1.0 - distance if distance < ANLS_THRESHOLD else 0.0)
    return best


def character_errors(prediction: str, references: Sequence[str]) -> tuple[int, int]:
    """(edits, length) against the reference with the lowest edits per character, case and spacing ignored."""
    guess = _folded(prediction)
    pairs = [(Levenshtein.distance(guess, _folded(text)), max(len(_folded(text)), 1)) for text in references]
    return min(pairs, key=lambda pair: pair[0] / pair[1])


def character_error_rate(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Edits per reference character over the corpus; 0 is perfect, more than 1 is possible."""
    pairs = [character_errors(p, r) for p, r in zip(predictions, references, strict=True)]
    return sum(edits for edits, _ in pairs) / sum(length for _, length in pairs)


def normal_form(task: str, text: str) -> str:
    """The form in which two answers of a task count as the same one. Raises TaskError for an unknown task."""
    exact = get_task(task).metric in ("vqa_accuracy", "count_accuracy", "exact")
    return normalize_vqa(text) if exact else _folded(text)


Rows = Sequence[Sequence[str]]


def _each(
    metric: Callable[[str, Sequence[str]], float],
) -> Callable[[Sequence[str], Rows], Scored]:
    return lambda predictions, references: Scored(
        np.array([metric(p, r) for p, r in zip(predictions, references, strict=True)], dtype=np.float64)
    )


def _exact_share(predictions: Sequence[str], references: Rows) -> float:
    hits = [_folded(p) in {_folded(text) for text in r} for p, r in zip(predictions, references, strict=True)]
    return sum(hits) / len(hits)


def _score_captions(predictions: Sequence[str], references: Rows) -> Scored:
    words = sum(len(p.split()) for p in predictions) / len(predictions)
    return Scored(
        cider_d(predictions, references), {"bleu4": bleu4(predictions, references), "mean_words": words}
    )


def _score_text(predictions: Sequence[str], references: Rows) -> Scored:
    extra = {
        "cer": character_error_rate(predictions, references),
        "exact": _exact_share(predictions, references),
    }
    return Scored(_each(anls)(predictions, references).values, extra)


def _score_charts(predictions: Sequence[str], references: Rows) -> Scored:
    return Scored(
        _each(relaxed_accuracy)(predictions, references).values,
        {"exact": _exact_share(predictions, references)},
    )


METRICS: dict[str, Callable[[Sequence[str], Rows], Scored]] = {
    "cider_d": _score_captions,
    "vqa_accuracy": _each(vqa_accuracy),
    "count_accuracy": _each(count_accuracy),
    "anls": _score_text,
    "relaxed_accuracy": _score_charts,
    "exact": _each(vqa_accuracy),
}


Pictures = Sequence[Hashable]


def bootstrap_ci(
    values: Sequence[float] | np.ndarray,
    seed: int = 0,
    samples: int = 1000,
    pictures: Pictures | None = None,
) -> tuple[float, float]:
    """95 % interval of the mean by resampling rows, or pictures with all their rows; the same seed gives
    the same interval. `pictures` names each row's picture: answers about one picture are right or wrong
    together, so rows drawn alone would make the interval too narrow.
    """
    return mean_ci([values], seed, samples, None if pictures is None else [pictures])


def mean_ci(
    tasks: Sequence[Sequence[float] | np.ndarray],
    seed: int = 0,
    samples: int = 1000,
    pictures: Sequence[Pictures] | None = None,
) -> tuple[float, float]:
    """95 % interval of the mean over tasks of each task's mean, resampling within tasks as `bootstrap_ci`."""
    parts = [np.asarray(values, dtype=np.float64) for values in tasks]
    if not parts or any(rows.ndim != 1 or not rows.size for rows in parts):
        raise MetricError("An interval needs at least one value.")
    rng = np.random.default_rng(seed)
    drawn = [
        _drawn_means(rng, rows, samples, None if pictures is None else pictures[i])
        for i, rows in enumerate(parts)
    ]
    low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975))
    return float(low), float(high)


def places(names: Iterable[Hashable]) -> list[int]:
    """Each name as the place of its first appearance: tells rows of one picture apart from others."""
    place: dict[Hashable, int] = {}
    return [place.setdefault(name, len(place)) for name in names]


def _drawn_means(
    rng: np.random.Generator, values: np.ndarray, samples: int, pictures: Pictures | None
) -> np.ndarray:
    """(samples,) means of `values` over as many pictures as there are, drawn with replacement."""
    of = np.array(places(range(values.size) if pictures is None else pictures))
    if of.size != values.size:
        raise MetricError(f"There are {values.size} values but {of.size} pictures.")
    sums, rows = np.bincount(of, values), np.bincount(of)
    chosen = rng.integers(0, sums.size, (samples, sums.size))
    return sums[chosen].sum(1) / rows[chosen].sum(1)


def score(
    task: str, predictions: Sequence[str], references: Rows, pictures: Pictures | None = None
) -> dict[str, Any]:
    """Judge a task's answers: {"metric", "value", "ci95": [low, high], "n", "extra"}.

    references[i] holds every accepted answer of row i, pictures[i] its picture's name. Raises TaskError for
    an unknown task and MetricError when there is nothing to judge, the numbers of rows differ, or a row has
    no reference.
    """
    scored = score_rows(task, predictions, references)
    return {
        "metric": get_task(task).metric,
        "value": float(scored.values.mean()),
        "ci95": list(bootstrap_ci(scored.values, pictures=pictures)),
        "n": len(predictions),
        "extra": {key: float(value) for key, value in scored.extra.items()},
    }


def difference(
    task: str,
    predictions: Sequence[str],
    others: Sequence[str],
    references: Rows,
    pictures: Pictures | None = None,
) -> dict[str, Any]:
    """How much better predictions are than others: {"value" of the others, "difference", "ci95" of it}.

    Both answer the same rows, so what is resampled keeps both its answers (paired bootstrap).
    Raises as `score` does.
    """
    other = score_rows(task, others, references).values
    gain = score_rows(task, predictions, references).values - other
    return {
        "value": float(other.mean()),
        "difference": float(gain.mean()),
        "ci95": list(bootstrap_ci(gain, pictures=pictures)),
    }


def score_rows(task: str, predictions: Sequence[str], references: Rows) -> Scored:
    """Judge a task's answers row by row; raises as `score` does."""
    name = get_task(task).metric
    if not predictions:
        raise MetricError(f"There is no answer to judge for the task '{task}'.")
    if len(predictions) != len(references):
        raise MetricError(f"There are {len(predictions)} answers but {len(references)} rows of references.")
    if not all(len(row) for row in references):
        raise MetricError(f"A row of the task '{task}' has no reference answer.")
    return METRICS[name](predictions, references)
