"""Runs reopened and recorded, and what a link means: values in, values out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image
from ui_calls import event, skipped

from smola_demo import commands
from smola_demo.__main__ import main
from smola_demo.results import Answer, Request
from smola_demo.runs import RunError, read_run_file, run_record, write_run_file
from smola_demo.ui import recorded
from smola_demo.ui.answer import stream_answer
from smola_demo.ui.examples import Example
from smola_demo.ui.links import Link, read_link
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.share import Share, is_recorded

WHEN = "2026-01-02T03:04:05+00:00"


def made(engine=None, ablation="", task="caption", question=None) -> dict:
    fake = engine or FakeEngine(layers=3, experts=4)
    image = Image.new("RGB", (40, 30), "teal")
    *_, answer = fake.answer(Request(image, task, question, ablation))
    assert isinstance(answer, Answer)
    return run_record(answer, fake.info(), image, WHEN)


def opened(run, kind="reopened") -> list[dict]:
    return [json.loads(value) for value in recorded.views(run, kind)]


def test_a_reopened_run_shows_what_was_answered_and_says_what_it_is():
    run = made(ablation="visual:3", task="vqa", question="What?")
    answer, _, explorer, note = opened(run)
    assert explorer == json.loads(json.dumps(run))
    assert answer["text"] == run["answer"]["text"]
    probabilities = [p for _, p in answer["tokens"]]
    assert probabilities == pytest.approx(
        np.exp([t["logprob"] for t in run["answer"]["tokens"]]).tolist(), abs=1e-4
    )
    assert dict(answer["run"])["asked"] == "Short question: What?"
    assert dict(answer["run"])["confidence"] == f"{100 * np.mean(probabilities):.0f} %"
    said = (
        "Reopened run, not live: made on 2026-01-02 at 03:04 UTC with experts embedded-omni after 4,000 steps"
    )
    assert note["text"] == answer["message"] == said + ", without visual:3."
    assert (answer["origin"], note["kind"]) == ("reopened", "recorded")
    assert "Recorded run" in opened(run, "recorded")[3]["text"]


def test_the_map_of_a_reopened_run_is_the_mean_of_its_trace():
    fake = FakeEngine(layers=3, experts=4)
    run = made(fake)
    *_, answer = fake.answer(Request(Image.new("RGB", (40, 30), "teal"), "caption"))
    _, shown, _, _ = opened(run)
    trace = answer.trace
    for phase, number in (("prompt", 0), ("answer", 1)):
        part = trace.select(trace.phase == number)
        for measure, values in (("weight", part.weight), ("norm", part.contribution)):
            drawn = np.array(shown["frames"][phase][measure], float)
            expected = part.mean(values)
            served = np.array(shown["frames"][phase]["served"])
            np.testing.assert_allclose(drawn[served], expected[served], atol=2e-3)
    assert shown["frames"]["answer"]["served"] == [False, True, True]


def test_a_live_answer_and_its_reopened_run_agree_in_words_and_tokens():
    fake, image = FakeEngine(layers=3, experts=4), Image.new("RGB", (40, 30), "teal")
    import threading

    *_, (live, _, run) = stream_answer(
        fake.answer(Request(image, "caption")), fake.info(), threading.Event(), image
    )
    answer = opened(run)[0]
    assert answer["text"] == live["text"]
    assert [list(t) for t in live["tokens"]] == [
        [text, pytest.approx(p, abs=1e-3)] for text, p in answer["tokens"]
    ]
    assert not is_recorded(json.dumps(live))
    assert is_recorded(json.dumps(answer))
    assert not any(is_recorded(odd) for odd in (None, "", "[]", "no JSON"))


def test_a_run_without_routing_reopens():
    _, shown, _, note = opened(made(FakeEngine(groups=(), state="none")))
    assert "no routing" in shown["notice"]
    assert "with no experts." in note["text"]


@pytest.mark.parametrize(
    ("state", "note_says", "fact"),
    [
        ("lora", "with the LoRA embedded-omni after 4,000 steps.", "embedded-omni: a LoRA, no mixture"),
        ("none", "with no experts.", "none"),
    ],
)
def test_a_run_without_a_mixture_says_what_answered(state, note_says, fact):
    answer, shown, _, note = opened(made(FakeEngine(groups=(), state=state)))
    assert note_says in note["text"]
    assert dict(answer["engine"])["experts"] == fact
    assert ("a LoRA without a mixture" in shown["notice"]) == (state == "lora")
    assert "with untrained experts." in opened(made(FakeEngine(state="untrained")))[3]["text"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("when",), "yesterday"),
        (("timing",), None),
        (("engine", "experts_steps"), "many"),
        (("answer", "tokens", 0, "logprob"), 1e9),
        (("answer", "tokens", 0, "logprob"), float("nan")),
    ],
)
def test_a_run_with_a_senseless_part_is_refused_in_one_sentence(path, value):
    run = json.loads(json.dumps(made()))
    place = run
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(RunError, match="this run is damaged"):
        recorded.views(run, "reopened")


@pytest.fixture
def assets(tmp_path):
    entries = []
    for name, task, question in (("cat", "caption", ""), ("stars", "count", "How many?")):
        Image.new("RGB", (32, 24), "teal" if name == "cat" else "gold").save(tmp_path / f"{name}.png")
        entries.append({"image": f"{name}.png", "task": task, "question": question, "title": name.title()})
    (tmp_path / "examples.json").write_text(json.dumps(entries))
    return tmp_path


def examples(assets) -> list[Example]:
    return [
        Example(assets / "cat.png", "caption", "", "Cat", ""),
        Example(assets / "stars.png", "count", "How many?", "Stars", ""),
    ]


def test_files_of_runs_are_the_same_twice_and_reopen(tmp_path):
    run = made()
    one, two = tmp_path / "a" / "one.json.gz", tmp_path / "two.json.gz"
    assert write_run_file(one, run) == one.stat().st_size == write_run_file(two, run)
    assert one.read_bytes() == two.read_bytes()
    assert read_run_file(one) == json.loads(json.dumps(run))
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(run))
    assert read_run_file(plain) == read_run_file(one)


@pytest.mark.parametrize("raw", [b"\x1f\x8bnonsense", b"", gzip.compress(b"[1]", mtime=0), b"GIF89a"])
def test_other_files_are_refused(tmp_path, raw):
    path = tmp_path / "run.json"
    path.write_bytes(raw)
    with pytest.raises(RunError):
        read_run_file(path)


def test_a_compressed_bomb_stops_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("smola_demo.runs.MAX_BYTES", 1000)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * 10_000_000, mtime=0))
    with pytest.raises(RunError, match="at most"):
        read_run_file(path)
    with pytest.raises(RunError, match="cannot be read"):
        read_run_file(tmp_path)


def test_record_writes_what_the_engine_said_and_the_page_finds_it(assets, monkeypatch, capsys):
    engine = FakeEngine(layers=3, experts=4)
    monkeypatch.setattr(commands, "load_engine", lambda _options: engine)
    assert main(["record", "cat", "stars", "--assets", str(assets), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    with Image.open(assets / "stars.png") as image:
        *_, answer = engine.answer(Request(image.convert("RGB"), "count", "How many?"))
    assert report["runs"][1]["answer"] == answer.text
    found = recorded.shipped_runs(assets, examples(assets))
    assert [title for _, title in found] == ["Cat", "Stars"]
    assert read_run_file(found[1][0])["answer"]["text"] == answer.text
    assert report["bytes"] == sum(path.stat().st_size for path, _ in found)


def test_record_refuses_what_is_no_example(assets, monkeypatch, capsys):
    monkeypatch.setattr(commands, "load_engine", lambda _options: pytest.fail("no model is needed to refuse"))
    assert main(["record", "dog", "--assets", str(assets)]) == 1
    assert "no example 'dog': there are cat, stars" in capsys.readouterr().err
    assert main(["record", *["cat"] * 5, "--assets", str(assets)]) == 1


def test_shipped_runs_are_small_and_readable():
    folder = Path(__file__).resolve().parents[1] / "assets" / "runs"
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    assert len(files) <= 4
    assert sum(path.stat().st_size for path in files) < 3e6
    for path in files:
        recorded.views(read_run_file(path), "recorded")


def share(assets, loading=False) -> Share:
    handle = EngineHandle(lambda _report: FakeEngine())
    if not loading:
        handle.load()
    made = Share(handle, assets, examples(assets))
    made.ablation = SimpleNamespace(given=lambda spec: (spec, json.dumps({"spec": spec})))
    return made


def arrive(panel, **query):
    return panel.arrive(SimpleNamespace(query_params=query))


def test_an_opened_file_shows_its_run_or_one_sentence(assets, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(made()))
    *shown, said, tabs = share(assets).reopen({"path": str(path)})
    assert json.loads(shown[0])["origin"] == "reopened"
    assert "Routing" in json.loads(said)["text"]
    assert tabs.selected == "routing"
    path.write_text("{}")
    *shown, said, tabs = share(assets).reopen({"path": str(path)})
    assert all(skipped(value) for value in (*shown, tabs))
    assert json.loads(said) == {
        "text": "This JSON is no recorded run: choose a file that was exported here.",
        "kind": "error",
    }
    assert json.loads(share(assets).reopen(None)[4])["kind"] == "error"


def test_a_recorded_run_is_shown_at_once_while_the_model_loads_only(assets):
    assert all(skipped(v) for v in arrive(share(assets, loading=True)))  # none is shipped
    write_run_file(assets / "runs" / "stars.json.gz", made(task="count", question="How many?"))
    found = arrive(share(assets, loading=True))
    assert json.loads(found[7])["origin"] == "recorded"
    assert all(skipped(v) for v in arrive(share(assets)))
    assert all(skipped(v) for v in arrive(share(assets, loading=True), task="vqa")[7:])
    panel = share(assets)
    assert json.loads(panel.play(event(index=0))[0])["origin"] == "recorded"
    for odd in ({"index": 1}, {"index": -1}, {"index": "0"}, {}):
        assert all(skipped(v) for v in panel.play(event(**odd)))
    (assets / "runs" / "stars.json.gz").write_bytes(b"broken")
    assert json.loads(panel.play(event(index=0))[4])["kind"] == "error"


def test_a_link_fills_everything_in(assets):
    found = arrive(share(assets), example="stars", question="How many stars?", ablation="visual:3@8-15")
    picture, note, task, question, _, spec, picker, *rest = found
    assert picture == str(assets / "stars.png")
    assert json.loads(note) == {}
    assert (task["value"], question["value"]) == ("count", "How many stars?")
    assert (spec, json.loads(picker)) == ("visual:3@8-15", {"spec": "visual:3@8-15"})
    assert all(skipped(v) for v in rest)


@pytest.mark.parametrize(
    ("query", "link"),
    [
        ({}, Link()),
        ({"__theme": "dark", "utm": "x"}, Link()),
        ({"example": "cat"}, Link(0, "caption", "")),
        ({"example": "stars", "layer": "12", "expert": "visual:3"}, Link(1, "count", "How many?")),
        ({"example": "stars", "task": "vqa", "question": "Why?"}, Link(1, "vqa", "Why?")),
        ({"example": "dog"}, Link(ignored=("example",))),
        ({"example": "../cat", "task": "paint"}, Link(ignored=("example", "task"))),
        ({"task": "count", "question": "x" * 501}, Link(task="count", ignored=("question",))),
        ({"example": "cat", "question": "Why?"}, Link(0, "caption", "", ignored=("question",))),
        ({"question": "Why?"}, Link(ignored=("question",))),
        ({"ablation": "visual:3;text:*"}, Link(ablation="visual:3;text:*")),
        ({"ablation": "visual"}, Link(ignored=("ablation",))),
        ({"ablation": "visual:1;" * 60}, Link(ignored=("ablation",))),
        ({"layer": "-1", "expert": "audio:1"}, Link(ignored=("layer", "expert"))),
    ],
)
def test_links_are_read_and_what_they_get_wrong_is_named(assets, query, link):
    found = read_link(query, examples(assets))
    assert found == link
    assert found.said.count(".") == bool(link.ignored)
    for name in link.ignored:
        assert name in found.said


def test_a_wrong_link_says_so_and_changes_nothing_else(assets):
    *rest, message = arrive(share(assets), example="<b>dog</b>")
    assert all(skipped(v) for v in rest)
    assert "dog" not in message
    assert "example was ignored" in json.loads(message)["text"]
