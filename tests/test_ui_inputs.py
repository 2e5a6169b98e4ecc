"""Pictures, tasks, questions and examples on the page."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image
from ui_calls import event, handlers, picture, skipped  # noqa: F401  picture is a fixture

from smola_demo.data.images import ImageError
from smola_demo.ui.examples import example_picks, read_examples, uploaded


def test_uploads_are_decoded_by_our_own_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    text = tmp_path / "text.png"
    text.write_text("I am not a picture")
    with pytest.raises(ImageError, match="is not a picture"):
        uploaded({"path": str(text), "url": None})
    animated = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (10, 10), c) for c in ("red", "blue")]
    frames[0].save(animated, save_all=True, append_images=frames[1:])
    assert uploaded({"path": str(animated)}).getpixel((0, 0)) == (255, 0, 0)
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), "lime").save(buffer, "PNG")
    data = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert uploaded({"path": None, "url": data}).size == (5, 4)
    for bad in (
        None,
        {},
        {"path": None, "url": "http://somewhere/x.png"},
        {"path": None, "url": "data:image/png;base64,!"},
    ):
        with pytest.raises(ImageError):
            uploaded(bad)


def test_a_bad_upload_is_said_at_once_and_taken_out(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    text = tmp_path / "text.png"
    text.write_text("I am not a picture")
    shown, note = handlers().check_picture({"path": str(text), "url": None})
    assert shown is None
    said = json.loads(note)
    assert said["kind"] == "error"
    assert "text.png is not a picture" in said["text"]


def test_a_good_upload_clears_the_note(picture):
    shown, note = handlers().check_picture(picture)
    assert skipped(shown)
    assert json.loads(note) == {}


def test_question_box_appears_where_the_task_has_one():
    do = handlers()
    choice, box, picks = do.choose_task("vqa")
    assert "value" not in choice, "another may have been chosen since"
    assert box["visible"] is True
    assert len(json.loads(picks)["items"]) >= 2
    _, box, picks = do.choose_task("caption")
    assert box["visible"] is False
    assert json.loads(picks)["items"] == []
    assert all(skipped(v) for v in do.choose_task("nonsense"))


def test_suggestions_fill_the_box():
    do = handlers()
    asked = json.loads(do.choose_task("count")[2])["items"]
    assert do.choose_question("count", event(index=1)) == asked[1]["text"]
    for bad in (event(index=99), event(index=-1), event(index="0"), event()):
        assert skipped(do.choose_question("count", bad))


@pytest.fixture
def assets(tmp_path):
    folder = tmp_path / "assets"
    folder.mkdir()
    entries = []
    for name, task, question in (
        ("a", "caption", ""),
        ("b", "count", "How many circles?"),
        ("c", "chart", "What is it?"),
    ):
        Image.new("RGB", (12, 9), "teal").save(folder / f"{name}.png")
        entries.append(
            {
                "image": f"{name}.png",
                "task": task,
                "question": question,
                "title": name.upper(),
                "source": "drawn",
            }
        )
    (folder / "examples.json").write_text(json.dumps(entries))
    return folder


def test_examples_fill_picture_task_and_question(assets):
    examples = read_examples(assets)
    assert [e.title for e in examples] == ["A", "B", "C"]
    do = handlers(examples=examples)
    image, _, task, box, _ = do.choose_example(event(index=1))
    assert image == str(assets / "b.png")
    assert task["value"] == "count"
    assert box["value"] == "How many circles?"
    assert all(skipped(v) for v in do.choose_example(event(index=3)))
    for item in example_picks(examples)["items"]:
        assert item["image"].startswith("gradio_api/file=")


def test_a_gallery_that_is_absent_or_broken_is_only_shorter(assets):
    assert read_examples(assets / "nowhere") == []
    good = json.loads((assets / "examples.json").read_text())
    bad = [
        {"image": "gone.png", "task": "caption"},
        {"image": "a.png", "task": "sing"},
        "text",
        {"image": "../x", "task": "ask"},
    ]
    (assets / "examples.json").write_text(json.dumps(bad + good))
    assert len(read_examples(assets)) == 3
    (assets / "examples.json").write_text("{not json")
    assert read_examples(assets) == []
    (assets.parent / "secret.png").write_bytes((assets / "a.png").read_bytes())
    (assets / "examples.json").write_text(json.dumps([{"image": "../secret.png", "task": "caption"}]))
    assert read_examples(assets) == []
