"""Open whatever a user hands us as a picture, safely: one RGB image or one clear sentence.

The size is checked from the header before a single pixel is decoded.
"""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 200_000_000
MAX_SIDE = 2048

# No format that runs a program (EPS) or nests other files (ICO), none recognised by its name only.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
# Silencing warnings changes process-wide state, so only one thread does it at a time.
_LOCK = threading.Lock()


class ImageError(ValueError):
    """A picture that cannot be used; the message is one sentence for the user."""


def open_image(source: str | Path | bytes | Image.Image) -> Image.Image:
    """One RGB picture of at most 2048 px a side: the first frame, upright, transparency over white.

    Raises ImageError when the file is missing, empty, no picture, damaged or larger than 50 megapixels.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(source, Image.Image):
            return _decode(source, "The picture")
        name, data = _bytes_of(source)
        try:
            with Image.open(io.BytesIO(data), formats=_known_formats()) as image:
                return _decode(image, name)
        except ImageError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large(name) from error
        except Exception as error:  # a decoder fed hostile bytes may raise anything
            raise ImageError(
                f"{name} is not a picture that can be read: use a PNG, JPEG, WebP or GIF file."
            ) from error


def _bytes_of(source: str | Path | bytes) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        name, data = "The picture", source
    elif isinstance(source, (str, Path)):
        path = Path(source)
        name = path.name or str(path)
        try:
            if not path.is_file():
                raise ImageError(f"There is no picture at {path}: check the path.")
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ImageError(
                    f"{name} is larger than {MAX_FILE_BYTES // 1_000_000} MB: use a smaller file."
                )
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"{name[:80]!r} cannot be read: check its name and permissions.") from error
    else:
        raise ImageError(f"A picture must be a path, bytes or a PIL image, not {type(source).__name__}.")
    if not data:
        raise ImageError(f"{name} is empty: choose another picture.")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{name} is larger than {MAX_FILE_BYTES // 1_000_000} MB: use a smaller file.")
    return name, data


def _known_formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _too_large(name: str, size: tuple[int, int] | None = None) -> ImageError:
    found = f" ({size[0]} x {size[1]} pixels)" if size else ""
    return ImageError(
        f"{name} is too large{found}: scale it down to {MAX_PIXELS // 1_000_000} megapixels or fewer."
    )


def _decode(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels: choose another picture.")
    if width * height > MAX_PIXELS:
        raise _too_large(name, (width, height))
    try:
        if getattr(image, "is_animated", False):
            image.seek(0)
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))  # large JPEGs decode straight to a smaller size
        image.load()
    except Exception as error:
        raise ImageError(f"{name} is damaged or cut off: save it again or choose another picture.") from error
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise _too_large(name, image.size)
    return _rgb(_fit(_upright(_eight_bit(image))))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  broken EXIF must not cost the user the picture
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Modes with more than 8 bits a channel, scaled to 8; PIL itself would clip them to white."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" or low < 0 or high > 65535:
        values = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    elif high > 255 or image.mode != "I":
        values = values / 257.0
    eight = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    eight.info = {key: image.info[key] for key in ("exif",) if key in image.info}
    return eight


def _fit(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest <= MAX_SIDE:
        return image
    size = (max(1, round(image.width * MAX_SIDE / longest)), max(1, round(image.height * MAX_SIDE / longest)))
    if image.mode in ("1", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGBA" if _has_alpha(image) else "RGB")
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _ALPHA or "transparency" in image.info


def _rgb(image: Image.Image) -> Image.Image:
    """A plain RGB image, transparent parts on white, without the file it came from."""
    if _has_alpha(image):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    plain = image.convert("RGB")
    plain.info = {}
    return plain
