"""The page in a real browser when things are unusual: bad pictures, loading, a prefix, the real model."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import (  # noqa: F401  fixtures
    PLOT,
    SCREENS,
    WAIT,
    Visit,
    address,
    assets,
    browser,
    engine,
    example,
    free_port,
    picture,
    serving,
    until_served,
    visit,
)
from fake_engine import FakeEngine
from PIL import Image

from smola_demo import ui
from smola_demo.ui.ask_handlers import AskHandlers

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

ROOT = Path(__file__).resolve().parent.parent


def huge_png(path):
    """A PNG of 30,000 by 30,000 pixels in a few kilobytes: only its header is ever read."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("kind", "said"), [("text", "is not a picture"), ("huge", "too large"), ("empty", "empty")]
)
def test_a_bad_upload_is_one_sentence(visit, tmp_path, kind, said, capfd):
    path = tmp_path / f"{kind}.png"
    if kind == "huge":
        huge_png(path)
    else:
        path.write_text("plain text" if kind == "text" else "")
    page = visit.open().page
    page.set_input_files("#picture input[type=file]", str(path))
    visit.until("(said) => document.querySelector('#picture-note .note').textContent.includes(said)", said)
    page.wait_for_selector("#picture img", state="detached")
    assert "Traceback" not in capfd.readouterr().err
    page.click("#ask")
    visit.answered("error")
    assert "Choose or upload a picture first." in visit.text(".answer-message")


@pytest.mark.parametrize("kind", ["cmyk", "gif", "alpha", "tiny"])
def test_unusual_pictures_are_fine(visit, tmp_path, kind):
    path = tmp_path / {"cmyk": "a.jpg", "gif": "a.gif", "alpha": "a.png", "tiny": "a.png"}[kind]
    if kind == "cmyk":
        Image.new("CMYK", (60, 40), (0, 120, 200, 10)).save(path)
    elif kind == "gif":
        frames = [Image.new("P", (60, 40), i) for i in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    else:
        Image.new("RGBA", (1, 1) if kind == "tiny" else (60, 40), (9, 200, 9, 100)).save(path)
    page = visit.open().page
    visit.upload(path)
    page.click("#ask")
    visit.answered()
    assert page.locator("#picture-note .note").text_content() == ""


def test_of_quick_choices_the_last_one_counts(browser, assets, monkeypatch):
    """On a slow link the server is still busy with the first press when the second comes."""
    known = AskHandlers.choose_task

    def late(self, task: str):
        time.sleep(0.6)
        return known(self, task)

    monkeypatch.setattr(AskHandlers, "choose_task", late)
    with serving(ui.EngineHandle.of(FakeEngine()), assets) as address:
        context = browser.new_context(**SCREENS["wide"])
        found = Visit(context.new_page(), address).open()
        for task in ("Short question", "Count"):
            found.page.get_by_label(task).click()
        found.page.wait_for_selector("#question", state="visible")
        found.until("document.querySelector('#suggestions').textContent.includes('How many people')")
        found.page.wait_for_timeout(900)  # for what might still come and undo it
        assert found.page.get_by_label("Count").is_checked()
        assert "How many people" in found.text("#suggestions")
        context.close()


def test_chips_name_only_layers_that_have_experts(browser, assets, monkeypatch):
    engine = FakeEngine(layers=3)
    info = replace(engine.info(), layers=(0, 4, 8))
    monkeypatch.setattr(engine, "info", lambda: info)
    with serving(ui.EngineHandle.of(engine), assets) as address:
        context = browser.new_context(**SCREENS["wide"])
        found = Visit(context.new_page(), address).open()
        found.tab("ablate")
        found.page.click(".chip[data-group=visual][data-expert='3']")
        found.page.select_option(".picker-last", "4")
        found.until("document.querySelector('#spec :is(input, textarea)').value === 'visual:3@0,4'")
        found.page.click(".chip[data-group=visual][data-expert='5']")
        found.until("document.querySelector('#spec :is(input, textarea)').value === 'visual:3,5@0,4'")
        assert found.text(".picker-note") == ""
        context.close()


def test_the_page_is_there_while_the_model_loads(browser, assets):
    gate = threading.Event()

    def build(report):
        report(30_000_000, 116_000_000, "language model")
        gate.wait(60)
        return FakeEngine()

    with serving(ui.EngineHandle(build).start(), assets) as address:
        context = browser.new_context(**SCREENS["wide"])
        page = Visit(context.new_page(), address).page
        page.goto(address)
        page.wait_for_function(
            "document.querySelector('#loading .note')?.textContent.includes('30 of 116 MB')"
        )
        assert page.is_disabled("#ask")
        gate.set()
        page.wait_for_selector("#ask:not([disabled])")
        page.wait_for_selector("#loading", state="hidden")
        assert "trained for 4,000 steps" in page.inner_text("#answer")
        context.close()


def test_a_failed_load_is_said_on_the_page(browser, assets):
    def build(_report):
        raise ValueError("no experts at /nowhere: name a folder with adapter_config.json")

    with serving(ui.EngineHandle(build).start(), assets) as address:
        context = browser.new_context(**SCREENS["wide"])
        page = Visit(context.new_page(), address).page
        page.goto(address)
        page.wait_for_function(
            "document.querySelector('#loading .note')?.textContent.includes('No experts at /nowhere')"
        )
        assert page.is_disabled("#ask")
        context.close()


def test_a_full_queue_is_said_and_a_queued_run_can_be_stopped(browser, assets):
    engine = FakeEngine(token_s=0.5, prefill_s=5)
    with serving(ui.EngineHandle.of(engine), assets, queue=1) as address:
        contexts = [browser.new_context(**SCREENS["wide"]) for _ in range(3)]
        first, second, third = (Visit(c.new_page(), address).open() for c in contexts)
        for found in (first, second, third):
            example(found, 0)
        first.page.click("#ask")
        assert engine.started.wait(WAIT / 1000)
        with second.page.expect_response("**/queue/join*"):
            second.page.click("#ask")
        third.page.click("#ask")
        third.answered("error")
        assert "try again" in third.text(".answer-message")
        second.page.click("#stop")
        second.answered("stopped")  # though the queue has not come to it
        assert second.text(".answer-message") == "Stopped."
        assert second.text("#stop").strip() == "Stop"
        first.page.click("#stop")
        first.answered("stopped")
        assert engine.most_running == 1
        engine.token_s = engine.prefill_s = 0
        second.page.click("#ask")
        second.answered()
        for context in contexts:
            context.close()


def test_who_stopped_in_the_queue_may_ask_again_before_it_empties(browser, assets):
    """The stopped run still stands there: its turn passes, and the next run keeps its own."""
    engine = FakeEngine(token_s=3)
    with serving(ui.EngineHandle.of(engine), assets) as address:
        contexts = [browser.new_context(**SCREENS["wide"]) for _ in range(2)]
        first, second = (Visit(c.new_page(), address).open() for c in contexts)
        for found in (first, second):
            example(found, 0)
        first.page.click("#ask")
        assert engine.started.wait(WAIT / 1000)
        with second.page.expect_response("**/queue/join*"):
            second.page.click("#ask")
        second.page.click("#stop")
        second.answered("stopped")
        with second.page.expect_response("**/queue/join*"):
            second.page.click("#ask")
        assert engine.running == 1
        engine.token_s = 0
        for found in (first, second):
            found.answered()
            assert found.page.is_disabled("#stop")
            assert found.errors == []
        for context in contexts:
            context.close()


def test_the_page_works_behind_a_prefix(browser, assets, picture):
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    page = ui.build(ui.EngineHandle.of(FakeEngine()), assets=assets)
    settings = {
        k: v for k, v in ui.launch_kwargs().items() if k in ("theme", "css", "ssr_mode", "max_file_size")
    }
    app = gr.mount_gradio_app(FastAPI(), page, path="/deep/tool", **settings)
    number = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=number, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        context = browser.new_context(**SCREENS["wide"])
        found = Visit(context.new_page(), f"http://127.0.0.1:{number}/deep/tool/")
        for _ in range(100):
            with contextlib.suppress(Exception):
                found.open()
                break
        found.upload(picture)
        found.page.click("#ask")
        found.answered()
        assert found.page.evaluate(f"{PLOT}.data.length") == 6
        assert found.missing == []
        assert [e for e in found.errors if "favicon.ico" not in e] == []  # the outer app has no icon
        context.close()
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.slow
def test_the_real_page_on_the_embedded_model(browser, tmp_path, picture):
    """`python app.py` as a user starts it: one answer, one ablation. Needs the weights in the cache."""
    number = free_port()
    log = (tmp_path / "app.log").open("w")
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(number)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
    address = f"http://127.0.0.1:{number}/"
    try:
        context = browser.new_context(**SCREENS["wide"])
        found = Visit(context.new_page(), address)
        found.page.set_default_timeout(300_000)
        until_served(address, process)
        found.open()
        assert "computed" in found.text("#answer") or "NF4" in found.text("#answer")
        found.upload(picture)
        found.page.click("#ask")
        found.page.wait_for_selector(".answer[data-state=done][data-origin='']")  # not the recorded run
        found.answered()
        assert found.text(".answer-text")
        found.tab("ablate")
        found.page.click(".chip[data-group=visual][data-expert='3']")
        found.page.click("#ablate")
        found.page.wait_for_selector(".comparison[data-state=done]")
        assert "modules touched" in found.text(".comparison-facts")
        assert found.errors == []
        context.close()
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    assert "Traceback" not in (tmp_path / "app.log").read_text()
