"""The page as a whole, and how app.py starts it."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from fake_engine import FakeEngine
from PIL import Image

from smola_demo import ui
from smola_demo.config import PRECISIONS
from smola_demo.results import Answer, Request
from smola_demo.ui.loading import EngineHandle
from smola_demo.ui.view import encode


def test_values_carry_no_markup():
    assert "<" not in encode({"text": "<script>alert(1)</script>"})
    assert json.loads(encode({"text": "<b>"})) == {"text": "<b>"}
    with pytest.raises(TypeError, match="JSON"):
        encode({"x": float("nan")})


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_build_shares_one_queue_for_the_model(tmp_path):
    page = ui.build(EngineHandle.of(FakeEngine()), assets=tmp_path / "assets")
    functions = {fn.name: fn for fn in page.fns.values()}
    same = {functions[name].concurrency_id for name in ("ask", "ablate", "rank")}
    assert len(same) == 1
    assert functions["ask"].concurrency_limit == 1
    queued = [fn for fn in page.fns.values() if fn.queue is not False and fn.fn and fn.name != "leave"]
    assert {fn.concurrency_id for fn in queued} == same, "only the model's runs may share a visitor's stream"
    assert not functions["stop"].queue
    assert not functions["check_picture"].queue
    assert not functions["choose_example"].queue
    public = {fn.api_name for fn in page.fns.values() if fn.api_visibility != "private"}
    assert public == {"ask", "sweep", "info"}
    del page, functions, queued
    gc.collect()  # Gradio leaves event loops open; the warning about it belongs here, not into another test


def test_launch_settings():
    found = ui.launch_kwargs()
    assert found["ssr_mode"] is False
    assert found["max_file_size"] == "10mb"
    assert "allowed_paths" not in found
    assert "--visual:" in found["css"]
    assert "http" not in found["css"]


def test_ui_and_app_import_no_torch_and_load_no_weights():
    heavy = "{'torch', 'transformers', 'bitsandbytes'}"
    code = f"import sys, app, smola_demo.ui; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_app_address(monkeypatch):
    import app

    for name in ("PORT", "GRADIO_SERVER_PORT", "GRADIO_SERVER_NAME", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)

    def read(*argv):
        return app.address(app.parser().parse_args(argv))

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


def test_a_page_that_cannot_be_built_is_one_sentence(monkeypatch, capsys):
    import app
    from smola_demo import ui

    def refuse(*given, **named):
        raise PermissionError(13, "Permission denied", "/tmp/gradio")

    monkeypatch.setattr(ui, "build", refuse)
    assert app.main(["--port", "7999"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("The page could not be served on 127.0.0.1:7999: ")
    assert "/tmp/gradio" in said


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
    assert replace(one, trace=None) == replace(two, trace=None)
    assert one.trace.weight.tobytes() == two.trace.weight.tobytes()
    other = list(FakeEngine().answer(Request(Image.new("RGB", (9, 9), "gold"), "caption")))[-1]
    assert one.tokens != other.tokens


def test_every_checkpoint_is_on_offer_in_every_precision(monkeypatch):
    import app
    from smola_demo.engine import Engine
    from smola_demo.experts import checkpoint_names

    monkeypatch.setattr(Engine, "load", lambda *asked: asked)
    info = replace(FakeEngine().info(), experts="mine", folder="/somewhere/mine")
    made = app.variants(info)
    assert set(made) == {f"{name} in {p}" for name in [*checkpoint_names(), "mine"] for p in PRECISIONS}
    assert made["mine in fp32"]() == ("embedded", "/somewhere/mine", "fp32")
    bare = app.variants(replace(info, experts="none", folder=""))
    assert bare["none in nf4"]() == ("embedded", "none", "nf4")
