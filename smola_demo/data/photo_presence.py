"""Whether a thing is in a photograph: closed questions where several people's captions leave no doubt.

A thing is there when at least three captions name it; it is not when none names it or anything near it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from smola_demo.data.captions import AGREE, ANIMALS, HUMANS, OPPOSITE, lone, vocabulary, word_set
from smola_demo.data.row import QA
from smola_demo.data.shape_names import article, either, yes_no

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smola_demo.data.captions import Caption

_EXISTS = (
    "Is there {a}?|Is there {a} in the picture?|Is there {a} in the photo?|Do you see {a}?|Can you see {a}?"
    "|Does the image show {a}?|Is {a} visible?"
)


def presence(captions: Sequence[Caption]) -> dict[str, bool]:
    """Thing → whether it is there, for those of which the captions leave no doubt."""
    found: dict[str, bool] = {}
    words = frozenset(word for caption in captions for word in caption.words)
    alone = lone(captions) if words.isdisjoint(word_set("public")) else None
    beasts = sum(bool(caption.of(*ANIMALS)) for caption in captions)
    deserted = beasts >= len(captions) - 1 and words.isdisjoint(word_set("humanlike"))
    deserted = deserted and not any(caption.of(*HUMANS) for caption in captions)
    deserted = deserted and not any(word.endswith(("man", "men")) for word in words)  # firemen, policewoman …
    for thing, told in vocabulary()["things"].items():
        count = sum(bool(caption.of(thing)) for caption in captions)
        if count >= AGREE and (told.get("human") or "alike" in told):
            if words.isdisjoint(told.get("never", "").split()):  # a bike may be a motorcycle
                found[thing] = True
        elif told.get("human"):
            if deserted or (alone and thing == OPPOSITE[alone]):
                found[thing] = False
        elif "alike" in told and words.isdisjoint(f"{told['one']} {told['several']} {told['alike']}".split()):
            found[thing] = False
    return found


def exists(pictures: Sequence[tuple[str, Sequence[Caption]]]) -> dict[str, list[QA]]:
    """Closed questions by picture: for each thing as many yes as no, drawn by the pictures' names."""
    asked: dict[str, dict[bool, list[str]]] = {}
    for name, captions in pictures:
        for thing, there in presence(captions).items():
            asked.setdefault(thing, {True: [], False: []})[there].append(name)
    found: dict[str, list[QA]] = {}
    for thing, by in asked.items():
        few = min(len(by[True]), len(by[False]))
        for there, names in by.items():
            for name in random.Random(f"exists/{thing}/{there}").sample(sorted(names), few):
                question = either(random.Random(f"{thing}/{name}"), _EXISTS).format(a=article(thing))
                found.setdefault(name, []).append(QA("vqa", question, yes_no(there)))
    return found
