"""Questions on solids in a scene, all computed: here counts, attributes and existence.

`scene_relations` has places and comparisons. Each is asked only where a person would not hesitate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smola_demo.data import scene_relations
from smola_demo.data.row import QA
from smola_demo.data.scene_names import VALUES, Seen, answers, naming, number, said, some_of, usable
from smola_demo.data.shape_names import article, casual, color_word, either, plural, yes_no

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

_COUNT = (
    "How many {} are there?|How many {} are there?|How many {} do you see?|How many {} are in the image?"
    "|How many {} are in the picture?|How many {} can you count?|What number of {} are there?|Count the {}."
)
_EXISTS = (
    "Is there {a}?|Are there any {many}?|Is there {a} in the picture?|Does the image contain {a}?"
    "|Can you see {a}?|Do you see any {many}?|Is {a} visible?"
)


def _counts(rng: random.Random, seen: Sequence[Seen]) -> list[QA]:
    """Everything, and some of it: larger numbers are preferred where they occur, else small ones prevail."""
    whole = f"{either(rng, 'object|object|thing|solid')}s"
    phrases = f"{_COUNT}|How many {{}} are there in total?|How many {{}} in total?"
    found = [QA("count", either(rng, phrases).format(whole), (str(len(seen)),))]
    by_number: dict[int | None, list[dict[str, str]]] = {}
    for _ in range(12):
        mixed = {a: getattr(rng.choice(seen), a) for a in VALUES}
        wanted = some_of(rng, Seen(**mixed, across=0, inwards=0), usable(seen))
        by_number.setdefault(number(seen, wanted), []).append(wanted)
    numbers = sorted(n for n in by_number if n is not None)
    for n in rng.choices(numbers, [(1 + n) ** 2 for n in numbers], k=2) if numbers else ():
        things = plural(said(rng, rng.choice(by_number[n])))
        found.append(QA("count", either(rng, _COUNT).format(things), (str(n),)))
    return found


def _attribute(rng: random.Random, seen: Sequence[Seen]) -> QA | None:
    """The colour, form, size or material of the one solid that the other attributes name."""
    one, asked = rng.choice(seen), rng.choice(usable(seen))
    name = either(rng, "object|thing") if len(seen) == 1 else naming(rng, one, seen, but=asked)
    if name is None:
        return None
    word = color_word(rng)
    phrases = {
        "color": f"What {word} is the {{}}?|What is the {word} of the {{}}?|The {{}} is what {word}?"
        f"|What's the {word} of the {{}}?",
        "form": "What shape is the {}?|What is the shape of the {}?|What form does the {} have?",
        "size": "What size is the {}?|How big is the {}?|Is the {} large or small?",
        "material": "Is the {} shiny or matte?|What material is the {} made of?|What is the {} made of?",
    }
    question = either(rng, phrases[asked]).format(name)
    accepted = answers(getattr(one, asked))
    if "made of" in question:
        accepted = accepted[::-1]  # metal or rubber, where a material is asked for
    return QA("vqa", question, accepted)


def _exists(rng: random.Random, seen: Sequence[Seen]) -> QA | None:
    """A closed question; what is not there differs from what is in one attribute."""
    wanted = some_of(rng, rng.choice(seen), usable(seen))
    there = rng.random() < 0.5
    if not there:
        changed = [wanted | {a: value} for a in wanted for value in VALUES[a]]
        absent = [choice for choice in changed if not any(s.passes(choice) for s in seen)]
        if not absent:
            return None
        wanted = rng.choice(absent)
    noun = said(rng, wanted)
    return QA("vqa", either(rng, _EXISTS).format(a=article(noun), many=plural(noun)), yes_no(there))


_ASKERS = (_attribute, _attribute, _exists, _exists, *scene_relations.ASKERS)


def ask(rng: random.Random, seen: Sequence[Seen]) -> tuple[QA, ...]:
    """Up to ten questions on one scene, none twice: counts, and the others in random order."""
    askers = list(_ASKERS)
    rng.shuffle(askers)
    found = [qa for asker in askers if (qa := asker(rng, seen))]
    unique = {qa.question: qa for qa in [*_counts(rng, seen), *found[:7]] if qa.question}
    return tuple(QA(qa.task, casual(rng, question), qa.answers) for question, qa in unique.items())
