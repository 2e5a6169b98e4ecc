"""Looks: type, ground and a colour per expert group, for light and dark. Fonts are Gradio's own."""

from __future__ import annotations

from typing import Any

from gradio import themes
from gradio.themes.utils import colors, fonts, sizes
from starlette.middleware import Middleware

from smola_demo.plots import GROUP_COLOURS
from smola_demo.ui.limits import BodyLimit, OwnFiles
from smola_demo.ui.view import read_static, static_names


def theme() -> themes.Base:
    """A calm theme: ink on paper, no colour that is not a group's."""
    # Weight 600 as shipped lacks most letters, so bold is 700.
    sans = (fonts.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif")
    mono = ("ui-monospace", "Consolas", "monospace")
    return themes.Base(
        primary_hue=colors.slate,
        secondary_hue=colors.slate,
        neutral_hue=colors.slate,
        font=sans,
        font_mono=mono,
        radius_size=sizes.radius_md,
        spacing_size=sizes.spacing_md,
    ).set(
        body_text_color="#1b232d",
        body_text_color_dark="#e9eef4",
        body_text_color_subdued="#566170",
        body_text_color_subdued_dark="#a4afbc",
        block_info_text_color="#566170",
        block_info_text_color_dark="#a4afbc",
        block_title_text_color="#1b232d",
        block_title_text_color_dark="#e9eef4",
        input_placeholder_color="#6b7684",
        input_placeholder_color_dark="#8d98a6",
        body_background_fill="#f5f6f8",
        body_background_fill_dark="#0f1217",
        block_background_fill="#ffffff",
        block_background_fill_dark="#171b22",
        block_border_width="1px",
        block_border_color="#e3e7ec",
        block_border_color_dark="#2a303a",
        block_label_text_weight="700",
        block_title_text_weight="700",
        block_shadow="none",
        input_background_fill="#ffffff",
        input_border_color="#cfd6de",
        input_border_color_dark="#3a424e",
        input_border_width="1px",
        input_background_fill_dark="#11151b",
        checkbox_border_color="#7d8896",
        checkbox_border_color_dark="#8d98a6",
        checkbox_border_color_hover="#566170",
        checkbox_border_color_hover_dark="#c3ccd6",
        checkbox_background_color_dark="#11151b",
        button_primary_background_fill="#1d2733",
        button_primary_background_fill_dark="#e8edf3",
        button_primary_background_fill_hover="#33414f",
        button_primary_background_fill_hover_dark="#ffffff",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#12171e",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#20262f",
        button_secondary_border_color="#cfd6de",
        button_secondary_border_color_dark="#3a424e",
    )


def css() -> str:
    """Our style sheets, the common one first, the group colours in front as variables."""
    light = "".join(f"--{group}:{both['light']};" for group, both in GROUP_COLOURS.items())
    dark = "".join(f"--{group}:{both['dark']};" for group, both in GROUP_COLOURS.items())
    sheets = sorted(static_names(".css"), key=lambda name: (name != "style.css", name))
    return f":root{{{light}}}\n.dark{{{dark}}}\n" + "\n".join(map(read_static, sheets))


# Gradio keeps, for every page and every call, a copy of the page and its last run: 0.3 to 1 MB.
MOST_SESSIONS = 64


def launch_kwargs() -> dict[str, Any]:
    """What `Blocks.launch` must be told for this page, wherever it is started."""
    return {
        "theme": theme(),
        "css": css(),
        "ssr_mode": False,
        "max_file_size": "10mb",
        "app_kwargs": {"middleware": [Middleware(BodyLimit), Middleware(OwnFiles)]},
        "state_session_capacity": MOST_SESSIONS,
        "enable_monitoring": False,  # figures on all visitors, open to each of them
        "run_history": False,  # would keep pictures and answers in the browser beyond the visit
        "footer_links": ["api", "gradio", "settings"],
        "show_error": False,
    }
