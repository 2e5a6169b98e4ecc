"""Nine pictures that break other programs, through the whole command line: an answer, or one sentence."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tiny_experts import tiny_engine

from smola_demo import commands
from smola_demo.__main__ import main


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize((96, 64)).convert(mode)


def huge_png() -> bytes:
    """A few bytes that claim 30,000 × 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(photo(), "JPEG", exif=exif)


ANSWERED = {
    "animated.gif": encoded(photo("P"), "GIF", save_all=True, append_images=[photo("P")] * 3, loop=0),
    "cmyk.jpg": encoded(photo("CMYK"), "JPEG"),
    "sixteen_bit.png": encoded(
        Image.fromarray((np.arange(96 * 64).reshape(64, 96) * 10).astype(np.uint16)), "PNG"
    ),
    "alpha.png": encoded(photo("RGBA"), "PNG"),
    "rotated.jpg": rotated(),
    "one_pixel.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
}
REFUSED = {
    "corrupt.jpg": encoded(photo(), "JPEG")[:200],
    "text.png": b"Dear reader, I am no picture.",
    "empty.png": b"",
    "huge.png": huge_png(),
}


@pytest.fixture
def engine(monkeypatch):
    made = tiny_engine()
    monkeypatch.setattr(commands, "load_engine", lambda _options: made)


@pytest.mark.parametrize("name", ANSWERED)
def test_is_answered(engine, capsys, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(ANSWERED[name])
    assert main(["ask", str(path), "--task", "caption", "--max-new-tokens", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"]


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_in_one_sentence(engine, capsys, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(REFUSED[name])
    assert main(["ask", str(path), "--task", "caption"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("smola_demo: ")
