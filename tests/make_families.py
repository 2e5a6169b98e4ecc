"""Run every check on a tiny model of every family and write docs/families.md."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from family_checks import CHECKS  # noqa: E402  the path comes first
from tiny_vlm import tiny_models  # noqa: E402  the path comes first

from smola_demo.backbone.families import FAMILIES, family_of  # noqa: E402  the path comes first

TABLE = ROOT / "docs" / "families.md"
ABOVE = """# Families of backbones

`--backbone` takes `embedded`, an id of the model hub such as `HuggingFaceTB/SmolVLM-256M-Instruct`, or a
folder with such a model. Its `model_type` decides which family serves it. All of them load in `nf4`, `int8`,
`bf16` and `fp32`; only the linears of the language model's layers are quantized. Visual tokens are where the
config's image token stands; begin, end, row and column markers are text.

Written by `python tests/make_families.py`, which runs every check of `tests/family_checks.py` on a tiny model
of the library's own classes with random weights, loaded from a folder in NF4 (for PEFT's control in float32).
**No weights of a published model have been run**: the table says that the code serves the architecture, not
how well such a model answers.

"""


def outcome(name: str, check: str) -> str:
    """ "yes", or "no" with the reason on stderr."""
    try:
        CHECKS[check](name)
    except Exception:  # noqa: BLE001  the table says which failed
        traceback.print_exc()
        return "no"
    return "yes"


def main() -> int:
    """Write the table; 1 if anything failed or a family has no tiny model."""
    lines = [f"| model_type | {' | '.join(CHECKS)} |", "|---" * (len(CHECKS) + 1) + "|"]
    failed = False
    for name in FAMILIES:
        results = [outcome(name, check) if name in tiny_models() else "not tried" for check in CHECKS]
        failed |= set(results) != {"yes"}
        lines.append(f"| {name} | {' | '.join(results)} |")
    meaning = [f"- **{check}**: {(run.__doc__ or '').splitlines()[0]}" for check, run in CHECKS.items()]
    how = [f"- **{name}**: {_words(name)}" for name in FAMILIES]
    text = ABOVE + "\n".join([*lines, "", *meaning, "", "How each takes a picture:", "", *how]) + "\n"
    TABLE.write_text(text, encoding="utf-8")
    return int(failed)


def _words(name: str) -> str:
    """The first paragraph of the module that serves a model_type, on one line."""
    text = sys.modules[family_of(name).__module__].__doc__ or ""
    return " ".join(text.split("\n\n")[0].split())


if __name__ == "__main__":
    sys.exit(main())
