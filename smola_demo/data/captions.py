"""What captions say for certain: the things they name, how many, in which colour; a fixed vocabulary."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

AGREE = 3  # captions that must say the same
INVARIABLE = frozenset({"sheep"})  # one word for one and for several
_REACH = 5  # words before a noun in which its number and colours are looked for


class Mention(NamedTuple):
    """One naming of a thing: how many (None where it is not said), and the colours said of it, in order."""

    thing: str
    number: int | None
    several: bool
    colors: tuple[str, ...]


@dataclass(frozen=True)
class Caption:
    """One caption: its words in lower case and the things that it names."""

    words: tuple[str, ...]
    mentions: tuple[Mention, ...]

    def of(self, *things: str) -> tuple[Mention, ...]:
        """Its mentions of these things."""
        return tuple(mention for mention in self.mentions if mention.thing in things)

    def has(self, words: frozenset[str]) -> bool:
        """Whether it has any of these words."""
        return not words.isdisjoint(self.words)


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, Any]:
    """The file photo_words.json: lists of words by what they tell."""
    return json.loads((Path(__file__).parent / "photo_words.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def word_set(name: str) -> frozenset[str]:
    """The words of one list of the vocabulary."""
    return frozenset(vocabulary()[name].split())


ANIMALS = ("dog", "cat", "horse", "bird", "cow", "sheep", "elephant", "wild animal")
HUMANS = tuple(name for name, told in vocabulary()["things"].items() if told.get("human"))
OPPOSITE = {"man": "woman", "woman": "man", "boy": "girl", "girl": "boy"}


@lru_cache(maxsize=1)
def _nouns() -> dict[str, tuple[tuple[str, bool], ...]]:
    """Word → (thing, whether it means several) of every thing that the word names."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for name, told in vocabulary()["things"].items():
        for key in ("one", "several"):
            for word in told[key].split():
                found.setdefault(word, []).append((name, key == "several"))
    for kind in ("wear", "objects"):
        for name, words in vocabulary()[kind].items():
            for word in words.split():
                found.setdefault(word, []).append((f"{kind}:{name}", False))
    return {word: tuple(names) for word, names in found.items()}


def read(text: str) -> Caption:
    """The caption taken apart."""
    plain = re.sub(r"\b(t|tee)[ -]*shirts?\b", "tshirt", text.lower())
    words = tuple(re.findall(r"[a-z]+", plain.replace("grey", "gray")))
    mentions = []
    for i, word in enumerate(words):
        compound = i + 1 < len(words) and words[i + 1] in word_set("compounds")
        for thing, several in () if compound else _nouns().get(word, ()):
            number, colors = _before(words, i)
            many = (number or 1) > 1
            one_form = word in INVARIABLE or ":" in thing  # clothes and objects are not told apart by number
            odd = number == 1 if several else many and not one_form  # "one dogs", "two horse carriages"
            mentions.append(Mention(thing, None if odd else number, several, colors))
    return Caption(words, tuple(mentions))


def _before(words: tuple[str, ...], noun: int) -> tuple[int | None, tuple[str, ...]]:
    """Number and colours said in front of the noun at this place."""
    numbers, colors, known = vocabulary()["numbers"], [], word_set("colors") | word_set("other_colors")
    for i in range(noun - 1, max(-1, noun - 1 - _REACH), -1):
        word = words[i]
        joined = words[i + 1] in _nouns()  # of "two bike riders" the number is not that of bikes
        if word in numbers:
            return numbers[word], tuple(colors)
        if word in known:
            colors.insert(0, word)
        elif word == "and" and colors and i and words[i - 1] in known:
            continue
        elif word in word_set("stops") or word in word_set("definite") or (word in _nouns() and not joined):
            break
    return None, tuple(colors)


def said(captions: Sequence[Caption], words: frozenset[str]) -> int:
    """How many captions have one of these words."""
    return sum(caption.has(words) for caption in captions)


def sure(captions: Sequence[Caption], *things: str) -> int | None:
    """How many of these things there are, where three captions say so and nothing else speaks against it."""
    totals: Counter[int] = Counter()
    several = False
    for caption in captions:
        mentions = caption.of(*things)
        numbers = [mention.number for mention in mentions if mention.number is not None]
        several = several or any(mention.several for mention in mentions)
        if numbers and len(numbers) == len(mentions):
            totals[sum(numbers)] += 1
        elif len(mentions) > 1 or sum(numbers) > 1:
            return None
    if len(totals) != 1 or totals.total() < AGREE or said(captions, word_set("loose")):
        return None
    number = next(iter(totals))
    if number == 1 and (several or said(captions, word_set("second"))):
        return None
    return number


def lone(captions: Sequence[Caption]) -> str | None:
    """Man, woman, boy or girl: who is there, where it is one person and three captions agree on it."""
    if sure(captions, *HUMANS) != 1:
        return None
    kinds = Counter(m.thing for caption in captions for m in caption.of(*OPPOSITE))
    if len(kinds) != 1 or kinds.total() < AGREE:
        return None
    return next(iter(kinds))
