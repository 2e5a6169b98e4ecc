"""Drawn scenes: always the same, right answers, nothing of the dev split in training."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from smola_demo.data import (
    GENERATORS,
    charts,
    counts,
    fonts,
    forms,
    scenes,
    shapes,
    solid_scenes,
    tables,
    words,
)
from smola_demo.data.row import split_by_image
from smola_demo.tasks import TASKS, check_question

MODULES = {
    "shapes": shapes,
    "counts": counts,
    "words": words,
    "charts": charts,
    "forms": forms,
    "tables": tables,
    "scenes": solid_scenes,
}
ALLOWED = {
    "shapes": {"caption", "count", "vqa"},
    "counts": {"count"},
    "words": {"read", "vqa", "count"},
    "charts": {"chart"},
    "forms": {"document", "read"},
    "tables": {"document", "chart", "count"},
    "scenes": {"count", "vqa"},
}


@cache
def drawn(name, seed, split="train"):
    """The scene, drawn once for all tests."""
    return GENERATORS[name](seed, split)


def trait(scene, kind):
    return [text.split(":", 1)[1] for text in scene.traits if text.startswith(kind + ":")]


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_scenes_are_well_formed(name, split):
    for seed in range(60):
        scene = drawn(name, seed, split)
        assert scene.image.mode == "RGB"
        assert 30 <= min(scene.image.size) <= max(scene.image.size) <= 360
        assert scene.qa
        assert len({(qa.task, qa.question) for qa in scene.qa}) == len(scene.qa)
        assert max(high - low for low, high in scene.image.getextrema()) > 60  # something stands out
        for qa in scene.qa:
            assert qa.task in ALLOWED[name]
            assert TASKS[qa.task].needs_question == bool(qa.question)
            if qa.question:
                assert check_question(qa.task, qa.question) == qa.question
            assert qa.answers
            assert all(answer == answer.strip() != "" for answer in qa.answers)
            assert len(qa.answers[0]) <= (130 if qa.task == "caption" else 100)


def test_the_same_bytes_in_every_process():
    """Hash seeds differ between processes; nothing drawn may depend on the order of a set."""
    code = (
        "import hashlib; from smola_demo.data import GENERATORS\n"
        "for name, draw in GENERATORS.items():\n"
        "    for seed in range(12):\n"
        "        s = draw(seed, 'dev')\n"
        "        print(name, hashlib.sha256(s.image.tobytes()).hexdigest(), s.qa, s.traits)"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 12 * len(GENERATORS)


def test_the_modules_are_those_of_the_generators():
    assert {name: module.generate for name, module in MODULES.items()} == GENERATORS


@pytest.mark.parametrize("name", GENERATORS)
def test_seeds_and_splits_differ(name):
    draw = GENERATORS[name]
    pictures = {draw(seed, split).image.tobytes() for seed in range(10) for split in ("train", "dev")}
    assert len(pictures) == 20


@pytest.mark.parametrize("name", GENERATORS)
def test_training_never_sees_what_dev_keeps(name):
    kept = set(MODULES[name].HELD_OUT_LAYOUTS)
    assert kept
    assert not kept & set(MODULES[name].LAYOUTS)
    train = [drawn(name, seed) for seed in range(80)]
    dev = [drawn(name, seed, "dev") for seed in range(80)]
    assert not kept & {layout for scene in train for layout in trait(scene, "layout")}
    assert kept & {layout for scene in dev for layout in trait(scene, "layout")}
    if name not in ("shapes", "counts", "scenes"):
        assert not any(fonts.held_out(face) for scene in train for face in trait(scene, "font"))
        assert all(fonts.held_out(face) for scene in dev for face in trait(scene, "font"))


def test_without_any_font_file(monkeypatch):
    """A bare machine: no matplotlib, no system fonts; Pillow's own face draws everything."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(fonts, "FOLDERS", ())
    for cached in (fonts._files, fonts.faces):
        cached.cache_clear()
    try:
        for split in ("train", "dev"):
            assert set(fonts.faces(split)) == {fonts.BUILT_IN}
            for draw in GENERATORS.values():
                assert draw(0, split).qa
    finally:
        for cached in (fonts._files, fonts.faces):
            cached.cache_clear()


def test_every_face_draws_all_of_ascii():
    """A sign that a face lacks is drawn as the same box as any other sign that it lacks."""
    for face in sorted({*fonts.faces("train"), *fonts.faces("dev")}):
        signs = [chr(code) for code in range(33, 127)] + [sign for sign in "£€" if fonts.can_draw(face, sign)]
        box = bytes(fonts.font(face, 32).getmask("\uffff"))
        assert not [sign for sign in signs if bytes(fonts.font(face, 32).getmask(sign)) == box], face
    assert not fonts.can_draw(fonts.BUILT_IN, "£5")


def test_text_keeps_off_the_edge():
    """Ink is at least 100 grey levels from its paper; the outermost pixels of smooth paper all are paper."""
    smooth = 0
    for seed in range(120):
        scene = drawn("words", seed)
        text = next(qa for qa in scene.qa if qa.task == "read").answers[0]
        assert 1 <= len(text) <= words.MAX_CHARS
        pixels = np.asarray(scene.image.convert("L"), dtype=int)
        if np.ptp(pixels[:3, :3]) == 0:
            edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            assert np.abs(edge - pixels[0, 0]).max() < 80, seed
            smooth += 1
    assert smooth > 30


def test_streams_of_scenes():
    stream = scenes("words", "dev", start=7)
    assert [next(stream).id for _ in range(2)] == ["words/dev/7", "words/dev/8"]
    with pytest.raises(ValueError, match="no generator 'songs'; choose one of shapes, counts, words"):
        next(scenes("songs"))
    with pytest.raises(ValueError, match="no split 'test'"):
        next(scenes("words", "test"))


def test_scene_rows_survive_a_split():
    rows = [row for seed in range(40) for row in drawn("shapes", seed).rows()]
    train, dev = split_by_image(rows)
    assert not {row.image_name for row in train} & {row.image_name for row in dev}
