"""Questions on photographs, derived from several people's captions where their answer is certain.

Counts, colours, animals, people, sports and places; `photo_presence` has what is there and what is not.
Answers are balanced: of closed questions half are yes, and no answer is commoner than all others together.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

from smola_demo.data.captions import (
    AGREE,
    ANIMALS,
    HUMANS,
    OPPOSITE,
    Caption,
    lone,
    read,
    said,
    sure,
    vocabulary,
    word_set,
)
from smola_demo.data.photo_presence import exists
from smola_demo.data.row import QA, Row
from smola_demo.data.shape_names import article, casual, color_answers, color_word, either, other, yes_no

FEWEST = 4  # captions a photograph needs: fewer leave too much unsaid

Captions = Sequence[Caption]
_COLORS = tuple(vocabulary()["colors"].split())
_COUNTED = ("dog", "horse", "bird", "cow", "motorcycle", "boat", *HUMANS)


def _name(thing: str) -> str:
    return thing.rsplit(":", maxsplit=1)[-1]


def _many(thing: str) -> str:
    return vocabulary()["plurals"].get(thing, f"{thing}s")


def _count(rng: random.Random, captions: Captions) -> list[QA]:
    found = []
    for thing in _COUNTED:
        number = sure(captions, thing)
        if number is None:
            continue
        if thing in HUMANS:
            everyone = sure(captions, *HUMANS)
            kin = {m.number for caption in captions for m in caption.of("person") if m.number}
            if thing == "person":
                number = everyone
            elif kin - {number} or (thing == "child" and any(c.of("boy", "girl") for c in captions)):
                continue
            if number is None or said(captions, word_set("public")):
                continue
        phrases = "How many {0} are there?|How many {0} are in the picture?|How many {0} do you see?"
        phrases += "|How many {0} are in the photo?|How many {0} can you see?"
        found.append(QA("count", either(rng, phrases).format(_many(thing)), (str(number),)))
    return found


def _color(captions: Captions, thing: str) -> tuple[str, ...] | None:
    """The colours of the one thing of its kind, where three captions say them and none differs."""
    said: Counter[frozenset[str]] = Counter()
    order: dict[frozenset[str], tuple[str, ...]] = {}
    for caption in captions:
        mentions = caption.of(thing)
        if len(mentions) > 1 or any(mention.several or (mention.number or 1) > 1 for mention in mentions):
            return None
        for mention in mentions:
            if mention.colors:
                said[frozenset(mention.colors)] += 1
                order.setdefault(frozenset(mention.colors), mention.colors)
    if len(said) != 1 or said.total() < AGREE or not next(iter(said)) <= set(_COLORS):
        return None
    return order[next(iter(said))]


def _colors(rng: random.Random, captions: Captions) -> list[QA]:
    """Colours of an animal, a garment or an object, asked openly and as a closed question."""
    if said(captions, word_set("loose")):
        return []
    lone = all(sum(m.number or 1 for m in caption.of(*HUMANS)) <= 1 for caption in captions)
    lone = lone and not any(m.several for caption in captions for m in caption.of(*HUMANS))
    kinds = [*ANIMALS[:4], *(f"objects:{name}" for name in vocabulary()["objects"])]
    if lone and not said(captions, word_set("second")):  # else it is not said whose shirt is meant
        kinds += [f"wear:{name}" for name in vocabulary()["wear"]]
    found = []
    for thing in kinds:
        colors = _color(captions, thing)
        if colors is None or (thing in ANIMALS and sure(captions, thing) != 1):
            continue
        noun, word = _name(thing), color_word(rng)
        be = "are" if noun in {"pants", "shorts"} else "is"
        phrases = f"What {word} {be} the {noun}?|What {word} {be} the {noun}?"
        phrases += f"|What is the {word} of the {noun}?|What's the {word} of the {noun}?"
        orders = (product(*map(color_answers, order)) for order in (colors, colors[::-1]))
        answers = dict.fromkeys(" and ".join(words) for order in orders for words in order)
        found.append(QA("vqa", either(rng, phrases), tuple(answers)))
        if len(colors) == 1:
            truth = rng.random() < 0.5
            shade = colors[0] if truth else other(rng, _COLORS, *colors)
            found.append(QA("vqa", f"{be.title()} the {noun} {shade}?", yes_no(truth)))
    return found


def _spoken(captions: Captions, table: str) -> list[tuple[str, int]]:
    """(name, captions that have a word of it) for what is spoken of at all."""
    counts = [(name, said(captions, frozenset(w.split()))) for name, w in vocabulary()[table].items()]
    return [(name, count) for name, count in counts if count]


def _animal(rng: random.Random, captions: Captions) -> list[QA]:
    """The one kind of animal that is named at all."""
    named = [a for a in ANIMALS if any(caption.of(a) for caption in captions)]
    if (
        len(named) != 1
        or named[0] == "wild animal"
        or sum(bool(caption.of(named[0])) for caption in captions) < AGREE
    ):
        return []
    phrases = "What animal is in the picture?|What animal is this?|What kind of animal is it?"
    phrases += "|What animal is shown?|Which animal do you see?"
    return [QA("vqa", either(rng, phrases), (named[0], _many(named[0])))]


def _who(rng: random.Random, captions: Captions) -> list[QA]:
    who = lone(captions)
    if who is None:
        return []
    phrases = f"Who is in the picture, {article(who)} or {article(OPPOSITE[who])}?|Who is this?"
    phrases += f"|Is it {article(OPPOSITE[who])} or {article(who)}?|Who is in the photo?|Who can you see?"
    return [QA("vqa", either(rng, phrases), (who, article(who)))]


def _sport(rng: random.Random, captions: Captions) -> list[QA]:
    """The one sport that is spoken of; a dog's tennis ball is none."""
    if any(caption.of(*ANIMALS) for caption in captions):
        return []
    balls = sum("ball" in caption.words for caption in captions)
    spoken = _spoken(captions, "sports")
    if len(spoken) != 1 or spoken[0][1] - balls < AGREE:
        return []
    phrases = "What sport is this?|Which sport is shown?|What sport is it?|Which sport do you see?"
    return [QA("vqa", either(rng, phrases), (spoken[0][0],))]


def _scenery(captions: Captions, table: str, every: str) -> str | None:
    """What three captions agree on, where none names another of its kind."""
    spoken = _spoken(captions, table)
    if len(spoken) != 1 or spoken[0][1] < AGREE:
        return None
    own = frozenset(vocabulary()[table][spoken[0][0]].split())
    return None if said(captions, word_set(every) - own) else spoken[0][0]


def _place(rng: random.Random, captions: Captions) -> list[QA]:
    place = _scenery(captions, "places", "place_words")
    phrases = "Where is this?|Where was this photo taken?|What kind of place is this?|What place is it?"
    if place is None:
        return []
    return [QA("vqa", either(rng, phrases), (place, f"at the {place}", f"in the {place}"))]


def _floor(rng: random.Random, captions: Captions) -> list[QA]:
    """What covers the ground, where three captions say that it is underfoot: snow may also be in a hand."""
    ground = _scenery(captions, "grounds", "ground_words")
    if ground is None:
        return []
    words = vocabulary()["grounds"][ground].replace(" ", "|")
    under = re.compile(rf"\b(in|on|through|across|over|into|onto|along)( \w+){{0,2}} ({words})\b")
    if sum(bool(under.search(" ".join(caption.words))) for caption in captions) < AGREE:
        return []
    return [QA("vqa", either(rng, "What is on the ground?|What covers the ground?"), (ground,))]


_ASKERS: tuple[Callable[[random.Random, Captions], list[QA]], ...] = (
    _count,
    _colors,
    _animal,
    _who,
    _sport,
    _place,
    _floor,
)


def _balanced(found: dict[str, list[QA]], family: str) -> dict[str, list[QA]]:
    """The questions by picture, the commonest answer thinned until all others are as many as it is."""
    pairs = [(name, qa) for name in sorted(found) for qa in found[name] if qa.answers[0] not in ("yes", "no")]
    common = Counter(qa.answers[0] for _, qa in pairs).most_common(1)
    if not common:
        return found
    answer, times = common[0]
    places = [i for i, (_, qa) in enumerate(pairs) if qa.answers[0] == answer]
    surplus = max(0, times - (len(pairs) - times))
    dropped = {pairs[i] for i in random.Random(f"balance/{family}").sample(places, surplus)}
    return {name: [qa for qa in given if (name, qa) not in dropped] for name, given in found.items()}


def derive(rows: Iterable[Row]) -> list[Row]:
    """`vqa` and `count` rows on the photographs of caption rows with at least four captions.

    The same rows give the same questions, in whatever order they come.
    """
    described = {
        Path(row.image_name).name: row for row in rows if row.task == "caption" and len(row.answers) >= FEWEST
    }
    read_all = {name: [read(text) for text in described[name].answers] for name in sorted(described)}
    pictures = {name: told for name, told in read_all.items() if not said(told, word_set("doubt"))}
    asked = [exists(list(pictures.items()))]
    for asker in _ASKERS:
        family = asker.__name__
        found = {name: asker(random.Random(f"{family}/{name}"), told) for name, told in pictures.items()}
        asked.append(_balanced(found, family))
    rows_found: list[Row] = []
    for name in pictures:
        rng, row = random.Random(f"photo/{name}"), described[name]
        for i, qa in enumerate(qa for part in asked for qa in part.get(name, ())):
            question = casual(rng, qa.question or "")
            rows_found.append(
                Row(row.image, qa.task, question, qa.answers, row.source, f"{row.id}?{i}", qa.task)
            )
    return rows_found
