"""Whatever a user hands us: a plain RGB picture or one sentence, quickly, without a warning."""

from __future__ import annotations

import io
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from smola_demo.data import images
from smola_demo.data.images import MAX_SIDE, ImageError


def open_image(source) -> Image.Image:
    """The function under test; no input, however bad, may take a second of this thread's time."""
    start = time.thread_time()
    try:
        return images.open_image(source)
    finally:
        assert time.thread_time() - start < 1.0


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """Left half red, right half blue, top row green: its orientation is visible."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2] = (255, 0, 0)
    pixels[:, width // 2 :] = (0, 0, 255)
    pixels[: height // 4] = (0, 255, 0)
    return Image.fromarray(pixels)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """A valid PNG of 30,000 × 30,000 px in 2.7 MB: 2.7 GB once decoded."""
    squeeze = zlib.compressobj(9)
    row = b"\x00" * (1 + 3 * 30_000)
    pixels = b"".join(squeeze.compress(row) for _ in range(300)) + squeeze.flush()
    return png_header(30_000, 30_000, chunk(b"IDAT", pixels))


def test_corrupt_picture():
    data = bytearray(encoded(photo(), "PNG"))
    data[60:90] = b"\xff" * 30
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(bytes(data))


def test_text_file_named_png(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("buy milk\n" * 50)
    with pytest.raises(ImageError, match=r"^notes\.png is not a picture that can be read"):
        open_image(path)


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 8_000), (2_000_000_000, 2_000_000_000)])
def test_huge_png_is_refused_from_its_header(size, monkeypatch):
    def never(*_):
        raise AssertionError("decoded a picture that is too large")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", never)
    data = bomb() if size == (30_000, 30_000) else png_header(*size, chunk(b"IDAT", b""))
    with pytest.raises(ImageError, match=r"too large.*50 megapixels"):
        open_image(data)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(ImageError, match=r"^empty\.jpg is empty"):
        open_image(path)
    with pytest.raises(ImageError, match="is empty"):
        open_image(b"")


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue", "green")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    image = open_image(data)
    assert image.getpixel((5, 5)) == (255, 0, 0)
    moved = Image.open(io.BytesIO(data))
    moved.seek(2)
    assert open_image(moved).getpixel((5, 5)) == (255, 0, 0)


def test_cmyk_jpeg():
    image = open_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = image.getpixel((8, 8))
    assert image.mode == "RGB"
    assert red > 240
    assert max(green, blue) < 15


def test_sixteen_bit_png_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    out = np.asarray(open_image(encoded(Image.fromarray(ramp), "PNG")))
    assert np.abs(out[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert (out[..., 0] == out[..., 2]).all()


def test_float_tiff_is_spread_over_the_range():
    ramp = np.linspace(-3.0, 7.0, 11, dtype=np.float32)[None].repeat(3, axis=0)
    out = np.asarray(open_image(encoded(Image.fromarray(ramp), "TIFF")))
    assert out[0, 0, 0] == 0
    assert out[0, 10, 0] == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(mode):
    layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    layer.paste((0, 0, 0, 255), (0, 0, 4, 8))
    image = open_image(encoded(layer.convert(mode), "PNG"))
    assert image.getpixel((1, 4)) == (0, 0, 0)
    assert image.getpixel((6, 4)) == (255, 255, 255)


def test_half_transparent_black_becomes_grey():
    image = open_image(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG"))
    assert image.getpixel((2, 2)) == (127, 127, 127)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation):
    """Undo what the tag says with plain transpositions, then compare."""
    upright = photo()
    stored = {
        1: lambda im: im,
        2: lambda im: im.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda im: im.rotate(180),
        4: lambda im: im.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda im: im.transpose(Image.Transpose.TRANSPOSE),
        6: lambda im: im.rotate(90, expand=True),
        7: lambda im: im.transpose(Image.Transpose.TRANSVERSE),
        8: lambda im: im.rotate(-90, expand=True),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(encoded(stored, "PNG", exif=exif))
    assert image.size == upright.size
    assert np.array_equal(np.asarray(image), np.asarray(upright))


def test_broken_exif_does_not_cost_the_picture():
    image = open_image(encoded(photo(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"))
    assert image.size == (64, 48)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA"])
def test_one_pixel(mode):
    image = open_image(encoded(Image.new(mode, (1, 1)), "PNG"))
    assert (image.size, image.mode) == ((1, 1), "RGB")


def test_cut_off_jpeg():
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    with pytest.raises(ImageError, match="damaged or cut off"):
        open_image(data[: len(data) // 2])


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_text_chunk_bomb(kind):
    """A few kB of text chunk that would unpack to 100 MB."""
    squeezed = zlib.compress(b"\x00" * 100_000_000)
    text = b"k\x00\x00" + squeezed if kind == b"zTXt" else b"k\x00\x01\x00\x00\x00" + squeezed
    with pytest.raises(ImageError):
        open_image(png_header(4, 4, chunk(kind, text), chunk(b"IDAT", zlib.compress(b"\x00" * 52))))


def test_postscript_is_never_run():
    with pytest.raises(ImageError, match="not a picture"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")


@pytest.mark.parametrize(("source", "message"), [
    ("no/such/file.png", "no picture at"),
    ("", "no picture at"),
    ("a\x00b.png", "picture"),
    ("x" * 5000, "picture|cannot be read"),
    (None, "not NoneType"),
    (7, "not int"),
])  # fmt: skip
def test_what_is_no_picture_at_all(source, message):
    with pytest.raises(ImageError, match=message):
        open_image(source)


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(ImageError, match="no picture at"):
        open_image(tmp_path)


def test_every_message_is_one_sentence(tmp_path):
    for source in (b"", b"abc", tmp_path, bomb(), 3):
        with pytest.raises(ImageError) as caught:
            open_image(source)
        message = str(caught.value)
        assert "\n" not in message
        assert message.endswith(".")


@pytest.mark.parametrize(("size", "expected"), [
    ((4000, 1000), (2048, 512)),
    ((1000, 3000), (683, 2048)),
    ((30_000, 1), (2048, 1)),
    ((2048, 2048), (2048, 2048)),
])  # fmt: skip
def test_large_pictures_are_scaled_down(size, expected):
    assert open_image(encoded(Image.new("L", size), "PNG")).size == expected


def test_large_jpeg_keeps_its_proportions():
    image = open_image(encoded(photo(3000, 2400), "JPEG", quality=60))
    assert max(image.size) <= MAX_SIDE
    assert abs(image.width / image.height - 5 / 4) < 0.01


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_formats(kind, tmp_path):
    path = tmp_path / "upload"  # the name says nothing about the format
    path.write_bytes(encoded(photo(), kind))
    image = open_image(path)
    red, _, blue = image.getpixel((5, 40))
    assert (image.size, image.mode) == ((64, 48), "RGB")
    assert red > 200
    assert blue < 60


def test_pil_pictures_pass_and_are_not_changed():
    source = photo()
    source.info["note"] = "mine"
    image = open_image(source)
    assert np.array_equal(np.asarray(image), np.asarray(source))
    image.putpixel((0, 0), (1, 2, 3))
    assert source.getpixel((0, 0)) == (0, 255, 0)
    assert source.info == {"note": "mine"}


def test_palette_with_byte_transparency_warns_nobody():
    image = Image.new("P", (4, 4))
    image.putpalette([10, 20, 30, 200, 100, 50])
    data = encoded(image, "PNG", transparency=b"\x00\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(data).getpixel((0, 0)) == (255, 255, 255)


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    data = encoded(photo(), "PNG")
    threads = [threading.Thread(target=lambda: [open_image(data) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
