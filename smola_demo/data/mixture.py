"""An endless training stream over several sources, in which item i depends on the seed and on i alone.

So a run resumes at any index, and no picture that a source keeps for development ever appears, under whatever
name. Two machines ask the same questions of files and shapes alike; drawings with text also depend on the
fonts that a machine has (`fonts`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from smola_demo.config import HUB
from smola_demo.data import GENERATORS
from smola_demo.data.hub import read_hub
from smola_demo.data.photo_questions import derive
from smola_demo.data.row import (
    QA,
    SKIPPED_KINDS,
    Mark,
    Picture,
    Row,
    RowError,
    group_by_image,
    open_picture,
    read_rows,
    split_together,
)
from smola_demo.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

    from smola_demo.config import DataSource

MAX_ANSWER_CHARS = 120
_SHOWN = 16  # drawings of a generator that show which tasks it has
_CYCLE = 1024  # items after which every source has had exactly its share


class Item(NamedTuple):
    """One question and the one answer to learn."""

    task: str
    question: str | None
    answer: str


@dataclass(frozen=True)
class Group:
    """One picture with the items to learn on it; `key` names the picture, the same in every epoch.

    marks   what lies where in a drawing that tells (`Scene.marks`)
    """

    image: Picture
    items: tuple[Item, ...]
    key: str
    source: str
    index: int
    marks: tuple[Mark, ...] = ()

    def open(self) -> Image.Image:
        """The picture, RGB. Raises ImageError when its file cannot be read."""
        return open_picture(self.image)


class Mixture:
    """An endless sequence of groups: `mixture[i]`, or `mixture.iterate(start)`.

    sources           what to draw from, how often, and which tasks of it
    pack              most items on one picture, where its source names no number of its own
    seed              two mixtures with the same sources and seed are the same
    max_answer_chars  items with a longer answer are left out, never cut
    dev_share, salt   the share of each source's pictures kept for development (see `split_together`)
    split             "train", or "dev" for the kept share and the generators' development drawings

    `left_out` tells, file by file, how many rows of the split are left out for their long answers.
    Raises RowError when a file is missing, broken, or has nothing left after the filters.
    """

    def __init__(
        self,
        sources: Sequence[DataSource],
        pack: int = 1,
        seed: int = 0,
        max_answer_chars: int = MAX_ANSWER_CHARS,
        dev_share: float = 0.1,
        salt: str = "dev",
        split: str = "train",
    ) -> None:
        if not sources:
            raise RowError("The mixture has no source: name at least one generator or JSONL file.")
        if split not in ("train", "dev"):
            raise RowError(f"There is no split '{split}'; choose train or dev.")
        if pack < 1:
            raise RowError(f"pack must be at least 1, not {pack}.")
        for source in sources:
            unknown = [task for task in source.tasks if task not in TASKS]
            if unknown:
                raise RowError(
                    f"Source '{source.name}' asks for the task '{unknown[0]}'; there are {', '.join(TASKS)}."
                )
            if source.derive and source.name in GENERATORS:
                raise RowError(
                    f"Source '{source.name}' is a generator and has no captions: leave its derive out."
                )
        self.seed, self.pack, self.max_answer_chars, self.split = seed, pack, max_answer_chars, split
        self._sources = tuple(sources)
        self._packs = [source.pack or pack for source in sources]
        self._counts = _shares([source.weight for source in sources])
        self.left_out: list[str] = []
        self._files: dict[int, list[list[Row]]] = {}
        read = {s: _rows(source) for s, source in enumerate(sources) if source.name not in GENERATORS}
        halves = split_together([*read.values()], dev_share, salt)
        for s, (train, dev) in zip(read, halves, strict=True):
            self._files[s] = self._usable(sources[s], dev if split == "dev" else train)
        self._cycle = lru_cache(maxsize=8)(self._cycle_of)
        self._order = lru_cache(maxsize=4 * len(sources))(self._order_of)

    def sizes(self) -> dict[str, int]:
        """Pictures per file source; generators have no end and are not listed."""
        return {self._sources[s].name: len(groups) for s, groups in self._files.items()}

    def tasks(self) -> tuple[str, ...]:
        """The tasks of its items; of a generator, those of its first drawings."""
        found = {row.task for groups in self._files.values() for rows in groups for row in rows}
        for source in self._sources:
            if source.name in GENERATORS:
                shown = [GENERATORS[source.name](seed, self.split) for seed in range(_SHOWN)]
                drawn = {qa.task for scene in shown for qa in scene.qa}
                found |= drawn.intersection(source.tasks) if source.tasks else drawn
        return tuple(task for task in TASKS if task in found)

    def __getitem__(self, index: int) -> Group:
        """Item number `index`, from 0 on without end."""
        if index < 0:
            raise IndexError(f"A mixture starts at 0, not {index}.")
        cycle, place = divmod(index, _CYCLE)
        s, rank = self._cycle(cycle)[place]
        ordinal = cycle * self._counts[s] + rank
        rng = random.Random(f"mixture/{self.seed}/{index}")
        if s in self._files:
            return self._from_file(s, ordinal, index, rng)
        return self._drawn(s, ordinal, index, rng)

    def iterate(self, start: int = 0) -> Iterator[Group]:
        """Groups from `start` on, without end."""
        index = start
        while True:
            yield self[index]
            index += 1

    def _cycle_of(self, cycle: int) -> list[tuple[int, int]]:
        """(source, how many of that source came before in the cycle) for each place of a cycle."""
        places = [s for s, count in enumerate(self._counts) for _ in range(count)]
        random.Random(f"cycle/{self.seed}/{cycle}").shuffle(places)
        seen = [0] * len(self._counts)
        ranked: list[tuple[int, int]] = []
        for s in places:
            ranked.append((s, seen[s]))
            seen[s] += 1
        return ranked

    def _order_of(self, s: int, epoch: int) -> list[int]:
        order = list(range(len(self._files[s])))
        random.Random(f"order/{self.seed}/{s}/{epoch}").shuffle(order)
        return order

    def _usable(self, source: DataSource, rows: list[Row]) -> list[list[Row]]:
        """The rows of a source's split that can be learned, by picture."""
        derived = derive(rows) if source.derive else []
        if source.derive and not derived:
            raise RowError(
                f"{source.name} has no captions to derive questions from: it needs photographs with four or "
                "more captions each; leave its derive out."
            )
        wanted = [
            row
            for row in (*rows, *derived)
            if row.kind not in SKIPPED_KINDS and (not source.tasks or row.task in source.tasks)
        ]
        kept = [row for row in wanted if any(self._fits(answer) for answer in row.answers)]
        if long := len(wanted) - len(kept):
            self.left_out.append(
                f"{long} of {len(wanted)} rows of {source.name}, whose answers are longer than "
                f"max_answer_chars ({self.max_answer_chars})"
            )
        if not kept:
            raise RowError(
                f"{source.name} has no {self.split} row left: check its tasks and max_answer_chars, and the "
                "names of its pictures, which decide on the tenth kept for development (photo_1 and photo_2 "
                "count as parts of one)."
            )
        return group_by_image(kept)

    def _fits(self, answer: str) -> bool:
        return 0 < len(answer.strip()) <= self.max_answer_chars

    def _from_file(self, s: int, ordinal: int, index: int, rng: random.Random) -> Group:
        groups = self._files[s]
        epoch, place = divmod(ordinal, len(groups))
        rows = groups[self._order(s, epoch)[place]]
        items: list[Item] = []
        for row in rows:
            answers = [answer.strip() for answer in row.answers if self._fits(answer)]
            if row.task == "caption":  # every human caption is a target of its own
                items += [Item(row.task, row.question, answer) for answer in dict.fromkeys(answers)]
            elif row.task == "chart":  # "39%" and "39" are one answer; always learn the same form
                items.append(Item(row.task, row.question, min(answers, key=len)))
            else:  # the preferred one: to learn one of several at random costs certainty
                items.append(Item(row.task, row.question, answers[0]))
        chosen = rng.sample(items, min(self._packs[s], len(items)))
        return Group(rows[0].image, tuple(chosen), rows[0].image_name, rows[0].source, index)

    def _drawn(self, s: int, ordinal: int, index: int, rng: random.Random) -> Group:
        source = self._sources[s]
        generate = GENERATORS[source.name]
        for attempt in range(300):
            scene = generate((self.seed * 1_000_003 + ordinal) * 300 + attempt, self.split)
            usable = [
                qa
                for qa in scene.qa
                if (not source.tasks or qa.task in source.tasks) and self._fits(qa.answers[0])
            ]
            if usable:
                chosen = rng.sample(usable, min(self._packs[s], len(usable)))
                items = tuple(Item(qa.task, qa.question, self._target(qa, rng)) for qa in chosen)
                return Group(scene.image, items, scene.id, scene.source, index, scene.marks)
        raise RowError(
            f"The generator '{source.name}' draws nothing for the tasks {', '.join(source.tasks)}."
        )

    def _target(self, qa: QA, rng: random.Random) -> str:
        """The preferred answer, except that captions may be worded in several ways."""
        fitting = [answer for answer in qa.answers if self._fits(answer)]
        return rng.choice(fitting) if qa.task == "caption" else fitting[0]


def _rows(source: DataSource) -> list[Row]:
    return read_hub(source) if source.name.startswith(HUB) else read_rows(source.name)


def _shares(weights: Sequence[float]) -> list[int]:
    """Whole places of a cycle per source, in proportion to the weights, at least one each."""
    if len(weights) > _CYCLE:
        raise RowError(f"A mixture takes at most {_CYCLE} sources, not {len(weights)}.")
    total = sum(weights)
    exact = [weight * _CYCLE / total for weight in weights]
    counts = [max(1, int(share)) for share in exact]

    def rest(s: int) -> float:
        return exact[s] - counts[s]

    while sum(counts) < _CYCLE:
        counts[max(range(len(counts)), key=rest)] += 1
    while sum(counts) > _CYCLE:
        counts[min((s for s in range(len(counts)) if counts[s] > 1), key=rest)] -= 1
    return counts
