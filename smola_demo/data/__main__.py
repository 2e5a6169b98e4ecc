"""Write suites for `python -m smola_demo evaluate --suite`: `python -m smola_demo.data FOLDER`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from smola_demo.data import GENERATORS
from smola_demo.data.devset import held_out_suite, make_suite

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = """examples:
  python -m smola_demo.data suites                          200 rows of every generator
  python -m smola_demo.data suites --n 50 --only shapes     50 rows on drawn shapes
  python -m smola_demo.data suites --hold-out rows.jsonl    the development tenth of your own rows
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 when done, 1 when it failed with a reason; wrong usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m smola_demo.data",
        description="Write suites for `evaluate`: drawn pictures, or the development share of a file.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the suites go")
    parser.add_argument("--n", type=int, default=200, metavar="N", help="rows per suite (default 200)")
    parser.add_argument(
        "--split", choices=("dev", "train"), default="dev", help="which split to draw (default dev)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=tuple(GENERATORS), default=(), help="only these generators"
    )
    parser.add_argument(
        "--hold-out", nargs="+", type=Path, default=(), metavar="ROWS.jsonl", help="files of your own"
    )
    options = parser.parse_args(arguments)
    try:
        files = [
            held_out_suite(path, options.folder / f"{_name(path)}.jsonl", options.n)
            for path in options.hold_out
        ]
        if options.only or not options.hold_out:
            names = options.only or tuple(GENERATORS)
            with tqdm(total=options.n * len(names), unit="row", desc="drawing") as bar:
                files += make_suite(options.folder, names, options.n, options.split, bar.update)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201  the reason, for whoever typed the command
        return 1
    print("\n".join(map(str, files)))  # noqa: T201  the result
    return 0


def _name(path: Path) -> str:
    """A suite's name: the file's, or its folder's where the file is called data.jsonl like many others."""
    return path.resolve().parent.name if path.stem == "data" else path.stem


if __name__ == "__main__":
    sys.exit(main())
