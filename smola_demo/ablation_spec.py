"""Which experts to take out of one call, as text.

    visual:3                    expert 3 of the visual group, in every layer
    multimodal:0,4-6            four experts
    text:*                      the whole group          *:* everything
    visual:3@8-15               only in layers 8 to 15
    visual:3@8-15/mlp           only on the MLP's linears (attn, mlp or a projection's name)
    visual:3;text:*             several at once
    renormalize!visual:3        the others of the group are re-weighted to sum to 1 (default: zero!)
    mean!visual:3               the expert's output is replaced by its mean over the prompt

No torch here: the page reads the same text as the engine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Kind = Literal["zero", "renormalize", "mean"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ALL = "*"
# Names for all linears of a block, and the words that a model's own name for such a block holds.
BLOCKS: dict[str, tuple[str, ...]] = {"attn": ("attn", "attention"), "mlp": ("mlp", "feed_forward", "ffn")}
MAX_CHARS = 2000  # with the bound on numbers, so that no text asks for much memory
_TERM = re.compile(r"(?P<group>[^:@/]+):(?P<experts>[^:@/]+)(@(?P<layers>[^:@/]+))?(/(?P<where>[^:@/]+))?")


class AblationError(ValueError):
    """A spec that cannot be read or that names what does not exist; the message says what does."""


@dataclass(frozen=True)
class Term:
    """Some experts of one group, where they are taken out. None means all."""

    group: str
    experts: tuple[int, ...] | None
    layers: tuple[int, ...] | None = None
    where: tuple[str, ...] | None = None

    def __str__(self) -> str:
        layers = "" if self.layers is None else "@" + ranges(self.layers)
        where = "" if self.where is None else "/" + ",".join(self.where)
        return f"{self.group}:{ALL if self.experts is None else ranges(self.experts)}{layers}{where}"


@dataclass(frozen=True)
class AblationSpec:
    """Experts to take out of a call, and how. Falsy when it takes nothing out; str() gives its text form."""

    terms: tuple[Term, ...] = ()
    kind: Kind = "zero"

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __str__(self) -> str:
        return ("" if self.kind == "zero" else f"{self.kind}!") + ";".join(map(str, self.terms))

    @classmethod
    def parse(cls, text: str | None) -> AblationSpec:
        """Read the text form; empty text is the empty spec. Raises AblationError with the unreadable part."""
        text = (text or "").strip()
        if not text:
            return cls()
        if len(text) > MAX_CHARS:
            raise AblationError(f"'{short(text)}' has {len(text)} characters: write at most {MAX_CHARS}")
        kind, mark, rest = text.partition("!")
        if not mark:
            kind, rest = "zero", text
        if kind not in KINDS:
            raise AblationError(
                f"unknown kind of ablation '{short(kind)}': use {', '.join(k + '!' for k in KINDS)}"
            )
        terms = tuple(_term(part.strip()) for part in rest.split(";") if part.strip())
        if not terms:
            raise AblationError(f"'{short(text)}' names no expert: write for example visual:3 or text:*")
        return cls(terms, kind)  # type: ignore[arg-type]  # kind was checked against KINDS


def check_names(
    spec: AblationSpec,
    groups: Sequence[str],
    num_experts: int,
    layers: Collection[int],
    projections: Collection[str],
) -> None:
    """Raise AblationError when a spec names a group, expert, layer or projection that is not there."""
    for term in spec.terms:
        if term.group not in (*groups, ALL):
            raise AblationError(f"no expert group '{short(term.group)}': there are {', '.join(groups)}")
        for expert in term.experts or ():
            if expert >= num_experts:
                raise AblationError(f"no expert {term.group}:{expert}: each group has 0 to {num_experts - 1}")
        for layer in term.layers or ():
            if layer not in layers:
                raise AblationError(
                    f"no experts in layer {layer}: wrapped layers are {ranges(tuple(sorted(layers)))}"
                )
        for name in term.where or ():
            if name not in BLOCKS and name not in projections:
                raise AblationError(
                    f"no projection '{short(name)}': "
                    f"there are {', '.join(sorted(projections))}, and attn and mlp"
                )


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise AblationError(
            f"cannot read '{short(text)}': write group:experts, for example visual:3@8-15/mlp"
        )
    where = None if match["where"] is None else tuple(name.strip() for name in match["where"].split(","))
    experts, layers = (
        _numbers(match["experts"], text),
        _numbers(match["layers"], text) if match["layers"] else None,
    )
    return Term(match["group"].strip(), experts, layers, where)


def _numbers(text: str, term: str) -> tuple[int, ...] | None:
    """'0,4-6' → (0, 4, 5, 6); '*' → None. Numbers stay below 10,000 (see MAX_CHARS)."""
    if text.strip() == ALL:
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part, re.ASCII)
        if match is None or (match[2] is not None and int(match[2]) < int(match[1])):
            raise AblationError(f"cannot read '{short(part)}' in '{short(term)}': write 3, 0,4-6 or *")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(numbers))


def ranges(numbers: tuple[int, ...]) -> str:
    """(0, 4, 5, 6) → '0,4-6'."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def short(text: str) -> str:
    """User text as it may stand in a message: one line, not too long."""
    text = " ".join(re.sub(r"[\ud800-\udfff]", " ", text).split())
    return text if len(text) <= 60 else text[:57] + "..."
