"""The command line on the tiny backbone, as a process of its own: to be launched several times, or killed.

python tests/tiny_run.py ARGUMENTS OF smola_demo …
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tiny import tiny_backbone
from tiny_experts import tiny_engine

from smola_demo import commands
from smola_demo import train as training
from smola_demo.__main__ import main


def run(*arguments: str) -> int:
    """One command; the exit code."""
    training.load_backbone = lambda *_args, **_kwargs: tiny_backbone()
    commands.load_engine = lambda _options: tiny_engine()
    return main(arguments)


def run_and_die(folder: str, step: int, delay: float, *arguments: str) -> None:
    """One command in `folder`, killed as by `kill -9` some seconds after it logged that step or a later."""
    os.chdir(folder)
    written = training._Log.write
    dying = []

    def write(self, now, *values):
        written(self, now, *values)
        if 0 < step <= now and not dying:  # the run before may have come further than where it was to die
            dying.append(now)
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

    training._Log.write = write
    sys.exit(run(*arguments))


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
