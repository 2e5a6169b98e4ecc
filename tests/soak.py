"""Several visitors at once for minutes, each answer held against the one given alone: python tests/soak.py

The app runs on the loopback in a process of its own, whose memory is read from outside. Stops by itself and
prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from asking import Visitor  # noqa: E402  the path comes first
from browsing import free_port  # noqa: E402  the path comes first

MARK = {"_type": "gradio.FileData"}
TOKENS = 6
# (task, question, ablation): what every visitor asks about every picture
QUESTIONS = (
    ("caption", "", ""),
    ("caption", "", "visual:3"),
    ("vqa", "What is it?", "renormalize!text:*"),
    ("count", "How many?", "mean!multimodal:0-2@1"),
    ("ask", "What do you see?", "*:*"),
)
BAD = (("vqa", "", ""), ("caption", "", "visual:99"), ("paint", "", ""))
LOAD_SECONDS, READ_SECONDS = 300, 2.0


@dataclass
class Tally:
    """What came of all calls; `wrong` and `errors` should stay empty."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def ask(http: httpx.Client, path: str, asked: tuple[str, str, str], leave: float = 0.0) -> tuple[str, Any]:
    """One call of the endpoint: ("complete", its result), ("error", a sentence), ("busy", …) or ("left", …).

    leave  go away after so many seconds, whatever has come by then; 0 for staying
    """
    data = [{"path": path, "meta": MARK}, *asked, TOKENS]
    call = http.post("gradio_api/call/ask", json={"data": data})
    if call.status_code == 503:
        return "busy", call.json()
    call.raise_for_status()
    began, kind = time.monotonic(), ""
    with http.stream("GET", f"gradio_api/call/ask/{call.json()['event_id']}") as lines:
        for line in lines.iter_lines():
            if leave and time.monotonic() - began > leave:
                return "left", None
            if line.startswith("event:"):
                kind = line.removeprefix("event:").strip()
            elif line.startswith("data:") and kind in ("complete", "error"):
                return kind, json.loads(line.removeprefix("data:"))
    return "error", "the answer broke off"


def essence(report: dict[str, Any]) -> str:
    """What must be the same each time: the words, how sure the model was, and the experts' part in it."""
    routing = report["routing"].get("prompt", {})
    weights = {group: np.round(one["mean_weight"], 4).tolist() for group, one in routing.items()}
    kept = (report["answer"], round(report["logprob"], 3), report["ablation"], weights)
    return json.dumps(kept, sort_keys=True)


def visit(
    address: str, pictures: dict[str, bytes], alone: dict[Any, str], until: float, seed: int, tally: Tally
):
    """One visitor: good and bad questions, some left before the answer, some stopped on the page."""
    rng = random.Random(seed)
    visitor = Visitor(address, f"soak-{seed}")
    paths = {name: visitor.upload(name, data).json()[0] for name, data in pictures.items()}
    while time.monotonic() < until:
        name, asked = rng.choice(list(paths)), rng.choice(QUESTIONS)
        draw, start = rng.random(), time.monotonic()
        try:
            if draw < 0.1:
                kind, told = ask(visitor.http, paths[name], rng.choice(BAD))
                tally.counts["refused" if kind == "error" else f"{kind}, though bad"] += 1
                if kind == "complete" or "Traceback" in str(told):
                    tally.errors.append(str(told)[:200])
            elif draw < 0.2:
                tally.counts[ask(visitor.http, paths[name], asked, leave=0.2)[0]] += 1
            elif draw < 0.3:
                # A page of its own: Gradio may lose the stream of a session that joins as its last one ends.
                visitor.session = f"soak-{seed}-{rng.random()}"
                tally.counts[stopped(visitor, paths[name])] += 1
            else:
                kind, told = ask(visitor.http, paths[name], asked)
                tally.counts[kind] += 1
                if kind == "complete":
                    tally.seconds.append(time.monotonic() - start)
                    if essence(told[0]) != alone[name, asked]:
                        tally.wrong.append(f"{name} {asked}: {essence(told[0])[:100]}")
                elif kind == "error":
                    tally.errors.append(str(told)[:200])
        except httpx.HTTPError as error:
            tally.errors.append(f"{type(error).__name__}: {error}"[:200])
    visitor.http.close()


def stopped(visitor: Visitor, path: str) -> str:
    """A run on the page that is stopped as soon as it is announced; how it ended."""
    announced = visitor.announce()
    joined = visitor.join("ask_1", {"path": path, "meta": MARK}, "caption", "", announced)
    visitor.at_once("stop")
    if joined.status_code == 503:
        visitor.at_once("refused", announced)
        return "busy"
    states = [event for event in visitor.events() if event["msg"] == "process_completed"]
    return "stopped" if states and states[-1]["success"] else "stop failed"


def soak(
    address: str, pictures: dict[str, bytes], seconds: float, visitors: int = 8, process: Any = None
) -> dict[str, Any]:
    """Ask everything alone, then let visitors ask at once for so many seconds. → figures

    process  a psutil.Process whose memory is read meanwhile
    """
    with contextlib.closing(httpx.Client(base_url=address, timeout=300)) as http:
        alone = {}
        for name, data in pictures.items():
            (path,) = http.post("gradio_api/upload", files={"files": (name, data)}).json()
            for asked in QUESTIONS:
                kind, told = ask(http, path, asked)
                if kind != "complete":
                    raise RuntimeError(f"{asked} failed alone: {told}")
                alone[name, asked] = essence(told[0])
    tally, start = Tally(), time.monotonic()
    threads = [
        threading.Thread(target=visit, args=(address, pictures, alone, start + seconds, seed, tally))
        for seed in range(visitors)
    ]
    for thread in threads:
        thread.start()
    memory: list[tuple[float, float]] = []
    while any(thread.is_alive() for thread in threads):
        if process is not None:
            memory.append((time.monotonic() - start, process.memory_info().rss / 1e6))
        time.sleep(min(READ_SECONDS, seconds / 10))
    found = {
        "visitors": visitors,
        "seconds": round(time.monotonic() - start, 1),
        "different_answers": len(set(alone.values())),
        "calls": dict(tally.counts),
        "wrong": tally.wrong,
        "errors": dict(Counter(tally.errors)),
        "answer_seconds": spread(tally.seconds),
    }
    return found | ({"rss_mb": slope(memory)} if memory else {})


def spread(values: list[float]) -> dict[str, float]:
    """Median and largest."""
    return {"median": round(float(np.median(values)), 2), "max": round(max(values), 2)} if values else {}


def slope(memory: list[tuple[float, float]]) -> dict[str, float]:
    """First, last and peak resident megabytes, and their growth per hour over the last two thirds."""
    at, held = np.array(memory).T
    warm = at >= at[-1] / 3
    growth = np.polyfit(at[warm], held[warm], 1)[0] * 3600 if warm.sum() > 2 else float("nan")
    figures = {"first": held[0], "warm": held[warm][0], "last": held[-1], "peak": held.max()}
    return {name: round(float(value), 1) for name, value in (figures | {"growth_per_hour": growth}).items()}


def main() -> int:
    """Serve the embedded model, soak it, print the figures. Exit code 1 if an answer was wrong."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=20.0, help="how long (20)")
    options.add_argument("--visitors", type=int, default=8, help="how many at once (8)")
    args = options.parse_args()
    pictures = {f"{name}.jpg": (ROOT / "assets" / f"{name}.jpg").read_bytes() for name in ("cat", "coffee")}
    port = free_port()
    own = tempfile.TemporaryDirectory()  # another app of this machine would clear the common one when it ends
    app = subprocess.Popen(
        [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,
        stdout=sys.stderr,
        env=os.environ | {"GRADIO_TEMP_DIR": own.name},
    )
    try:
        address, began = f"http://127.0.0.1:{port}/", time.monotonic()
        while not loaded(address):
            if app.poll() is not None or time.monotonic() > began + LOAD_SECONDS:
                print("The app did not come up: its output is above.", file=sys.stderr)
                return 1
            time.sleep(1)
        ready = round(time.monotonic() - began, 1)
        found = {"ready_seconds": ready} | soak(
            address, pictures, 60 * args.minutes, args.visitors, psutil.Process(app.pid)
        )
    finally:
        app.terminate()
        app.wait(60)
        own.cleanup()
    print(json.dumps(found, indent=1))
    return int(bool(found["wrong"] or found["errors"]))


def loaded(address: str) -> bool:
    """Whether the model behind a page can answer."""
    try:
        with httpx.Client(base_url=address, timeout=10) as http:
            return http.post("gradio_api/run/info", json={"data": []}).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main())
