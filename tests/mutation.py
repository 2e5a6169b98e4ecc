"""Do the tests notice a wrong program? Changes the heart of it, one place at a time: python tests/mutation.py

Each mutant is one small change of one source (a sign, a comparison, a number, a condition, a dropped
statement), run in a copy of the project against that source's own tests, which must fail.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A source and the tests that are its own, quick ones first.
SOURCES = {
    "smola": ["test_smola.py", "test_smola_fused.py", "test_adapter.py"],
    "ablation": ["test_ablation.py"],
    "ablation_spec": ["test_ablation.py"],
    "trace": ["test_trace.py"],
}
OTHER = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And, ast.USub: ast.UAdd,
}  # fmt: skip
TIMEOUT = 300


def changes(node: ast.AST) -> Iterator[str]:
    """Change a node in place, once for each yield; says what was changed."""
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp) and type(node.op) in OTHER:
        node.op = OTHER[type(node.op)]()
        yield type(node.op).__name__
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
        node.ops[0] = OTHER[type(node.ops[0])]()
        yield type(node.ops[0]).__name__
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield f"constant {node.value}"
    elif isinstance(node, ast.IfExp | ast.If):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        yield "condition turned round"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        node.value = ast.Constant(None)
        yield "statement dropped"


def mutants(text: str) -> list[tuple[int, str, str]]:
    """(line, what was changed, the changed source) of every place; type hints and messages stay."""
    tree = ast.parse(text)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None), _message(node))
        if part is not None
        for inner in ast.walk(part)
    }
    places = [i for i, node in enumerate(ast.walk(tree)) if id(node) not in skipped]
    found = []
    for place in places:
        changed = copy.deepcopy(tree)
        node = next(node for i, node in enumerate(ast.walk(changed)) if i == place)
        found += [(getattr(node, "lineno", 0), what, ast.unparse(changed)) for what in changes(node)]
    return found


def _message(node: ast.AST) -> ast.AST | None:
    return node.exc if isinstance(node, ast.Raise) else None


def killed(copy_of: Path, source: str, text: str) -> bool:
    """Whether the source's tests fail on the changed text; a run that hangs counts as noticed."""
    path = copy_of / "smola_demo" / f"{source}.py"
    whole = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    tests = [f"tests/{name}" for name in SOURCES[source]]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy_of, env=environment, capture_output=True, timeout=TIMEOUT, check=False
        )
        return done.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(whole, encoding="utf-8")


def main() -> int:
    """Try a sample of all mutants; prints one JSON object with those that no test noticed."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--source", choices=SOURCES, action="append", help="only this source; may be repeated"
    )
    options.add_argument("--sample", type=int, default=0, help="so many mutants at random; 0 for all")
    options.add_argument("--seed", type=int, default=0, help="of the sample")
    options.add_argument("--minutes", type=float, default=600, help="begin no mutant after so long")
    args = options.parse_args()
    sources = args.source or list(SOURCES)
    every = [
        (source, *mutant)
        for source in sources
        for mutant in mutants((ROOT / "smola_demo" / f"{source}.py").read_text(encoding="utf-8"))
    ]
    chosen = random.Random(args.seed).sample(every, min(args.sample or len(every), len(every)))
    start, tried, missed = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        copy_of = Path(folder) / "project"
        shutil.copytree(ROOT, copy_of, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "runs"))
        for source in sources:
            if killed(copy_of, source, (copy_of / "smola_demo" / f"{source}.py").read_text(encoding="utf-8")):
                print(f"The tests of {source} fail as it is: mend that first.", file=sys.stderr)
                return 1
        for source, line, what, text in chosen:
            if time.monotonic() - start > 60 * args.minutes:
                break
            tried += 1
            if not killed(copy_of, source, text):
                missed.append(f"{source}.py:{line} {what}")
                print(missed[-1], file=sys.stderr)
    score = round(1 - len(missed) / tried, 3) if tried else None
    seconds = round(time.monotonic() - start, 1)
    print(
        json.dumps(
            {"mutants": len(every), "tried": tried, "score": score, "missed": missed, "seconds": seconds}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
