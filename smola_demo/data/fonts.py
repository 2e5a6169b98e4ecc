"""Type faces for drawn pictures: Pillow's own, matplotlib's when it is installed, and the system's.

Nothing here imports matplotlib: its fonts are found as files. The same machine always gives the same list.
"""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PIL import ImageFont

if TYPE_CHECKING:
    import random

BUILT_IN = "PillowDefault"
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
# Text faces with all of printable ASCII; symbol and mathematics fonts draw boxes or signs instead of letters.
_TEXT_FACE = re.compile(
    r"^(DejaVu(Sans|Serif|SansMono)(Condensed)?|STIXGeneral|Liberation(Sans|SansNarrow|Serif|Mono)"
    r"|Free(Sans|Serif|Mono)|Noto(Sans|Serif|SansMono|Mono)|OpenSans|Roboto(Mono|Slab|Condensed)?|Lato"
    r"|Ubuntu(Mono)?|FiraCode|Carlito|Caladea|Source(SansPro|SerifPro|CodePro)|FiraSans|FiraMono"
    r"|[Aa]rial|[Vv]erdana|[Gg]eorgia|[Tt]ahoma|[Tt]imes|[Cc]our(ier)?|[Cc]alibri|[Cc]onsola|[Tt]rebuc(MS)?)"
    r"(bd|bi|[biz]|-?(Regular|Retina|Book|Roman|Light|Medium|SemiBold|Bold|Italic|Oblique|Bol|BolIta|BoldItalic"
    r"|BoldOblique))?$"
)
# Faces that training never sees; DejaVu Serif comes with matplotlib.
_HELD_OUT = re.compile(r"^(DejaVuSerif|LiberationSansNarrow|Caladea|[Gg]eorgia|RobotoSlab|FiraCode)")
_FIXED_WIDTH = re.compile(r"Mono|Code|^[Cc]our|^[Cc]onsola")


def _matplotlib_folder() -> Path | None:
    try:
        spec = importlib.util.find_spec("matplotlib")
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "mpl-data" / "fonts" / "ttf" if places else None


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Face name → file, sorted by name; the first folder that has a face wins."""
    found: dict[str, Path] = {}
    mpl = _matplotlib_folder()
    for folder in [*([mpl] if mpl else []), *(Path(name).expanduser() for name in FOLDERS)]:
        if folder.is_dir():
            for path in sorted([*folder.rglob("*.ttf"), *folder.rglob("*.otf")]):
                if _TEXT_FACE.match(path.stem) and path.stem not in found and _usable(path):
                    found[path.stem] = path
    return dict(sorted(found.items()))


def _usable(path: Path) -> bool:
    try:
        return ImageFont.truetype(path, 12).getlength("Ag") > 0
    except (OSError, ValueError):
        return False


def held_out(face: str) -> bool:
    """Whether training never draws with this face."""
    return bool(_HELD_OUT.match(face))


@lru_cache(maxsize=4)
def faces(split: str) -> tuple[str, ...]:
    """Faces a split draws with: dev with those held out alone, or, on a machine that has none, with all."""
    kept = tuple(face for face in _files() if held_out(face))
    if split == "dev" and kept:
        return kept
    return (BUILT_IN, *(face for face in _files() if not held_out(face)))


def pick(rng: random.Random, split: str, mono: bool | None = None) -> str:
    """One face of the split, of fixed width if `mono` is True, proportional if False, where there is one."""
    choices = faces(split)
    if mono is not None:
        choices = tuple(face for face in choices if bool(_FIXED_WIDTH.search(face)) == mono) or choices
    return rng.choice(choices)


def can_draw(face: str, text: str) -> bool:
    """Whether the face has a sign for every character; Pillow's own has ASCII only."""
    return face != BUILT_IN or text.isascii()


@lru_cache(maxsize=512)
def font(face: str, size: int) -> ImageFont.FreeTypeFont:
    """The face at a size in pixels. Raises KeyError for a face that is not there."""
    if face == BUILT_IN:
        # a size always gives the scalable one
        return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size))
    return ImageFont.truetype(_files()[face], size)
