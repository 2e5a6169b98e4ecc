"""Suites on disk: readable by `read_rows`, the same bytes each time, the development share only."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from smola_demo.__main__ import main
from smola_demo.config import DataSource
from smola_demo.data import ASKS, GENERATORS, devset
from smola_demo.data.devset import held_out_suite, make_suite
from smola_demo.data.row import Row, RowError, held_out, read_rows


def test_suites_are_readable_and_repeatable(tmp_path):
    steps = []
    files = make_suite(tmp_path / "a", ["shapes", "forms"], n=9, progress=steps.append)
    assert [file.name for file in files] == ["shapes.jsonl", "forms.jsonl"]
    assert steps == [1] * 18
    for file in files:
        rows = read_rows(file)
        assert len(rows) == 9
        assert all(row.open().mode == "RGB" for row in rows)
        assert max(sum(other.image == row.image for other in rows) for row in rows) <= 2
    again = make_suite(tmp_path / "b", ["shapes", "forms"], n=9)
    for one, two in zip(files, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
    for picture in (tmp_path / "a" / "images").iterdir():
        assert picture.read_bytes() == (tmp_path / "b" / "images" / picture.name).read_bytes()
        assert "-dev-" in picture.name


def test_an_odd_number_and_wrong_ones(tmp_path):
    (file,) = make_suite(tmp_path, ["words"], n=1, split="train")
    assert len(read_rows(file)) == 1
    with pytest.raises(RowError, match="at least one row, not 0"):
        make_suite(tmp_path, ["words"], n=0)
    with pytest.raises(ValueError, match="no generator 'songs'"):
        make_suite(tmp_path, ["songs"], n=1)


@pytest.fixture
def own_rows(tmp_path):
    rows = [
        {"image": f"p{i}.png", "task": task, "question": "What?", "answers": ["This."], "source": "own"}
        for i in range(200)
        for task in ("vqa", "chart_qa_open", "count")
    ]
    path = tmp_path / "mine" / "data.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_development_share_of_a_file(tmp_path, own_rows):
    suite = read_rows(held_out_suite(own_rows, tmp_path / "out" / "mine.jsonl"))
    assert {row.task for row in suite} == {"vqa", "count"}
    assert {row.source for row in suite} == {"own"}
    assert all(held_out(row.image_name) for row in suite)
    expected = sum(held_out(f"p{i}.png") for i in range(200))
    assert len(suite) == 2 * expected > 0
    assert str(suite[0].image) == str(own_rows.parent.resolve() / suite[0].image.name)
    few = [
        read_rows(held_out_suite(own_rows, tmp_path / f"{i}.jsonl", limit=5, tasks=["vqa"])) for i in range(2)
    ]
    assert [row.image for row in few[0]] == [row.image for row in few[1]]
    assert [row.task for row in few[0]] == ["vqa"] * 5
    with pytest.raises(RowError, match="has no development row of caption"):
        held_out_suite(own_rows, tmp_path / "none.jsonl", tasks=["caption"])


@pytest.fixture
def captioned(tmp_path):
    """Photographs whose captions tell how many dogs there are."""
    few = ["Two dogs run on grass.", "Two brown dogs run.", "Two dogs play.", "The two dogs are outside."]
    many = [text.replace("Two", "Three").replace("two", "three") for text in few]
    rows = [
        {"image": f"p{i}.png", "task": "caption", "question": None, "answers": said, "source": "own"}
        for i, said in enumerate([few, many] * 100)
    ]
    path = tmp_path / "photos.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_questions_that_captions_of_the_development_share_answer(tmp_path, captioned):
    assert main(["data", str(tmp_path / "s"), "--n", "9", "--hold-out", str(captioned), "--derive"]) == 0
    suite = read_rows(tmp_path / "s" / "photos-derived.jsonl")
    assert len(suite) == 9
    assert all(held_out(row.image_name) for row in suite)
    assert "caption" not in {row.task for row in suite}
    assert all(row.question for row in suite)


def test_rows_of_a_task_with_short_answers(tmp_path, own_rows):
    (file,) = make_suite(tmp_path, ["words"], n=30, tasks=["read"], longest=7)
    rows = read_rows(file)
    assert {row.task for row in rows} == {"read"}
    assert max(len(row.answers[0]) for row in rows) <= 7
    (file,) = make_suite(tmp_path / "any", ["words"], n=30)
    assert max(len(row.answers[0]) for row in read_rows(file)) > 7
    with pytest.raises(
        RowError, match="'counts' draws no row of read with an answer of at most 3 characters"
    ):
        make_suite(tmp_path, ["counts"], n=1, tasks=["read"], longest=3)
    with pytest.raises(RowError, match="no development row with an answer of at most 4 characters"):
        held_out_suite(own_rows, tmp_path / "none.jsonl", longest=4)
    assert read_rows(held_out_suite(own_rows, tmp_path / "some.jsonl", longest=5))


def test_what_generators_are_said_to_ask_is_what_they_ask():
    for name, generate in GENERATORS.items():
        drawn = {qa.task for seed in range(60) for qa in generate(seed, "train").qa}
        assert set(ASKS[name]) == drawn, name


def test_generators_that_do_not_ask_a_task_are_left_out(tmp_path, capsys):
    assert main(["data", str(tmp_path / "s"), "--n", "2", "--task", "read", "caption", "--json"]) == 0
    files = [Path(name) for name in json.loads(capsys.readouterr().out)["suites"]]
    assert [path.stem for path in files] == ["shapes", "words", "forms"]
    assert {row.task for path in files for row in read_rows(path)} == {"caption", "read"}
    assert main(["data", str(tmp_path / "none"), "--task", "ask"]) == 1
    assert "No generator draws rows of ask" in capsys.readouterr().err
    assert main(["data", str(tmp_path / "none"), "--only", "shapes", "counts", "--task", "vqa"]) == 1
    assert "The generator 'counts' draws no row of vqa." in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_all_that_a_config_keeps_out(tmp_path, own_rows, captioned, capsys):
    """Its file's rows of the tasks it trains on and a hub's set with its pictures; no drawings."""
    data = [
        {"name": str(own_rows), "tasks": ["count"]},
        {"name": str(captioned), "derive": True},
        {"name": "words"},
    ]
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"stage": "experts", "output": "out", "data": data}))
    asked = ["data", str(tmp_path / "s"), "--n", "5", "--hold-out", str(run), "--json"]
    assert main(asked) == 0
    mine, captions = (Path(name) for name in json.loads(capsys.readouterr().out)["suites"])
    assert [mine.name, captions.name] == ["mine.jsonl", "photos.jsonl"]
    assert {row.task for row in read_rows(mine)} == {"count"}
    assert main([*asked, "--derive"]) == 0
    (derived,) = json.loads(capsys.readouterr().out)["suites"]
    assert {row.task for row in read_rows(derived)} <= {"vqa", "count"}
    assert main([*asked[:-1], str(run)]) == 1
    assert "two sources would both be" in capsys.readouterr().err
    run.write_text(json.dumps({"stage": "experts", "output": "out", "data": data[2:]}))
    assert main(asked) == 1
    assert "names nothing to hold out" in capsys.readouterr().err


def test_the_development_share_of_a_hubs_set(tmp_path, monkeypatch):
    pictures = [Image.new("RGB", (6, 4), (i, 0, 0)) for i in range(60)]

    def read(_source):
        for i, picture in enumerate(pictures):
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            for k in range(2):
                yield Row(buffer.getvalue, "vqa", f"{k}?", (str(i),), "hub:a/b", f"hub:a/b/{i:03}#{k}", "vqa")

    monkeypatch.setattr(devset, "read_hub", read)
    suite = held_out_suite(DataSource("hub:a/b", tasks=("vqa",)), tmp_path / "s" / "b.jsonl")
    rows = read_rows(suite)
    assert len(rows) == 2 * sum(held_out(f"hub:a/b/{i:03}") for i in range(60)) > 0
    assert all(row.open().getpixel((0, 0)) == (int(row.answers[0]), 0, 0) for row in rows)
    assert all(row.image.is_relative_to(tmp_path / "s" / "images") for row in rows)


def test_command_line(tmp_path, own_rows, capsys):
    folder = tmp_path / "s"
    command = ["data", str(folder), "--n", "4", "--only", "charts", "--hold-out", str(own_rows), "--json"]
    assert main(command) == 0
    files = [Path(name) for name in json.loads(capsys.readouterr().out)["suites"]]
    assert [path.name for path in files] == ["mine.jsonl", "charts.jsonl"]
    assert [len(read_rows(path)) for path in files] == [4, 4]
    assert (
        main(["data", str(folder), "--n", "3", "--only", "tables", "--task", "count", "--longest", "2"]) == 0
    )
    rows = read_rows(folder / "tables.jsonl")
    assert [row.task for row in rows] == ["count"] * 3


def test_command_line_faults(tmp_path, capsys):
    assert main(["data", str(tmp_path), "--hold-out", str(tmp_path / "gone.jsonl")]) == 1
    assert capsys.readouterr().err.startswith("smola_demo: There is no data file")
    for wrong in (["--n", "0"], ["--only", "songs"]):
        with pytest.raises(SystemExit) as caught:
            main(["data", str(tmp_path), *wrong])
        assert caught.value.code == 2
