"""Rows to learn from and to be judged by: readers of data files and generators of drawn pictures.

row        Row, Scene, reading JSONL files, the split by image
hub        rows of a data set on the Hugging Face hub
images     open any picture safely
shapes · counts · words · charts · forms · tables · solid_scenes   generators: seed, split → a Scene
photo_questions   questions that follow from several captions of one photograph
mixture    an endless, resumable stream of training groups
devset     suites on disk for `evaluate`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from smola_demo.data import charts, counts, forms, shapes, solid_scenes, tables, words
from smola_demo.data.row import RowError, Scene

Generator = Callable[[int, str], Scene]

GENERATORS: dict[str, Generator] = {
    "shapes": shapes.generate,
    "counts": counts.generate,
    "words": words.generate,
    "charts": charts.generate,
    "forms": forms.generate,
    "tables": tables.generate,
    "scenes": solid_scenes.generate,
}
ASKS: dict[str, tuple[str, ...]] = {  # the tasks of each generator's questions
    "shapes": ("caption", "vqa", "count"),
    "counts": ("count",),
    "words": ("vqa", "count", "read"),
    "charts": ("chart",),
    "forms": ("read", "document"),
    "tables": ("count", "chart", "document"),
    "scenes": ("vqa", "count"),
}


def generators_of(tasks: Sequence[str] = ()) -> list[str]:
    """The generators that draw rows of any of these tasks, all where none is named. Raises RowError."""
    found = [name for name, asked in ASKS.items() if not tasks or set(asked) & set(tasks)]
    if not found:
        raise RowError(
            f"No generator draws rows of {', '.join(tasks)}: choose other tasks, or hold out a file."
        )
    return found


def scenes(name: str, split: str = "train", start: int = 0) -> Iterator[Scene]:
    """Scenes of one generator without end, from seed `start` on.

    Raises ValueError for an unknown generator or split.
    """
    if name not in GENERATORS:
        raise ValueError(f"There is no generator '{name}'; choose one of {', '.join(GENERATORS)}.")
    if split not in ("train", "dev"):
        raise ValueError(f"There is no split '{split}'; choose train or dev.")
    seed = start
    while True:
        yield GENERATORS[name](seed, split)
        seed += 1
