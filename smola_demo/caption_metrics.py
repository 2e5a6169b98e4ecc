"""CIDEr-D and BLEU-4 of captions, after their published definitions.

CIDEr-D: Vedantam, Zitnick, Parikh 2015 (n-grams to 4, clipped counts, Gaussian length penalty with sigma 6,
times 10); a value of 1.0 is what papers print as 100. Document frequencies come from the references given.
BLEU-4: Papineni and others 2002 over the whole corpus, brevity against the closest reference length.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDER = 4
SIGMA = 6.0

_CLITIC = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))\b")
_TOKEN = re.compile(r"n't|'(?:s|re|ve|ll|d|m)\b|[^\W_]+(?:[-'.,][^\W_]+)*")

NGrams = Counter[tuple[str, ...]]


def tokens(caption: str) -> list[str]:
    """Lower-case words without punctuation; clitics stand apart ("dog's" → dog, 's), hyphens do not split."""
    text = caption.lower().replace("\u2019", "'")
    return _TOKEN.findall(_CLITIC.sub(r" \1", text))


def ngrams(words: Sequence[str]) -> list[NGrams]:
    """Counts of the 1-, 2-, 3- and 4-grams."""
    return [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, ORDER + 1)]


def cider_d(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr-D of each picture, float64 (n,); the corpus value is their mean.

    With a single picture every n-gram is in every document, so all weights, and with them the score, are 0.
    """
    refs = [[ngrams(tokens(text)) for text in texts] for texts in references]
    frequency: Counter[tuple[str, ...]] = Counter()
    for texts in refs:
        frequency.update({gram for counts in texts for order in counts for gram in order})
    log_pictures = math.log(max(len(refs), 1))
    weight = {gram: log_pictures - math.log(count) for gram, count in frequency.items()}

    def vector(counts: list[NGrams]) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        """tf-idf per order, their lengths, and the number of 2-grams (the words, up to a constant)."""
        tfidf = [{gram: n * weight.get(gram, log_pictures) for gram, n in order.items()} for order in counts]
        return tfidf, [math.sqrt(sum(x * x for x in order.values())) for order in tfidf], counts[1].total()

    scores = np.zeros(len(refs))
    for i, (prediction, texts) in enumerate(zip(predictions, refs, strict=True)):
        guess, guess_norm, guess_length = vector(ngrams(tokens(prediction)))
        total = 0.0
        for ref, ref_norm, ref_length in map(vector, texts):
            penalty = math.exp(-((guess_length - ref_length) ** 2) / (2 * SIGMA**2))
            for n in range(ORDER):
                norm = guess_norm[n] * ref_norm[n]
                if norm:
                    dot = sum(
                        min(x, ref[n].get(gram, 0.0)) * ref[n].get(gram, 0.0) for gram, x in guess[n].items()
                    )
                    total += penalty * dot / norm
        scores[i] = 10.0 * total / (ORDER * len(texts))
    return scores


def bleu4(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4, 0-1, without smoothing: 0 when no 4-gram matches anywhere."""
    matched, possible = [0] * ORDER, [0] * ORDER
    length = closest = 0
    for prediction, texts in zip(predictions, references, strict=True):
        words, refs = tokens(prediction), [tokens(text) for text in texts]
        length += len(words)
        closest += min((len(ref) for ref in refs), key=lambda size: (abs(size - len(words)), size))
        ref_counts = [ngrams(ref) for ref in refs]
        for n, guess in enumerate(ngrams(words)):
            possible[n] += guess.total()
            for gram, count in guess.items():
                matched[n] += min(count, max(counts[n][gram] for counts in ref_counts))
    if not all(matched):
        return 0.0
    precision = math.exp(sum(math.log(m / p) for m, p in zip(matched, possible, strict=True)) / ORDER)
    return precision * min(1.0, math.exp(1 - closest / length))
