"""Rendered words and short lines: signs, labels, numbers, dates, on plain and noisy grounds.

Texts have 1 to 60 characters. The dev split has words and faces of its own, and the two-block layout.
"""

from __future__ import annotations

import math
import random
import re
import string

from PIL import Image, ImageDraw, ImageFont

from smola_demo.data import fonts, ground
from smola_demo.data.row import QA, Mark, Scene
from smola_demo.data.shape_names import casual, color_answers, color_word, either
from smola_demo.data.vocabulary import readings, word_list

LAYOUTS = ("center", "center", "anywhere", "anywhere", "wrapped", "sign", "strip")
HELD_OUT_LAYOUTS = ("blocks",)
MAX_CHARS = 60
_SMALLEST = 13  # pixels; smaller letters are lost on a model that sees 256 x 256
_KINDS = (
    (r"[$£€]\d+\.\d\d", "price"),
    (r"\d{1,2}:\d\d", "time"),
    (r"\d\d/\d\d/\d{4}", "date"),
    (r"\d+%", "percentage"),
    (r"\d+(\.\d+)?", "number"),
)
# How people ask, bars between wordings.
_SAYS = (
    "What {0} is written?|What does it say?|What {0} is shown?|What does the sign say?"
    "|What does the text say?|What {0} is in the image?"
)
_INK = "What {0} is the text?|What {0} are the letters?|What is the {0} of the text?|What {0} is the writing?"
_WORDS = "How many words are there?|How many words are in the image?|How many words are written?"
_LETTERS = (
    "How many letters has the word?|How many letters does the word have?|How many letters are in the word?"
)


def _code(rng: random.Random, length: int, alphabet: str = string.ascii_uppercase + string.digits) -> str:
    return "".join(rng.choice(alphabet) for _ in range(length))


def _number(rng: random.Random) -> str:
    kind = rng.randrange(8)
    if kind == 0:
        return str(rng.randint(0, 99))
    if kind == 1:
        return str(rng.randint(100, 99999))
    if kind == 2:
        return f"{rng.choice('$£€')}{rng.randint(0, 999)}.{rng.randint(0, 99):02d}"
    if kind == 3:
        return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"
    if kind == 4:
        return f"{rng.randint(1, 28):02d}/{rng.randint(1, 12):02d}/{rng.randint(1990, 2030)}"
    if kind == 5:
        return f"{rng.randint(1, 100)}%"
    if kind == 6:
        return (
            f"{_code(rng, rng.randint(1, 3), string.ascii_uppercase)}{rng.choice('- ')}{rng.randint(1, 9999)}"
        )
    return f"{rng.randint(1, 999):,}".replace(",", "") + f".{rng.randint(0, 99)}"


def _cased(rng: random.Random, text: str) -> str:
    choice = rng.random()
    if choice < 0.3:
        return text.upper()
    if choice < 0.55:
        return text.title()
    if choice < 0.75:
        return text[0].upper() + text[1:]
    return text


def phrase(rng: random.Random, split: str = "train") -> str:
    """Something short that is written somewhere: a word, a few words, a number, a code, a mixture."""
    kind = rng.random()
    words = word_list(split)
    if kind < 0.34:
        return _cased(rng, rng.choice(words))
    if kind < 0.62:
        return _cased(rng, " ".join(rng.choice(words) for _ in range(rng.choice((2, 2, 2, 3, 3, 4)))))
    if kind < 0.78:
        return _number(rng)
    if kind < 0.86:
        return f"{_cased(rng, rng.choice(words))} {_number(rng)}"
    if kind < 0.93:
        mixed = string.ascii_letters + string.digits
        return _code(
            rng, rng.randint(1, 9), rng.choice((string.ascii_uppercase, string.ascii_lowercase, mixed))
        )
    line = " ".join(rng.choice(words) for _ in range(rng.randint(5, 13)))
    line = line[:MAX_CHARS].rsplit(" ", 1)[0]  # whole words, and room for a full stop
    return line[0].upper() + line[1:] + rng.choice(("", ".", "!", "?"))


def _wrap(rng: random.Random, text: str, lines: int) -> str:
    """The text broken at spaces into about `lines` lines of similar length."""
    target = max(len(text) / lines, *(len(word) for word in text.split()))
    out: list[str] = []
    for word in text.split():
        if out and len(out[-1]) + 1 + len(word) <= target + 2:
            out[-1] += " " + word
        else:
            out.append(word)
    return "\n".join(out)


def _fitted(
    rng: random.Random, face: str, text: str, room: tuple[float, float]
) -> ImageFont.FreeTypeFont | None:
    """The face at a random size that fits the room; None when even the smallest legible size does not."""
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    probe = fonts.font(face, 40)
    box = pen.multiline_textbbox((0, 0), text, font=probe, spacing=6)
    largest = int(40 * min(room[0] / max(box[2], 1), room[1] / max(box[3], 1)))
    if largest < _SMALLEST:
        return None
    return fonts.font(face, rng.randint(max(_SMALLEST, min(largest, 90) // 2), min(largest, 90)))


def _paper(rng: random.Random, size: tuple[int, int], color: ground.RGB) -> Image.Image:
    kind = rng.random()
    if kind < 0.5:
        return ground.plain(size, color)
    if kind < 0.65:
        return ground.gradient(rng, size, color, ground.jitter(rng, color, 45))
    if kind < 0.85:
        return ground.blotchy(rng, size, color, rng.uniform(4, 22))
    return ground.noisy(rng, ground.plain(size, color), rng.uniform(8, 35))


def _colors(rng: random.Random) -> tuple[ground.RGB, ground.RGB, str]:
    """(paper, ink, name of the ink's colour): at least 100 levels of brightness apart."""
    while True:
        if rng.random() < 0.4:
            paper, name = (255, 255, 255), "black"
        else:
            base = rng.choice(list(ground.COLORS.values()))
            paper, name = ground.jitter(rng, base, 40), rng.choice(list(ground.COLORS))
        ink = ground.jitter(rng, ground.COLORS[name], 8)
        if abs(ground.luminance(paper) - ground.luminance(ink)) > 100:
            return paper, ink, name


Letters = list[tuple[str, float, float]]


def _stamp(
    rng: random.Random, text: str, face: ImageFont.FreeTypeFont, ink: ground.RGB
) -> tuple[Image.Image, Letters]:
    """The text as a transparent picture cut to its ink, now and then slightly turned, and its letters."""
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    x0, y0, x1, y1 = pen.multiline_textbbox((0, 0), text, font=face, spacing=6)
    layer = Image.new("RGBA", (max(1, int(x1 - x0) + 6), max(1, int(y1 - y0) + 6)), (*ink, 0))
    align = rng.choice(("left", "center"))
    ImageDraw.Draw(layer).multiline_text(
        (3 - x0, 3 - y0), text, font=face, fill=(*ink, 255), spacing=6, align=align
    )
    letters = _letters(text, face, align, (3 - x0, 3 - y0))
    if rng.random() >= 0.35:
        return layer, letters
    angle = rng.uniform(-9, 9)
    turned = layer.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    moved: Letters = []
    for letter, x, y in letters:
        right, down = x - layer.width / 2, y - layer.height / 2
        at = (right * cos + down * sin + turned.width / 2, down * cos - right * sin + turned.height / 2)
        moved.append((letter, *at))
    return turned, moved


def _letters(text: str, face: ImageFont.FreeTypeFont, align: str, start: tuple[float, float]) -> Letters:
    """Each letter with its middle, in pixels of the stamp; blanks are left out."""
    lines = text.split("\n")
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    widest = max(face.getlength(line) for line in lines)
    found: Letters = []
    for i, line in enumerate(lines):
        above = pen.multiline_textbbox((0, 0), "\n".join(["x"] * (i + 1)), font=face, spacing=6)[3]
        left = (widest - face.getlength(line)) / 2 if align == "center" else 0.0
        for j, letter in enumerate(line):
            if not letter.isspace():
                middle = (face.getlength(line[:j]) + face.getlength(line[: j + 1])) / 2
                found.append((letter, start[0] + left + middle, start[1] + above - face.size * 0.27))
    return found


def _size(rng: random.Random, layout: str) -> tuple[int, int]:
    if layout == "strip":
        return rng.randint(200, 320), rng.randint(60, 110)
    return rng.choice(((256, 256), (256, 256), (rng.randint(200, 320), rng.randint(160, 256))))


def generate(seed: int, split: str = "train") -> Scene:
    """The scene of this seed: RGB, 200-320 × 60-256 px, with `read` and sometimes a question on the text."""
    rng = random.Random(f"words/{split}/{seed}")
    layout = rng.choice(LAYOUTS if split != "dev" else LAYOUTS + HELD_OUT_LAYOUTS * 5)
    size = _size(rng, layout)
    paper, ink, name = _colors(rng)
    image = _paper(rng, size, paper)
    face = fonts.pick(rng, split)
    if layout == "sign":
        _panel(rng, image, paper, ink)
    room = (size[0] * 0.82, size[1] * (0.6 if layout != "blocks" else 0.36))
    parts: list[str] = []
    marks: list[Mark] = []
    blocks = 2 if layout == "blocks" else 1
    longest = (MAX_CHARS + 1) // blocks - 1  # of each, with a break between them
    for i in range(blocks):
        text, fitted = _phrase_that_fits(rng, split, face, layout, room, longest)
        stamp, letters = _stamp(rng, text, fitted, ink)
        free = (max(0, size[0] - stamp.width), max(0, size[1] - stamp.height))
        if layout == "blocks":
            spot = (int(free[0] * rng.random()), int(size[1] * (0.06 + 0.48 * i)))
        elif layout == "anywhere":
            spot = (int(free[0] * rng.random()), int(free[1] * rng.random()))
        else:
            spot = (free[0] // 2, free[1] // 2)
        image.paste(stamp, spot, stamp)
        parts.append(text)
        marks += [
            Mark((letter,), (spot[0] + x) / size[0], (spot[1] + y) / size[1]) for letter, x, y in letters
        ]
    text = "\n".join(parts)
    image = ground.worn(rng, image)
    return Scene(
        image,
        _questions(rng, text, name),
        "drawn words",
        f"words/{split}/{seed}",
        (f"layout:{layout}", f"font:{face}"),
        tuple(marks),
    )


def _panel(rng: random.Random, image: Image.Image, paper: ground.RGB, ink: ground.RGB) -> None:
    """A framed plate in the middle, like a road or a shop sign."""
    width, height = image.size
    box = (width * 0.05, height * 0.14, width * 0.95, height * 0.86)
    ImageDraw.Draw(image).rounded_rectangle(
        box, radius=rng.randint(0, 24), fill=paper, outline=ink, width=rng.randint(2, 6)
    )


def _phrase_that_fits(
    rng: random.Random, split: str, face: str, layout: str, room: tuple[float, float], longest: int
) -> tuple[str, ImageFont.FreeTypeFont]:
    while True:
        text = phrase(rng, split)
        if " " in text and (layout in ("wrapped", "sign") or len(text) > 18) and layout != "strip":
            text = _wrap(rng, text, rng.randint(2, 4))
        fitted = _fitted(rng, face, text, room)
        if fitted is not None and len(text) <= longest and fonts.can_draw(face, text):
            return text, fitted


def _called(line: str) -> str:
    """What people call a text of this kind."""
    kinds = (name for pattern, name in _KINDS if re.fullmatch(pattern, line))
    return next(kinds, "word" if line.isalpha() else "text")


def _questions(rng: random.Random, text: str, ink: str) -> tuple[QA, ...]:
    line = " ".join(text.split())
    words = [word.rstrip(".!?") for word in line.split()]
    spelt = all(word.isalpha() for word in words)  # numbers and prices are no words
    asked: list[tuple[str, str, tuple[str, ...]]] = []
    if len(words) <= 2 and rng.random() < 0.45:
        what = _called(line)
        said = (line,) if what in ("word", "text") else (line, *readings(line))
        phrases = _SAYS if what in ("word", "text") else f"{_SAYS}|What is the {what}?"
        asked.append(("vqa", either(rng, phrases).format(what), said))
    if len(words) > 1 and spelt and rng.random() < 0.25:
        place = rng.choice((0, -1))
        asked.append(("vqa", f"What is the {'last' if place else 'first'} word?", (words[place],)))
    if rng.random() < 0.25:
        asked.append(("vqa", either(rng, _INK).format(color_word(rng)), color_answers(ink)))
    if len(words) > 1 and spelt and rng.random() < 0.25:
        asked.append(("count", either(rng, _WORDS), (str(len(words)),)))
    if len(words) == 1 and spelt and rng.random() < 0.25:
        asked.append(("count", either(rng, _LETTERS), (str(len(words[0])),)))
    return (
        QA("read", None, (text,)),
        *(QA(task, casual(rng, question), tuple(dict.fromkeys(said))) for task, question, said in asked),
    )
