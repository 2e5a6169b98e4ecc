"""Drawn receipts and small forms with questions on their fields, and crops of a few lines to read.

All names and addresses are made up. The table layout and some faces are kept for the dev split.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from PIL import Image

from smola_demo.data import fonts, ground
from smola_demo.data.form_content import Entry, FormData, ReceiptData, invent_form, invent_receipt, questions
from smola_demo.data.row import QA, Scene
from smola_demo.data.writing import Pen

LAYOUTS = ("receipt", "receipt", "receipt", "lines", "boxes", "crop", "crop")
HELD_OUT_LAYOUTS = ("table",)
MAX_READ_CHARS = 60
_LINE_GAP = 5


@dataclass(frozen=True)
class Page:
    """A sheet being written: picture, pen, and face and ink of what is printed and of what is filled in."""

    image: Image.Image
    pen: Pen
    face: str
    ink: ground.RGB
    hand: str
    hand_ink: ground.RGB


def _page(
    rng: random.Random, split: str, size: tuple[int, int], *, mono: bool, spelled: bool = False
) -> Page:
    shade = rng.randint(225, 255)
    paper = (shade, shade, shade - rng.randint(0, 14))
    image = (
        ground.plain(size, paper)
        if rng.random() < 0.6
        else ground.blotchy(rng, size, paper, rng.uniform(2, 9))
    )
    dark = rng.randint(0, 70)
    face = fonts.pick(rng, split, mono=True if mono and rng.random() < 0.6 else None)
    ink, hand_ink = (dark, dark, dark + rng.choice((0, 0, 50))), (20, 30, rng.choice((40, 150)))
    hand = face if mono else fonts.pick(rng, split)
    return Page(image, Pen(image, spelled), face, ink, hand, hand_ink)


def _write(
    page: Page, spot: tuple[float, float], text: str, size: int, anchor: str = "la", room: float = 0
) -> None:
    """Write one line, smaller where it would not fit the room (pixels)."""
    face = fonts.font(page.face, size)
    while room and page.pen.textlength(text, face) > room and face.size > 8:
        face = fonts.font(page.face, int(face.size) - 1)
    page.pen.text(spot, text, font=face, fill=page.ink, anchor=anchor)


def _receipt(rng: random.Random, split: str, data: ReceiptData, lines: list[Entry], *, spelled: bool) -> Page:
    """A till receipt or a part of one: each entry on its line, amounts at the right edge."""
    letter = rng.randint(13, 16)
    longest = max(len(entry.left) + len(entry.right) + (2 if entry.right else 0) for entry in lines)
    width = int(min(340, max(220, longest * letter * 0.56 + 24)))
    page = _page(rng, split, (width, 20 + len(lines) * (letter + _LINE_GAP)), mono=True, spelled=spelled)
    centered = rng.random() < 0.6
    y = 10
    for entry in lines:
        if entry.right:
            used = page.pen.textlength(entry.right, fonts.font(page.face, letter))
            _write(page, (10, y), entry.left, letter, room=width - 28 - used)
            _write(page, (width - 10, y), entry.right, letter, anchor="ra")
        elif centered and entry.head:
            _write(page, (width / 2, y), entry.left, letter, anchor="ma", room=width - 20)
        else:
            _write(page, (10, y), entry.left, letter, room=width - 20)
        y += letter + _LINE_GAP
    return page


def _form(rng: random.Random, split: str, data: FormData, layout: str) -> Page:
    """A title and labelled fields: on ruled lines, in boxes under their label, or in a two-column table."""
    letter = rng.randint(14, 17)
    step = letter * (2.7 if layout == "boxes" else 1.9)
    width, height = rng.randint(256, 320), int(letter * 2.6 + step * len(data.fields) + 8)
    page = _page(rng, split, (width, max(height, 150)), mono=False)
    written = replace(page, face=page.hand, ink=page.hand_ink)
    _write(page, (width / 2, 8), data.title, letter + 2, anchor="ma", room=width - 16)
    y = letter * 2.4
    edge = (
        max(page.pen.textlength(label + ":", fonts.font(page.face, letter)) for label, _ in data.fields) + 16
    )
    for label, value in data.fields:
        if layout == "boxes":
            _write(page, (12, y), label, letter - 2)
            page.pen.rectangle((10, y + letter, width - 10, y + letter * 2.35), outline=page.ink)
            _write(written, (16, y + letter * 1.16), value, letter, room=width - 32)
        elif layout == "table":
            page.pen.rectangle((8, y, width - 8, y + step), outline=page.ink)
            page.pen.line((edge + 2, y, edge + 2, y + step), fill=page.ink)
            _write(page, (14, y + step / 2), label, letter, anchor="lm")
            _write(written, (edge + 8, y + step / 2), value, letter, anchor="lm", room=width - edge - 20)
        else:
            _write(page, (10, y), label + ":", letter)
            _write(written, (edge, y), value, letter, room=width - edge - 10)
            page.pen.line((edge, y + letter + 5, width - 10, y + letter + 5), fill=(150, 150, 150))
        y += step
    return page


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: RGB, 220-340 px wide, with `document` questions or a few lines to `read`."""
    rng = random.Random(f"forms/{split}/{seed}")
    layout = rng.choice(LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 6)
    qa: list[QA]
    if layout in ("receipt", "crop"):
        data = invent_receipt(rng)
        lines = list(data.lines)
        if layout == "crop":
            lines = _part(rng, lines)
            qa = [QA("read", None, ("\n".join(entry.text for entry in lines),))]
        else:
            qa = questions(rng, data.asked)
        page = _receipt(rng, split, data, lines, spelled=layout == "crop")
    else:
        form = invent_form(rng)
        page = _form(rng, split, form, layout)
        qa = questions(rng, form.asked)
    image = ground.worn(rng, page.image, 0.5)
    if rng.random() < 0.5:
        image = image.convert("L").convert("RGB")
    turned = 0.0
    if rng.random() < 0.3:
        turned = rng.uniform(-2, 2)
        image = image.rotate(turned, Image.Resampling.BICUBIC, fillcolor=image.getpixel((1, 1)))
    traits = (f"layout:{layout}", *(f"font:{face}" for face in dict.fromkeys((page.face, page.hand))))
    return Scene(image, tuple(qa), "drawn forms", f"forms/{split}/{seed}", traits, page.pen.marks(turned))


def _part(rng: random.Random, lines: list[Entry]) -> list[Entry]:
    """One to five neighbouring lines, short enough to be read out whole."""
    first = rng.randrange(len(lines))
    wanted = rng.randint(1, 5)
    part: list[Entry] = []
    for entry in lines[first : first + wanted]:
        if part and sum(len(one.text) + 1 for one in part) + len(entry.text) > MAX_READ_CHARS:
            break
        part.append(entry)
    return part
