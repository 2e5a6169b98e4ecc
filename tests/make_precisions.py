"""Answer every example in each precision, hold them against float32 and write docs/precisions.md."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from smola_demo.ablation import AblationSpec  # noqa: E402  the path comes first
from smola_demo.data.gallery import gallery_rows  # noqa: E402  the path comes first
from smola_demo.engine import Engine  # noqa: E402  the path comes first
from smola_demo.results import Answer, Request  # noqa: E402  the path comes first
from smola_demo.scoring import score  # noqa: E402  the path comes first

PAGE = ROOT / "docs" / "precisions.md"
REFERENCE, OTHERS = "fp32", ("bf16", "nf4")
ABOVE = """# The examples in each precision

Every example of the page, answered by the embedded model with its experts in float32, bfloat16 and NF4, on a
CPU. *Drift* is the mean change per token of the log-prob (nats) of the float32 answer. Where an answer is
another, *gap* is how much more probable the other precision held its own token than float32's at the first
place where they part: a small gap was a near tie. Written by `python tests/make_precisions.py`.

"""


@dataclass(frozen=True)
class Held:
    """One answer against float32's: drift and gap in nats, the gap None where both say the same."""

    asked: str
    reference: str
    text: str
    drift: float
    gap: float | None


def answers(engine: Engine, asked: list[Request]) -> list[Answer]:
    """The answer to each, without its routing."""
    return [list(engine.answer(request, capture=False))[-1] for request in asked]


def hold(engine: Engine, asked: list[Request], references: list[Answer]) -> list[Held]:
    """The engine's own answers against those of another precision."""
    found = []
    for request, own, reference in zip(asked, answers(engine, asked), references, strict=True):
        row, _ = engine._prepare(request)
        given = row.answered([token.id for token in reference.tokens])
        ((scored,), _) = score(engine.backbone, engine.adapter, [given], [AblationSpec()])
        changes = [abs(a - b.logprob) for a, b in zip(scored.logprobs, reference.tokens, strict=True)]
        pairs = zip(own.tokens, reference.tokens, strict=False)
        parts = next((i for i, (a, b) in enumerate(pairs) if a.id != b.id), None)
        gap = None if parts is None else own.tokens[parts].logprob - scored.logprobs[parts]
        drift = sum(changes) / len(changes)
        what = f"{request.task}: {request.question or '-'}"
        found.append(Held(what, reference.text, own.text, drift, gap))
    return found


def compared(most: int | None = None) -> dict[str, list[Held]]:
    """Precision → its answers to the first examples against float32's."""
    asked = [Request(row.open(), row.task, row.question) for row in gallery_rows()[:most]]
    references = answers(Engine.load(precision=REFERENCE), asked)
    return {precision: hold(Engine.load(precision=precision), asked, references) for precision in OTHERS}


def line(precision: str, one: Held) -> str:
    """A row of the table."""
    texts = [text.replace("|", "/").replace("\n", " ") for text in (one.asked, one.reference, one.text)]
    return f"| {' | '.join([precision, *texts])} | {one.drift:.3f} | {one.gap:.3f} |"


def main() -> int:
    """Write the page; prints its figures."""
    lines = ["| precision | asked | float32 says | it says | drift | gap |", "|---|---|---|---|---|---|"]
    said = []
    for precision, rows in compared().items():
        others = [one for one in rows if one.gap is not None]
        lines += [line(precision, one) for one in others]
        drift = sum(one.drift for one in rows) / len(rows)
        same = f"{len(rows) - len(others)} of {len(rows)} answers the same"
        said.append(f"- **{precision}**: {same}, mean drift {drift:.3f} nats")
    text = ABOVE + "\n".join([*said, "", "Answers that differ:", "", *lines]) + "\n"
    PAGE.write_text(text, encoding="utf-8")
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
