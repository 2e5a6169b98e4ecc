"""Start the web page: `python app.py`. The page is there at once and the model loads behind it."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

try:
    import spaces  # type: ignore[import-not-found]  # only on a Hugging Face Space; must come before torch
except ImportError:
    spaces = None

from smola_demo.config import PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smola_demo.results import EngineInfo
    from smola_demo.ui.loading import Engine, Report
    from smola_demo.ui.models import Models

GPU_SECONDS = 120
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EXAMPLES = """examples:
  python app.py                                    the embedded model on http://127.0.0.1:7860
  python app.py --port 8000 --host 0.0.0.0         reachable from other machines
  python app.py --experts none                     the plain backbone, no experts
  python app.py --experts checkpoints/mine --precision nf4
  python app.py --backbone HuggingFaceTB/SmolVLM-256M-Instruct --experts untrained
  python app.py --mcp                              also offer ask, sweep and info to MCP clients

environment:
  PORT or GRADIO_SERVER_PORT     port, where --port is not given
  GRADIO_ROOT_PATH               prefix, behind a proxy
  GRADIO_TEMP_DIR                folder for uploaded pictures (one of the app's own, gone when it ends)
  SMOLA_BACKBONES                backbones that may be loaded, separated by commas (any on this machine's own
                                 page; on one for others, only what it was started with)
  SMOLA_EXPERTS                  experts of the hub that are offered for these backbones
  SMOLA_VISUAL_TOKENS            most visual tokens of a picture in Qwen models (512)"""


def parser() -> argparse.ArgumentParser:
    """The command line of the page."""
    found = argparse.ArgumentParser(
        prog="app.py",
        description="Ask a small vision-language model about a picture and see its experts at work.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--host", default=None, help="address to listen on (127.0.0.1; 0.0.0.0 on a Space)")
    found.add_argument(
        "--port", type=port, default=None, help="port to listen on (7860 or the next free one)"
    )
    found.add_argument(
        "--backbone", default="embedded", metavar="ID", help="embedded, a hub id or a folder (embedded)"
    )
    found.add_argument(
        "--experts", default="", metavar="NAME|PATH|none|untrained", help="experts (the backbone's own)"
    )
    found.add_argument(
        "--precision", default="auto", choices=("auto", *PRECISIONS), help="of the weights (auto)"
    )
    found.add_argument(
        "--mcp", action="store_true", help="also serve MCP at /gradio_api/mcp/ (needs the package mcp)"
    )
    return found


def port(text: str) -> int:
    """A port number from text. Raises argparse.ArgumentTypeError."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not '{text}'")
    return int(text)


def address(args: argparse.Namespace) -> tuple[str, int | None]:
    """Where to listen: as asked for, else by the environment, else our defaults. None: Gradio picks one."""
    host = (
        args.host
        or os.environ.get("GRADIO_SERVER_NAME")
        or ("0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1")  # noqa: S104  a Space needs it
    )
    given = os.environ.get("PORT") or os.environ.get("GRADIO_SERVER_PORT")
    return host, args.port or (port(given) if given else None)


def engine_builder(args: argparse.Namespace) -> Callable[[Report], Engine]:
    """A function that loads the engine; torch is imported when it runs, not before."""

    def build(report: Report) -> Engine:
        from smola_demo.engine import Engine

        return Engine.load(
            backbone=args.backbone, experts=args.experts, precision=args.precision, progress=report
        )

    return build


def variants(info: EngineInfo) -> dict[str, Callable[[], Engine]]:
    """Every checkpoint made for the backbone in every precision, to compare with what is loaded."""
    from smola_demo.engine import Engine
    from smola_demo.experts import checkpoint_names

    names = {name: name for name in checkpoint_names(info.backbone)}
    folders = names | {info.experts: info.folder or info.experts}
    return {
        f"{name} in {precision}": partial(Engine.load, info.backbone, folder, precision)
        for name, folder in folders.items()
        for precision in PRECISIONS
    }


def models_builder(args: argparse.Namespace, local: bool) -> Callable[[], Models]:
    """A function that says what else can be loaded; torch is imported when it runs, not before."""

    def build() -> Models:
        from smola_demo.catalogue import Catalogue

        return Catalogue(args.backbone, args.experts, local)

    return build


def is_local(host: str) -> bool:
    """Whether only this machine reaches the page: it listens here, and no proxy is named."""
    hosted = os.environ.get("SPACE_ID") or os.environ.get("GRADIO_ROOT_PATH")
    return host in LOOPBACK and not hosted


def mcp_missing() -> str:
    """What stands in the way of serving MCP, in one sentence; empty when nothing does."""
    if importlib.util.find_spec("mcp") is None:
        return "--mcp needs the package mcp: install it with pip install 'gradio[mcp]'."
    return ""


def gpu(run: Callable[..., Any]) -> Callable[..., Any]:
    """On ZeroGPU a generator that uses the model asks for the GPU; elsewhere it stays as it is."""
    return run if spaces is None else spaces.GPU(duration=GPU_SECONDS)(run)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until interrupted. Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    commands = parser()
    args = commands.parse_args(argv)
    try:
        host, number = address(args)
    except argparse.ArgumentTypeError as error:
        commands.error(f"PORT or GRADIO_SERVER_PORT: {error}")
    if args.mcp and (missing := mcp_missing()):
        print(missing, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="smola_demo-") as own:
        # Gradio's usual folder is shared: an app that ends would delete what another was just given. It is
        # read when Gradio is imported, so that comes after.
        os.environ.setdefault("GRADIO_TEMP_DIR", os.path.realpath(own))
        return serve(args, host, number)


def serve(args: argparse.Namespace, host: str, number: int | None) -> int:
    """The page on a host and port until interrupted, the model loading behind it. Returns the exit code."""
    from smola_demo import ui

    # A worker that ZeroGPU forks cannot change the model of the process that it came from.
    models = None if os.environ.get("SPACES_ZERO_GPU") else models_builder(args, is_local(host))
    handle = ui.EngineHandle(engine_builder(args), variants, models)
    try:
        page = ui.build(handle, gpu=gpu)
        if os.environ.get("SPACES_ZERO_GPU"):
            handle.load()  # ZeroGPU forks its workers from this process, so the model has to be in it first
        else:
            handle.start()
        page.launch(server_name=host, server_port=number, mcp_server=args.mcp or None, **ui.launch_kwargs())
    except (OSError, ValueError) as error:  # Gradio finds its own page not answering: a ValueError
        print(f"The page could not be served on {host}:{number or 7860}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped or interrupted: it cleans up
    sys.exit(main())
