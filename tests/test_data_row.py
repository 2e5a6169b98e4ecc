"""Rows: reading files, faults named by line, the split by picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from smola_demo.data.row import (
    QA,
    Row,
    RowError,
    Scene,
    encoded,
    group_by_image,
    held_out,
    read_rows,
    split_by_image,
    split_together,
)

GOOD = {"image": "a.png", "task": "doc_qa", "question": "Total?", "answers": ["9.90"], "source": "here"}


def write(path, *rows):
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8"
    )
    return path


def test_rows_are_read_and_pictures_found_beside_the_file(tmp_path):
    Image.new("RGB", (3, 2), "red").save(tmp_path / "a.png")
    caption = {"image": "a.png", "task": "caption", "question": None, "answers": ["Red.", "A red box."]}
    rows = read_rows(write(tmp_path / "mine.jsonl", GOOD, "", caption))
    assert [row.task for row in rows] == ["document", "caption"]
    assert [row.kind for row in rows] == ["doc_qa", "caption"]
    assert rows[0].source == "here"
    assert rows[1].source == "mine"
    assert rows[1].answers == ("Red.", "A red box.")
    assert rows[0].id != rows[1].id
    assert rows[0].open().getpixel((0, 0)) == (255, 0, 0)
    assert len(group_by_image(rows)) == 1


@pytest.mark.parametrize(("change", "fault"), [
    ('{"image": ', "is not valid JSON"),
    ("[1, 2]", "must be a JSON object, not list"),
    ({"image": None}, 'needs "image"'),
    ({"task": "sing"}, "has the task 'sing'"),
    ({"task": None}, "has the task None"),
    ({"task": ["ocr"]}, "has the task"),
    ({"question": 5}, "neither text nor null"),
    ({"question": " "}, "has no \"question\", and the task 'doc_qa' needs one"),
    ({"answers": "9.90"}, 'needs "answers"'),
    ({"answers": []}, 'needs "answers"'),
    ({"answers": ["ok", " "]}, 'needs "answers"'),
])  # fmt: skip
def test_faults_name_file_line_and_what_is_wrong(tmp_path, change, fault):
    path = write(tmp_path / "rows.jsonl", GOOD, change if isinstance(change, str) else GOOD | change)
    with pytest.raises(RowError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}:2 ")
    assert fault in str(caught.value)
    assert str(caught.value).endswith(".")


def test_files_that_are_not_there_or_hold_nothing(tmp_path):
    with pytest.raises(RowError, match=r"There is no data file .*gone\.jsonl"):
        read_rows(tmp_path / "gone.jsonl")
    with pytest.raises(RowError, match="holds no rows"):
        read_rows(write(tmp_path / "empty.jsonl", "\n"))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RowError, match="not UTF-8"):
        read_rows(tmp_path / "binary.jsonl")


def rows_on(names):
    return [Row(f"x/{name}", "ask", "?", ("!",), "test", name) for name in names]


def test_the_split_keeps_pictures_together_and_takes_a_tenth():
    rows = rows_on(f"photo{i}.jpg" for i in range(2000) for _ in range(2))
    train, dev = split_by_image(rows)
    assert len(train) + len(dev) == len(rows)
    assert 0.08 < len(dev) / len(rows) < 0.12
    assert not {row.image for row in train} & {row.image for row in dev}
    assert split_by_image(rows[::-1])[1] == dev[::-1]  # no matter the order
    assert split_by_image(rows, salt="other")[1] != dev
    assert split_by_image(rows, dev_share=0.0) == (rows, [])


def test_the_split_ignores_the_folder_and_keeps_crops_of_a_document_together():
    for i in range(300):
        assert held_out(f"a/{i:03d}.png") == held_out(f"/elsewhere/{i:03d}.webp")
        assert len({held_out(f"{i:03d}_{crop:02d}.webp") for crop in range(6)}) == 1
    assert len({held_out(f"COCO_val2014_{i:012d}.webp") for i in range(100)}) == 2  # long numbers are names


def test_the_split_is_pinned():
    """The same pictures everywhere: nobody's checkpoint may have seen our development share."""
    assert [i for i in range(60) if held_out(f"photo{i}.jpg")] == [0, 16, 18, 31, 38, 59]


def test_a_scene_gives_one_row_a_question():
    scene = Scene(
        Image.new("RGB", (4, 4)), (QA("read", None, ("A",)), QA("vqa", "Red?", ("no",))), "drawn", "s/1"
    )
    rows = scene.rows()
    assert [(row.task, row.question, row.answers) for row in rows] == [
        ("read", None, ("A",)),
        ("vqa", "Red?", ("no",)),
    ]
    assert len({row.id for row in rows}) == 2
    assert {row.image_name for row in rows} == {"s/1"}
    assert rows[0].open().size == (4, 4)


def test_a_copy_of_a_held_out_picture_under_another_name_is_on_neither_side(tmp_path):
    for i in range(60):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"p{i}.png")
    held = next(tmp_path / f"p{i}.png" for i in range(60) if held_out(f"p{i}"))
    free = next(name for name in (f"copy{i}" for i in range(60)) if not held_out(name))
    (tmp_path / f"{free}.png").write_bytes(held.read_bytes())
    names = [f"p{i}.png" for i in range(60)] + [f"{free}.png", "missing.png"]
    train, dev = split_by_image(
        read_rows(write(tmp_path / "rows.jsonl", *[GOOD | {"image": n} for n in names]))
    )
    found = {row.image.name for row in train}, {row.image.name for row in dev}
    assert held.name in found[1]
    assert set(names) - found[0] - found[1] == {f"{free}.png"}


def test_only_files_of_equal_size_are_read(tmp_path, monkeypatch):
    """Of sixty pictures in two sources, all of other sizes but one pair, these two."""
    names = [f"p{i}.png" for i in range(60)]
    held, free = ([name for name in names if held_out(name) == side] for side in (True, False))
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * (100 + i))
    (tmp_path / free[0]).write_bytes((tmp_path / held[0]).read_bytes())
    read, whole = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or whole(path))
    rows = [Row(tmp_path / name, "ask", "?", ("!",), "test", name) for name in names]
    (train, _), (others, _) = split_together([rows[:30], rows[30:]])
    assert sorted(read) == sorted([held[0], free[0]])
    assert [row.id for row in train + others] == free[1:]


def test_a_picture_of_a_set_is_known_by_its_bytes(tmp_path):
    """A set beside a file: what either of them holds out is on the train side of neither."""
    made = [bytes([i]) * 50 for i in range(60)]
    for i, data in enumerate(made):
        (tmp_path / f"p{i}.png").write_bytes(data)
    files = [Row(tmp_path / f"p{i}.png", "ask", "?", ("!",), "file", f"f#{i}") for i in range(60)]
    pictures = [encoded(lambda i=i: made[i]) for i in range(60)]
    hub = [
        Row(picture, "ask", "?", ("!",), "hub", f"hub:a/b/{picture.digest[:16]}#{i}")
        for i, picture in enumerate(pictures)
    ]

    def numbers(half):
        return {int(row.id.rsplit("#")[1]) for row in half}

    (train, dev), (others, kept) = split_together([files, hub])
    held = numbers(dev) | numbers(kept)
    assert len(numbers(dev)) < len(held) < 30
    assert numbers(train) == numbers(others) == set(range(60)) - held
