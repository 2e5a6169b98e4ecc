"""What a drawing says lies where, and the loss that teaches it to visual tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tiny import tiny_backbone

from smola_demo.backbone import load_backbone
from smola_demo.cells import (
    KEPT_WEIGHT,
    NOTHING,
    OTHERS,
    CellPicture,
    CellPictures,
    CellWordsLoss,
    cell_batch,
)
from smola_demo.config import DataSource
from smola_demo.data import GENERATORS, fonts, ground
from smola_demo.data.mixture import Group, Mixture
from smola_demo.data.row import Mark
from smola_demo.data.shapes import OUTLINES
from smola_demo.data.writing import Pen

CELLS = 64


def first_id(backbone, word):
    return backbone.tokenizer(word, add_special_tokens=False)["input_ids"][0]


def picture_of(backbone, marks, color="white"):
    group = Group(Image.new("RGB", (32, 32), color), (), "one", "test", 0, tuple(marks))
    return CellPictures(backbone, [group], 1)[0]


@pytest.mark.parametrize("seed", range(40))
def test_a_shape_has_its_colour_where_its_mark_is(seed):
    scene = GENERATORS["shapes"](seed, "train")
    assert scene.marks
    pixels = np.asarray(scene.image, np.float32)
    for mark in scene.marks:
        color, form = (word.strip() for word in mark.words)
        x, y = mark.x * scene.image.width, mark.y * scene.image.height
        seen = pixels[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].mean((0, 1))
        assert ground.distance(tuple(seen), ground.COLORS[color]) < 75, (form, color, seen)


@pytest.mark.parametrize("seed", range(40))
def test_letters_are_marked_in_reading_order_on_their_ink(seed):
    scene = GENERATORS["words"](seed, "train")
    written = next(qa.answers[0] for qa in scene.qa if qa.task == "read")
    assert "".join(mark.words[0] for mark in scene.marks) == "".join(written.split())
    grey = np.asarray(scene.image.convert("L"), np.float32)
    paper = float(np.median(grey))
    contrast = 0.0
    for mark in scene.marks:
        x, y = round(mark.x * scene.image.width), round(mark.y * scene.image.height)
        assert 0 <= x < scene.image.width
        assert 0 <= y < scene.image.height
        near = grey[max(0, y - 12) : y + 13, max(0, x - 6) : x + 7]
        contrast += float(np.abs(near - paper).max()) / len(scene.marks)
    assert contrast > 60


@pytest.mark.parametrize("seed", range(12))
def test_solids_and_icons_are_marked_inside_the_picture(seed):
    scene = GENERATORS["scenes"](seed, "train")
    assert scene.marks
    assert all(0 < mark.x < 1 and 0 < mark.y < 1 and len(mark.words) == 2 for mark in scene.marks)


def test_marks_travel_with_their_picture():
    mixture = Mixture([DataSource(name="shapes"), DataSource(name="charts")], pack=1)
    told = {group.source: bool(group.marks) for group in (mixture[i] for i in range(12))}
    assert told == {"drawn shapes": True, "drawn charts": True}


@pytest.mark.parametrize("turned", [0.0, 7.0, -20.0])
def test_a_pen_marks_its_words_on_their_ink(turned):
    """Each mark alone: a picture on which only that word is black is darkest around its mark."""
    for only, said in enumerate((" Total", "4", ".", "2", "0", " Paid")):
        image = Image.new("RGB", (240, 160), "white")
        pen, face = Pen(image), fonts.font(fonts.BUILT_IN, 22)
        pen.text((20, 40), "Total: 4.20", font=face, fill="white")
        pen.text((220, 100), "Paid", font=face, fill="white", anchor="rm")
        marks = pen.marks(turned)
        assert [mark.words[0] for mark in marks] == [" Total", "4", ".", "2", "0", " Paid"]
        text, start, end, at, anchor = (
            ("Paid", 0, 4, (220, 100), "rm")
            if said == " Paid"
            else ("Total: 4.20", *((0, 5) if not only else (6 + only, 7 + only)), (20, 40), "la")
        )
        left = pen.textbbox(at, text, font=face, anchor=anchor)[0] + face.getlength(text[:start])
        top = pen.textbbox(at, text, font=face, anchor=anchor)[1]
        piece = text[start:end]
        ImageDraw.Draw(image).text((left, top), piece, font=face, fill="black", anchor="lt")
        dark = 255 - np.asarray(image.convert("L").rotate(turned, fillcolor=255), np.float32)
        ys, xs = np.nonzero(dark > 100)
        spot = (marks[only].x * image.width, marks[only].y * image.height)
        assert spot == pytest.approx((xs.mean(), ys.mean()), abs=9), said


@pytest.mark.parametrize("name", ["charts", "forms", "tables"])
def test_what_is_printed_is_marked_inside_the_picture(name):
    for seed in range(12):
        scene = GENERATORS[name](seed, "train")
        assert len(scene.marks) > 2
        assert all(-0.02 < mark.x < 1.02 and -0.02 < mark.y < 1.02 for mark in scene.marks)


def test_marks_of_one_cell_share_it_and_the_first_weighs_most():
    backbone = tiny_backbone()
    picture = picture_of(
        backbone, [Mark(("a",), 0.01, 0.01), Mark(("b",), 0.1, 0.1), Mark(("c", "d"), 1.0, 1.0)]
    )
    a, b, c, d = (first_id(backbone, letter) for letter in "abcd")
    assert len(picture.cells) == CELLS
    assert picture.cells[0] == pytest.approx({a: 2 / 3, b: 1 / 3})
    assert picture.cells[CELLS - 1] == {c: 0.5, d: 0.5}, "what touches the right edge lies in the last cell"
    assert picture.cells[1] == {first_id(backbone, NOTHING): 1.0}
    assert all(sum(named.values()) == pytest.approx(1) for named in picture.cells.values())


def test_a_word_of_several_tokens_shares_its_weight_among_them():
    """The tiny tokenizer has a token a letter; the words of one mark weigh alike, however long."""
    backbone = tiny_backbone()
    (cell,) = [c for c in picture_of(backbone, [Mark(("ab", "c"), 0.5, 0.5)]).cells.values() if len(c) > 1]
    a, b, c = (first_id(backbone, letter) for letter in "abc")
    assert cell == pytest.approx({a: 0.25, b: 0.25, c: 0.5})


def test_the_real_words_of_a_cell_are_not_its_background():
    """One token each, and none the background's: what marks of shapes and letters say can be told apart."""
    tokenizer = load_backbone("embedded").tokenizer
    forms = {f" {form}" for form in OUTLINES}
    words = [NOTHING, *forms, *(f" {color}" for color in ground.COLORS), *"aZ09.€"]
    ids = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for word in words}
    one = [word for word in words if len(ids[word]) == 1]
    assert NOTHING in one
    assert len(one) > 0.8 * len(words), set(words) - set(one)
    assert len({ids[word][0] for word in one}) == len(one)


def test_a_batch_holds_each_word_once_and_draws_the_same_others_again():
    backbone = tiny_backbone()
    pictures = [picture_of(backbone, [Mark(("a",), 0.1, 0.1)]), picture_of(backbone, [])]
    one, two = (cell_batch(pictures, CELLS, 90) for _ in range(2))
    assert torch.equal(one.vocabulary, two.vocabulary)
    assert len(one.vocabulary.unique()) == len(one.vocabulary) <= OTHERS + 2
    assert one.told.tolist() == [True, False]
    torch.testing.assert_close(one.shares.sum(-1), torch.tensor([[1.0], [0.0]]).expand(2, CELLS))


def test_equals_loops_over_cells_and_words():
    backbone = tiny_backbone()
    loss = CellWordsLoss(backbone)
    pictures = [
        picture_of(backbone, [Mark(("a",), 0.1, 0.1), Mark(("b",), 0.6, 0.9)]),
        picture_of(backbone, [Mark(("c", "d"), 0.3, 0.3)], "blue"),
        picture_of(backbone, [], "red"),
    ]
    batch = cell_batch(pictures, CELLS, 90)
    model = backbone.model.model
    visual = model.multi_modal_projector(model.vision_tower(batch.pixel_values).hidden_states[-1]).double()
    words = backbone.model.get_input_embeddings().weight.double()
    middle, sharpness = words.mean(0), float(loss.log_sharpness.detach().exp())
    per_filled = []
    for b, picture in enumerate(pictures[:2]):
        total, filled = 0.0, 0
        for cell, named in picture.cells.items():
            token = visual[b, cell] - middle
            strength = {}
            for word in batch.vocabulary.tolist():
                row = words[word] - middle
                strength[word] = math.exp(sharpness * float(token @ row / (token.norm() * row.norm())))
            whole = sum(strength.values())
            total -= sum(share * math.log(strength[word] / whole) for word, share in named.items())
            filled += first_id(backbone, NOTHING) not in named
        per_filled.append(total / filled)
    assert float(loss(batch).detach()) == pytest.approx(sum(per_filled) / 2, rel=1e-4)


def test_pictures_that_do_not_tell_are_held_to_what_they_were():
    backbone = tiny_backbone()
    loss = CellWordsLoss(backbone)
    batch = cell_batch([picture_of(backbone, [], color) for color in ("red", "blue")], CELLS, 90)
    assert float(loss(batch).detach()) == 0.0
    with torch.no_grad():
        backbone.model.model.multi_modal_projector.linear_2.weight.mul_(1.1)
        backbone.model.model.multi_modal_projector.linear_2.bias.mul_(1.1)
    assert float(loss(batch).detach()) == pytest.approx(KEPT_WEIGHT * 0.01, rel=1e-3)
    assert [name for name, p in loss.named_parameters() if p.requires_grad] == ["log_sharpness"]
    loss(batch).backward()
    assert loss.log_sharpness.grad == 0, "without a part in the loss, processes would wait for it"


def test_cells_that_are_all_filled_weigh_alike():
    backbone = tiny_backbone()
    loss = CellWordsLoss(backbone)
    word = first_id(backbone, "a")
    full = CellPicture(picture_of(backbone, []).pixels, {i: {word: 1.0} for i in range(CELLS)})
    batch = cell_batch([full], CELLS, 90)
    model = backbone.model.model
    visual = model.multi_modal_projector(model.vision_tower(batch.pixel_values).hidden_states[-1])[0]
    cosine = torch.cosine_similarity(
        (visual - loss.middle)[:, None], loss.words[batch.vocabulary][None], dim=-1
    )
    target = (batch.vocabulary == word).nonzero().expand(CELLS, 1)[:, 0]
    expected = torch.nn.functional.cross_entropy(cosine * loss.log_sharpness.exp(), target)
    torch.testing.assert_close(loss(batch), expected)


def test_reading_is_learned_letter_by_letter():
    backbone = load_backbone("embedded")
    row = backbone.encode_answer(None, "read", None, "Ab €\nc")
    letters = row.input_ids[row.answer_start :]
    texts = backbone.token_texts(letters)
    assert [texts[0], texts[1], texts[2], texts[-2]] == ["A", "b", " ", "c"]
    assert int(letters[-1]) == backbone.stop_ids[0]
    assert backbone.decode(letters) == "Ab €\nc"
    whole = backbone.encode_answer(None, "caption", None, "A cat.")
    expected = backbone.encode(None, backbone.prompt("caption"), "A cat.")
    assert torch.equal(whole.input_ids, expected.input_ids)
