"""Thousands of damaged pictures through the reader of uploads: a picture or one sentence, soon."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from fuzzing import CASES, mutations, one_sentence
from PIL import Image

from smola_demo.data.images import MAX_SIDE, ImageError, open_image
from smola_demo.ui.examples import uploaded

SECONDS = 5.0


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
    noise[10:30] = noise[10, :1]  # something to predict, so that every coder uses its tricks
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def moving(kind: str) -> bytes:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "teal", "gold")]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=40)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif, icc_profile=bytes(200), comment=b"a comment")


WHOLE = {
    "PNG": [encoded("PNG"), encoded("PNG", "P"), encoded("PNG", "RGBA"), encoded("PNG", "I;16")],
    "JPEG": [encoded("JPEG"), encoded("JPEG", "CMYK"), encoded("JPEG", progressive=True), turned()],
    "WEBP": [encoded("WEBP"), encoded("WEBP", "RGBA", lossless=True), moving("WEBP")],
    "GIF": [encoded("GIF", "P"), moving("GIF")],
    "others": [moving("PNG"), encoded("BMP"), encoded("TIFF", compression="tiff_lzw"), encoded("TIFF", "F")],
}  # fmt: skip


def tried(source) -> bool:
    """Whether it was a picture after all; anything but a picture or an ImageError fails the test."""
    start = time.thread_time()
    try:
        image = open_image(source) if isinstance(source, bytes) else uploaded(source)
    except ImageError as error:
        image, said = None, str(error)
    assert time.thread_time() - start < SECONDS
    if image is None:
        assert one_sentence(said), said
        return False
    assert image.mode == "RGB"
    assert max(image.size) <= MAX_SIDE
    return True


@pytest.mark.parametrize("kind", WHOLE)
def test_a_damaged_picture_is_a_picture_or_one_sentence(kind):
    assert all(tried(data) for data in WHOLE[kind])
    opened = sum(tried(data) for data in mutations(WHOLE[kind], CASES // len(WHOLE)))
    assert 0 < opened < CASES // len(WHOLE)


def test_the_way_of_an_upload_is_the_same(tmp_path, monkeypatch):
    """By a file in the upload folder, under a name that is markup."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = tmp_path / "<b>.png"
    for data in mutations(WHOLE["PNG"] + WHOLE["JPEG"], 60, seed=1):
        path.write_bytes(data)
        tried({"path": str(path)})
