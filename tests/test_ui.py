"""The page's handlers called as plain functions, on an engine without a model."""

from __future__ import annotations

import base64
import gc
import io
import json
import subprocess
import sys
import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from smola_demo import ui
from smola_demo.data.images import ImageError
from smola_demo.results import Answer, Comparison, Progress, Request
from smola_demo.tasks import TaskError
from smola_demo.ui import answer, comparison
from smola_demo.ui.ask_handlers import AskHandlers
from smola_demo.ui.examples import example_picks, read_examples, uploaded
from smola_demo.ui.loading import EngineHandle, StopFlags, sentence
from smola_demo.ui.view import encode

VISITOR = SimpleNamespace(session_hash="visitor")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "beach.png"
    Image.new("RGB", (40, 30), "#9cc7e8").save(path)
    return {"path": str(path), "url": None, "orig_name": "beach.png"}


def handlers(engine=None, handle=None, examples=()):
    handle = handle or EngineHandle.of(engine or FakeEngine())
    return AskHandlers(handle, StopFlags(), list(examples), lambda run: run)


def ask(do, *inputs):
    do.begin_ask(VISITOR)
    return do.ask(*inputs, VISITOR)


def ablate(do, *inputs):
    do.begin_ablate(VISITOR)
    return do.ablate(*inputs, VISITOR)


def event(**data):
    return gr.EventData(target=None, _data=data)


def skipped(value):
    return value == gr.skip()


# ---------------------------------------------------------------- asking


def test_ask_streams_text_then_figures(picture):
    do = handlers()
    values = [json.loads(out[0]) for out in ask(do, picture, "caption", None)]
    assert [v["state"] for v in values[:-1]] == ["writing"] * (len(values) - 1)
    lengths = [len(v["text"]) for v in values]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 5
    last = values[-1]
    assert last["state"] == "done"
    labels = dict(last["run"])
    assert set(labels) >= {"time", "speed", "tokens", "confidence", "memory now"}
    engine = dict(last["engine"])
    assert engine["precision"] == "NF4 weights, computed in fp32"
    assert "4,000 steps" in engine["experts"]
    assert "often wrong" in last["notice"]


def test_buttons_come_back(picture):
    do = handlers()
    *_, last = ask(do, picture, "caption", None)
    assert [b["interactive"] for b in last[2:]] == [True, False, True]
    first = do.begin_ask(VISITOR)
    assert [b["interactive"] for b in first[1:]] == [False, True, False]
    without = handlers(FakeEngine(state="none", groups=()))
    assert [b["interactive"] for b in without.buttons()] == [True, False, False]


def test_confidence_is_the_mean_token_probability(picture):
    request = Request(uploaded(picture), "caption")
    *_, found = FakeEngine().answer(request)
    expected = sum(float(np.exp(t.logprob)) for t in found.tokens) / len(found.tokens)
    assert answer.confidence(found.tokens) == f"{100 * expected:.0f} %"
    assert answer.confidence([]) == "–"


def test_map_comes_at_most_four_times_a_second_and_at_the_end(picture):
    request = Request(uploaded(picture), "caption")
    ticks = iter(np.arange(0, 100, 0.1))
    engine = FakeEngine()
    pairs = list(
        answer.stream_answer(engine.answer(request), engine.info(), threading.Event(), lambda: next(ticks))
    )
    drawn = [i for i, (_, routing) in enumerate(pairs) if routing is not None]
    assert drawn[0] == 0
    assert drawn[-1] == len(pairs) - 1
    gaps = np.diff(drawn[:-1]) * 0.1
    assert (gaps >= 0.25).all()
    assert len(pairs) > len(drawn) > 3


def test_map_of_a_run_has_prompt_and_answer(picture):
    do = handlers()
    maps = [json.loads(out[1]) for out in ask(do, picture, "caption", None) if not skipped(out[1])]
    assert set(maps[0]["frames"]) == {"prompt"}
    last = maps[-1]["frames"]
    assert last["prompt"]["served"] == [True, True, True]
    assert last["answer"]["served"] == [False, True, True]


@pytest.mark.parametrize(
    ("payload", "task", "question", "said"),
    [
        (None, "caption", None, "Choose or upload a picture first."),
        ("picture", "vqa", "  ", "needs a question"),
        ("picture", "count", "x" * 501, "501 characters"),
        ("picture", "nonsense", None, "There is no task 'nonsense'"),
    ],
)
def test_bad_input_is_one_sentence_on_the_page(picture, payload, task, question, said, capsys):
    outs = list(ask(handlers(), picture if payload else None, task, question))
    assert len(outs) == 1
    value = json.loads(outs[0][0])
    assert value["state"] == "error"
    assert said in value["message"]
    assert outs[0][2]["interactive"] is True
    assert capsys.readouterr().err == ""


def test_a_bug_shows_no_details_and_is_logged(picture, capsys):
    *_, last = ask(handlers(FakeEngine(fail=True)), picture, "caption", None)
    value = json.loads(last[0])
    assert value["message"] == "Something went wrong on the server; its log says what."
    assert "secret" not in last[0]
    assert "RuntimeError: a bug" in capsys.readouterr().err
    assert last[2]["interactive"] is True


def test_stop_ends_between_two_tokens_and_closes_the_engine(picture):
    engine = FakeEngine()
    do = handlers(engine)
    run = ask(do, picture, "caption", None)
    next(run)
    next(run)
    assert engine.running == 1
    do.stop(VISITOR)
    rest = list(run)
    assert len(rest) == 1
    value = json.loads(rest[0][0])
    assert value["state"] == "stopped"
    assert "Stopped after 3 tokens" in value["message"]
    assert (engine.running, engine.closed_early) == (0, 1)


def test_stop_before_the_queue_lets_go_starts_nothing(picture):
    engine = FakeEngine()
    do = handlers(engine)
    do.begin_ask(VISITOR)
    do.stop(VISITOR)
    (only,) = do.ask(picture, "caption", None, VISITOR)
    assert json.loads(only[0])["state"] == "stopped"
    assert engine.most_running == 0


def test_stop_is_for_one_visitor_only(picture):
    do = handlers()
    do.stop(SimpleNamespace(session_hash="somebody else"))
    *_, last = ask(do, picture, "caption", None)
    assert json.loads(last[0])["state"] == "done"


def test_closing_the_page_closes_the_engine(picture):
    engine = FakeEngine()
    run = ask(handlers(engine), picture, "caption", None)
    next(run)
    run.close()
    assert (engine.running, engine.closed_early) == (0, 1)


def test_leaving_forgets_the_flag_and_ends_the_run():
    flags = StopFlags()
    assert flags.begin("a")
    flag = flags.flag("a")
    flags.end("a")
    assert flag.is_set()
    assert flags.flag("a") is None


def test_pressing_enter_twice_asks_once(picture):
    engine = FakeEngine()
    do = handlers(engine)
    run = ask(do, picture, "caption", None)
    next(run)
    assert all(skipped(v) for v in do.begin_ask(VISITOR))
    list(run)
    (ignored,) = do.ask(picture, "caption", None, VISITOR)
    assert all(skipped(v) for v in ignored)
    assert engine.most_running == 1
    *_, last = ask(do, picture, "caption", None)
    assert json.loads(last[0])["state"] == "done"


def test_a_full_queue_gives_the_buttons_back():
    do = handlers()
    do.begin_ask(VISITOR)
    value, *rest = do.ask_refused(VISITOR)
    assert "try again" in json.loads(value)["message"]
    assert [b["interactive"] for b in rest] == [True, False, True]
    assert do.stops.flag(VISITOR.session_hash) is None


# ---------------------------------------------------------------- ablating


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("visual", 3, "", "zero"), "visual:3"),
        (("visual", 3, None, None), "visual:3"),
        (("text", 0, " 8 - 15 ", "zero"), "text:0@8-15"),
        (("text", 0, "@4", "mean"), "mean!text:0@4"),
        (("multimodal", 7, "*", "renormalize"), "renormalize!multimodal:7"),
        ((None, 3, "", "zero"), ""),
        (("visual", None, "", "zero"), ""),
    ],
)
def test_spec_text(parts, text):
    assert comparison.spec_text(*parts) == text


def test_spec_text_is_what_the_model_side_reads():
    ablation = pytest.importorskip("smola_demo.ablation")
    for kind in ("zero", "renormalize", "mean"):
        text = comparison.spec_text("visual", 3, "8-15", kind)
        spec = ablation.AblationSpec.parse(text)
        assert spec.kind == kind
        assert spec.terms[0].experts == (3,)
        assert spec.terms[0].layers == tuple(range(8, 16))


def test_a_clicked_cell_is_checked():
    info = FakeEngine().info()
    assert comparison.picked_cell({"group": "text", "expert": 2, "layer": "12"}, info) == ("text", 2, "12")
    assert comparison.picked_cell({"group": "text", "expert": 2, "layer": "4-5"}, info) == ("text", 2, "4-5")
    for bad in (
        None,
        "text",
        {"group": "audio", "expert": 2, "layer": "12"},
        {"group": "text", "expert": 8, "layer": "12"},
        {"group": "text", "expert": -1, "layer": "12"},
        {"group": "text", "expert": "2", "layer": "12"},
        {"group": "text", "expert": 2, "layer": "30"},
        {"group": "text", "expert": 2, "layer": "1; drop"},
    ):
        assert comparison.picked_cell(bad, info) is None


def test_clicking_a_cell_fills_the_ablation_form():
    do = handlers()
    assert do.pick_cell("mean", event(group="text", expert=2, layer="12")) == (
        "text",
        2,
        "12",
        "mean!text:2@12",
    )
    assert all(skipped(v) for v in do.pick_cell("mean", event(group="audio", expert=2, layer="12")))


def test_word_diff_keeps_every_word():
    before, after = "a red ball on the green lawn", "a blue ball on a lawn today"
    left, right = comparison.word_diff(before, after)
    assert " ".join(words for _, words in left) == before
    assert " ".join(words for _, words in right) == after
    assert ("gone", "red") in left
    assert ("new", "blue") in right
    assert (
        [w for k, w in left if k == "same"]
        == [w for k, w in right if k == "same"]
        == ["a", "ball on", "lawn"]
    )


def test_ablate_shows_both_answers_and_what_changed(picture):
    do = handlers()
    outs = list(ablate(do, picture, "caption", None, "visual:3@8-15"))
    assert json.loads(outs[0][0])["state"] == "running"
    value = json.loads(outs[-1][0])
    assert value["state"] == "done"
    assert value["spec"] == "visual:3@8-15"
    assert len(value["tokens"]) > 3
    facts = dict(value["facts"])
    assert facts["modules touched"] == "24"
    total = sum(change for _, change in value["tokens"])
    assert float(facts["total Δ log-probability"].removesuffix(" nats").replace("−", "-")) == pytest.approx(
        total, abs=6e-4
    )
    assert len(value["divergence"]["data"][0]["x"]) == 30
    assert outs[-1][1]["interactive"] is True


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "Name an expert to take out, for example visual:3."),
        ("visual:99", "No expert visual:99: each group has 0 to 7."),
        ("audio:1", "No expert group 'audio': there are visual, text, multimodal."),
        ("visual:1@77", "No experts in layer 77: wrapped layers are 0-29."),
        ("<b>", "Cannot read '<b>': write group:experts, for example visual:3."),
    ],
)
def test_a_spec_that_does_not_fit_is_one_sentence(picture, spec, said, capsys):
    (out,) = ablate(handlers(), picture, "caption", None, spec)
    assert json.loads(out[0]) == {"state": "error", "message": said}
    assert out[1]["interactive"] is True
    assert capsys.readouterr().err == ""


def test_stopping_a_comparison_closes_it(picture):
    engine = FakeEngine()
    flag = threading.Event()
    request = Request(uploaded(picture), "caption", ablation="visual:1")
    run = comparison.stream_comparison(engine.compare(request), flag)
    assert next(run)["state"] == "running"
    flag.set()
    assert [v["state"] for v in run] == ["stopped"]
    assert engine.running == 0


def test_verdict_says_which_way():
    engine = FakeEngine()
    image = Image.new("RGB", (8, 8))
    items = list(engine.compare(Request(image, "caption", ablation="visual:1")))
    found = items[-1]
    assert isinstance(found, Comparison)
    assert isinstance(items[0], Progress)
    way = "less likely" if found.delta_logprob < 0 else "more likely"
    assert way in comparison.verdict(found, "visual:1")
    assert comparison.signed(-0.5) == "−0.500"
    assert comparison.signed(0.25, 2) == "+0.25"


# ---------------------------------------------------------------- pictures, tasks, examples


def test_uploads_are_decoded_by_our_own_reader(tmp_path):
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


def test_a_bad_upload_is_said_at_once_and_taken_out(tmp_path):
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
    _, box, picks = do.choose_task("vqa")
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


# ---------------------------------------------------------------- loading


def test_handle_tells_progress_then_readiness():
    gate, reported = threading.Event(), threading.Event()

    def build(report):
        report(40_000_000, 116_000_000, "language model")
        reported.set()
        gate.wait(20)
        return FakeEngine()

    handle = EngineHandle(build).start()
    assert reported.wait(20)
    assert handle.loading
    assert "fetching the language model, 40 of 116 MB" in handle.status
    with pytest.raises(ValueError, match="still loading"):
        handle.require()
    gate.set()
    assert handle.ready.wait(20)
    assert handle.status == ""
    assert handle.engine.info() == handle.info


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ValueError("no experts at /x: name a folder"),
            "The model could not be loaded: No experts at /x: name a folder.",
        ),
        (
            RuntimeError("CUDA exploded"),
            "The model could not be loaded: Something went wrong on the server; its log says what.",
        ),
    ],
)
def test_a_failed_load_is_one_sentence(error, said, picture, capsys):
    def build(_report):
        raise error

    handle = EngineHandle(build)
    handle.load()
    assert handle.status == said
    assert ("CUDA exploded" in capsys.readouterr().err) == isinstance(error, RuntimeError)
    (out,) = ask(handlers(handle=handle), picture, "caption", None)
    assert json.loads(out[0])["message"] == said
    assert out[2]["interactive"] is False


def test_asking_while_loading_is_told_so(picture):
    handle = EngineHandle(lambda _report: FakeEngine())
    (out,) = ask(handlers(handle=handle), picture, "caption", None)
    assert "still loading" in json.loads(out[0])["message"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("untrained", "UNTRAINED"),
        ("none", "none: the plain backbone answers"),
        ("trained", "trained for 4,000 steps"),
    ],
)
def test_training_state_is_always_on_screen(state, said):
    groups = () if state == "none" else ("visual", "text", "multimodal")
    info = FakeEngine(state=state, groups=groups).info()
    value = answer.answer_value(info)
    assert said in dict(value["engine"])["experts"]
    if state != "trained":
        assert state in value["notice"] or "No experts" in value["notice"]


def test_without_experts_the_map_says_so(picture):
    do = handlers(FakeEngine(state="none", groups=(), experts=0, layers=0))
    assert "No experts are loaded" in json.loads(do.loaded()[1])["notice"]
    *_, last = ask(do, picture, "caption", None)
    assert json.loads(last[0])["state"] == "done"


def test_sentences():
    assert sentence(TaskError("pick one")) == "Pick one."
    assert sentence(ValueError("two\nlines!")) == "Two lines!"
    assert "log" in sentence(KeyError("x"))
    assert "log" in sentence(ValueError(""))


# ---------------------------------------------------------------- the page as a whole


def test_values_carry_no_markup():
    assert "<" not in encode({"text": "<script>alert(1)</script>"})
    assert json.loads(encode({"text": "<b>"})) == {"text": "<b>"}
    with pytest.raises(TypeError, match="JSON"):
        encode({"x": float("nan")})


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_build_shares_one_queue_for_the_model(assets):
    page = ui.build(EngineHandle.of(FakeEngine()), assets=assets)
    functions = {fn.name: fn for fn in page.fns.values()}
    assert functions["ask"].concurrency_id == functions["ablate"].concurrency_id
    assert functions["ask"].concurrency_limit == 1
    assert functions["stop"].queue is False
    assert all(
        fn.api_visibility == "private" for fn in page.fns.values() if fn.name not in ("leave", "unload")
    )
    del page, functions
    gc.collect()  # Gradio leaves event loops open; the warning about it belongs here, not into another test


def test_launch_settings():
    found = ui.launch_kwargs()
    assert found["ssr_mode"] is False
    assert found["max_file_size"] == "10mb"
    assert "allowed_paths" not in found
    assert "--visual:" in found["css"]
    assert "http" not in found["css"]


def test_ui_and_app_import_no_torch_and_load_no_weights():
    code = "import sys, app; print(sorted({'torch', 'transformers', 'bitsandbytes'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_app_address(monkeypatch):
    import app

    for name in ("PORT", "GRADIO_SERVER_PORT", "GRADIO_SERVER_NAME", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    read = lambda *argv: app.address(app.parser().parse_args(argv))  # noqa: E731
    assert read() == ("127.0.0.1", None)
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7000")
    assert read() == ("127.0.0.1", 7000)
    monkeypatch.setenv("PORT", "8000")
    assert read() == ("127.0.0.1", 8000)
    assert read("--port", "9000", "--host", "::1") == ("::1", 9000)
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert read()[0] == "0.0.0.0"


@pytest.mark.parametrize(
    "argv", [["--port", "abc"], ["--port", "70000"], ["--precision", "fp8"], ["--nonsense"]]
)
def test_app_wrong_usage_is_exit_code_2(argv, capsys):
    import app

    with pytest.raises(SystemExit) as stopped:
        app.main(argv)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_app_help_has_examples(capsys):
    import app

    with pytest.raises(SystemExit) as stopped:
        app.main(["--help"])
    assert stopped.value.code == 0
    assert "python app.py --port 8000" in capsys.readouterr().out


def test_fake_engine_answers_from_its_input_alone():
    image = Image.new("RGB", (9, 9), "navy")
    one, two = (list(FakeEngine().answer(Request(image, "caption")))[-1] for _ in range(2))
    assert isinstance(one, Answer)
    assert one == two
    other = list(FakeEngine().answer(Request(Image.new("RGB", (9, 9), "gold"), "caption")))[-1]
    assert one.tokens != other.tokens
