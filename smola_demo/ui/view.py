"""Parts of the page that draw themselves in the browser from JSON: our only way to put data on screen.

A view is a fixed HTML template and a script in static/. The value is a JSON string, so that a streamed update
replaces it whole instead of cell by cell, and the script writes text with textContent only: nothing a user
or a model wrote becomes markup.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import plotly

STATIC = files("smola_demo.ui") / "static"
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def read_static(name: str) -> str:
    """Text of a file of ours."""
    return (STATIC / name).read_text(encoding="utf-8")


def static_names(suffix: str) -> list[str]:
    """Our files of one kind, sorted."""
    return sorted(file.name for file in STATIC.iterdir() if file.name.endswith(suffix))


def encode(value: Any) -> str:
    """A view's value. Angle brackets become escapes, so that no markup stands in the page's configuration.

    Raises TypeError on NaN and infinities.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:  # a bug of ours, so not a ValueError, which would be shown to the visitor
        raise TypeError("a view's value holds a number that JSON has not") from error
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def decode(value: Any) -> dict[str, Any]:
    """A view's value as the browser sends it back; {} for whatever else it sends."""
    try:
        found = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def file_url(path: Path) -> str:
    """Address of one of our static files, relative to the page, so that it holds behind a prefix."""
    return f"gradio_api/file={path.resolve().as_posix()}?v={path.stat().st_mtime_ns:x}"


def view(
    name: str,
    value: Any,
    *,
    label: str,
    elem_id: str,
    scripts: tuple[str, ...] = (),
    facts: dict[str, Any] | None = None,
    **shown: Any,
) -> gr.HTML:
    """One view: static/NAME.html and static/NAME.js.

    scripts  further files of static/, run before NAME.js in the same scope
    facts    what the scripts find in `props` beside the value, the same for the life of the page
    shown    further settings of gr.HTML
    """
    # Not as settings of gr.HTML: a view whose tab opens after its value came is mounted without them.
    known = encode({"plotly_src": file_url(PLOTLY_JS), **(facts or {})})
    prefix = f"props = Object.assign(Object.create(props), {known});"
    return gr.HTML(
        encode(value),
        label=label,
        html_template=read_static(f"{name}.html"),
        js_on_load="\n".join([prefix, *map(read_static, ("shared.js", *scripts, f"{name}.js"))]),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["view", f"view-{name}"],
        **shown,
    )


def serve_files(paths: list[Path]) -> None:
    """Let the page fetch these files and no others."""
    gr.set_static_paths([PLOTLY_JS, *paths])
