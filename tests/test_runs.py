"""A run as JSON: everything comes back, damage is refused in one sentence."""

from __future__ import annotations

import base64
import io
import json
import zlib

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from smola_demo.results import Answer, Request
from smola_demo.runs import JPEG, RunError, pack, read_run, run_record, unpack


@pytest.fixture(scope="module")
def record() -> dict:
    return made()


def made(**engine) -> dict:
    fake = FakeEngine(layers=3, experts=4, **engine)
    image = Image.new("RGB", (900, 300), "teal")
    *_, answer = fake.answer(Request(image, "vqa", "What <b>colour</b>?"))
    assert isinstance(answer, Answer)
    return run_record(answer, fake.info(), image, "2026-01-02T03:04:05")


def test_reopens_as_it_was(record):
    assert read_run(json.dumps(record)) == json.loads(json.dumps(record))
    routing = record["routing"]
    assert unpack(routing["weight"]).shape == (3, 3, 3, len(routing["tokens"]), 4)
    assert routing["groups"] == ["visual", "text", "multimodal"]
    assert record["question"] == "What <b>colour</b>?"
    assert [t["text"] for t in record["answer"]["tokens"]]


def test_the_picture_is_small_and_made_anew(record):
    raw = base64.b64decode(record["picture"]["data"].removeprefix(JPEG))
    with Image.open(io.BytesIO(raw)) as picture:
        assert picture.size == (448, 149)
    assert (record["picture"]["width"], record["picture"]["height"]) == (900, 300)


def test_a_run_without_routing():
    assert read_run(json.dumps(made(groups=(), state="none")))["routing"] is None


def test_arrays_keep_three_digits_and_their_gaps():
    values = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    values[1, 2] = np.nan
    np.testing.assert_allclose(unpack(pack(values)), values, rtol=1e-3)
    assert unpack(pack(np.array([1e9]))) == 65504


def broken(record: dict, *path: str, value: object) -> str:
    copy = json.loads(json.dumps(record))
    place = copy
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(copy)


BOMB = {
    "shape": [2],
    "dtype": "float16",
    "data": base64.b64encode(zlib.compress(b"0" * 50_000_000)).decode(),
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("routing", "weight"), pack(np.zeros((3, 3, 3, 2, 4)))),
        (("routing", "weight", "data"), "not base64!"),
        (("routing", "weight", "data"), "AAAA"),
        (("routing", "weight", "shape"), [10**9, 10**9]),
        (("routing", "boxes"), BOMB),
        (("routing", "groups"), ["audio"]),
        (("routing", "modality"), [1]),
        (("routing", "layers"), None),
        (("answer", "tokens"), [{"text": "a"}]),
        (("answer",), "text"),
        (("picture", "data"), "https://elsewhere.example/x.jpg"),
    ],
)
def test_damage_is_named_in_one_sentence(record, path, value):
    with pytest.raises(RunError, match="this run is damaged"):
        read_run(broken(record, *path, value=value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no recorded run"),
        ('{"format": "smola-run", "version": 9}', "version 9"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_other_files_are_refused(text, said):
    with pytest.raises(RunError, match=said):
        read_run(text)


def test_a_huge_file_is_not_even_parsed(monkeypatch):
    monkeypatch.setattr("smola_demo.runs.MAX_BYTES", 10)
    with pytest.raises(RunError, match="at most"):
        read_run("[" * 11)
