"""Damage for bytes and JSON, the same in every run. SMOLA_FUZZ=10000 makes that many cases of each kind."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

CASES = int(os.environ.get("SMOLA_FUZZ", "300"))
# What a field may hold that no one meant.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**64, 10**400, 1e308, float("nan"), float("inf"), "", "x", "\0",
    "\ud800", "../../etc/passwd", "<img src=x>", "9" * 5000, [], [[]], [None], {}, {"a": 1}, [1] * 1000,
    "\u2028",
)  # fmt: skip


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """`data` with flipped bits, a cut, a splice, a repeat, or another beginning; up to three of them."""

    def flip(b: bytearray) -> None:
        for _ in range(rng.choice((1, 2, 8, 64))):
            b[rng.randrange(len(b))] ^= 1 << rng.randrange(8)

    def header(b: bytearray) -> None:
        for _ in range(rng.randint(1, 6)):
            b[rng.randrange(min(64, len(b)))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))

    def cut(b: bytearray) -> None:
        del b[rng.randrange(len(b)) :]

    def hole(b: bytearray) -> None:
        at = rng.randrange(len(b))
        del b[at : at + rng.randint(1, 200)]

    def repeat(b: bytearray) -> None:
        at = rng.randrange(len(b))
        b[at:at] = b[at : at + rng.randint(1, 200)] * rng.randint(1, 5)

    def splice(b: bytearray) -> None:
        other = rng.choice(others)
        at = rng.randrange(len(other))
        b[rng.randrange(len(b)) :] = other[at:]

    damaged = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if damaged:
            rng.choice((flip, flip, header, cut, hole, repeat, splice))(damaged)
    return bytes(damaged)


def mutations(whole: list[bytes], cases: int = CASES, seed: int = 0) -> Iterator[bytes]:
    """Damaged copies of valid files, each of them in turn."""
    rng = random.Random(seed)
    for i in range(cases):
        yield mutated(whole[i % len(whole)], whole, rng)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every part of a JSON value, itself included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value: Any, rng: random.Random, copy: Callable[[Any], Any]) -> Any:
    """A copy of a JSON object with one to three of its parts replaced by something odd or taken away."""
    found = copy(value)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice([one for one in places(found) if one])
        inner = found
        for key in path[:-1]:
            inner = inner[key]
        if isinstance(inner, dict) and rng.random() < 0.2:
            del inner[path[-1]]
        else:
            inner[path[-1]] = copy(rng.choice(ODD))
        if not found:
            break
    return found


def one_sentence(said: str) -> bool:
    """One line that is not too long for a page."""
    return bool(said.strip()) and "\n" not in said and len(said) < 1000
