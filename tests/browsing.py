"""A Chromium, the page served on an engine without a model, and a visit to it; used by the browser tests."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import socket
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from PIL import Image, ImageDraw

from smola_demo import ui

WAIT = 90_000
TAB_NAMES = {"truth": "Is it true?"}  # where a tab is not called as its id
SCREENS = {
    "wide": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
TWO_SCREENS = ("phone", "dark")  # between them each width and each palette; "wide" is the other tests' screen


def chromium_path() -> str | None:
    named = os.environ.get("CHROMIUM")
    found = [named, *(shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome"))]
    return next((path for path in found if path), None)


@pytest.fixture(scope="module")
def browser():
    path = chromium_path()
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        if path is None and not Path(own).exists():
            message = (
                "no Chromium: set CHROMIUM, install Debian's chromium or run 'playwright install chromium'"
            )
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until_served(address, process):
    """Return when app.py answers; fail when it ends first."""
    for _ in range(600):
        assert process.poll() is None, "app.py ended before it served the page"
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    pytest.fail("app.py did not serve the page in two minutes")


@contextlib.contextmanager
def serving(handle, assets, queue=None):
    """The page on a port of its own, with room for `queue` waiting runs; yields its address."""
    page = ui.build(handle, assets=assets)
    if queue is not None:
        page.queue(max_size=queue)
    number = free_port()
    kwargs = ui.launch_kwargs()
    page.launch(server_name="127.0.0.1", server_port=number, prevent_thread_lock=True, quiet=True, **kwargs)
    try:
        yield f"http://127.0.0.1:{number}/"
    finally:
        page.close()
        gc.collect()


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """Three drawn placeholders as an example gallery."""
    folder = tmp_path_factory.mktemp("root") / "assets"
    folder.mkdir()
    entries = []
    for i, (task, question) in enumerate(
        (("caption", ""), ("count", "How many circles are there?"), ("read", ""))
    ):
        image = Image.new("RGB", (320, 240), ("#9cc7e8", "#f4f1e8", "#d8e8d0")[i])
        draw = ImageDraw.Draw(image)
        for k in range(i + 1):
            draw.ellipse((30 + 80 * k, 90, 90 + 80 * k, 150), fill="#a33")
        image.save(folder / f"example{i}.png")
        title = f"Placeholder {i}"
        entries.append(
            {
                "image": f"example{i}.png",
                "task": task,
                "question": question,
                "title": title,
                "source": "drawn",
            }
        )
    (folder / "examples.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="module")
def engine():
    return FakeEngine()


@pytest.fixture(scope="module")
def address(engine, assets):
    with serving(ui.EngineHandle.of(engine), assets) as url:
        yield url


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "beach.png"
    image = Image.new("RGB", (320, 240), "#9cc7e8")
    ImageDraw.Draw(image).rectangle((0, 150, 320, 240), fill="#d9c79a")
    image.save(path)
    return path


class Visit:
    """One open page, the console errors it wrote and the addresses it asked for."""

    def __init__(self, page, address):
        self.page, self.errors, self.requests, self.missing = page, [], [], []
        page.set_default_timeout(WAIT)
        page.on(
            "console", lambda m: self.errors.append(f"{m.text} {m.location}") if m.type == "error" else None
        )
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("response", lambda r: self.missing.append(r.url) if r.status >= 400 else None)
        page.on("request", lambda r: self.requests.append(r.url))
        self.timeline, begun = [], time.monotonic()
        for event in ("request", "response", "requestfinished", "requestfailed"):
            page.on(event, partial(self._note, event, begun))
        self.address = address

    def _note(self, event, begun, what):
        if any(part in what.url for part in ("/queue/", "/run/", "/upload", "/cancel")):
            path = what.url.split("?")[0].removeprefix(self.address)
            self.timeline.append(f"{time.monotonic() - begun:8.3f} {event} {path}")

    def told(self):
        """What the page shows and asked for of late: for the report of a test that failed."""
        states = "[...document.querySelectorAll('[data-state]')].filter((e) => e.offsetParent)"
        buttons = "[...document.querySelectorAll('.buttons button')].filter((e) => e.offsetParent)"
        shown = self.page.evaluate(f"""() => ({{
            states: {states}.map((e) => [e.className, e.dataset.state, e.innerText.slice(0, 200)]),
            buttons: {buttons}.map((e) => [e.id, e.disabled, e.innerText]),
            tab: document.querySelector('[role=tab][aria-selected=true]')?.innerText,
        }})""")
        return "\n".join([json.dumps(shown), *self.errors, *self.timeline[-40:]])

    def open(self, query=""):
        self.page.goto(self.address + query)
        self.page.wait_for_selector("#ask:not([disabled])")
        self.page.wait_for_selector(".routing-plot[data-ready]", state="attached")
        return self

    def upload(self, path):
        self.page.set_input_files("#picture input[type=file]", str(path))
        self.page.wait_for_selector("#picture img")

    def until(self, expression, *args):
        return self.page.wait_for_function(expression, arg=args[0] if args else None)

    def answered(self, state="done"):
        self.page.wait_for_selector(f".answer[data-state={state}]")
        self.page.wait_for_selector("#ask:not([disabled])")

    def calls(self):
        """How often the page has asked Python for something."""
        return sum("/queue/join" in address or "/run/" in address for address in self.requests)

    def text(self, selector):
        """What is read at `selector`. Name what a view draws: inside the view Gradio counts seconds too."""
        return self.page.inner_text(selector)

    def tab(self, name):
        """Show a tab; on a phone some of them stand behind the tab row's own menu."""
        found = self.page.locator(f"#tabs [role=tab][aria-controls='tab-{name}']:visible")
        if found.count() == 0:
            self.page.locator("#tabs .overflow-menu > button").click()
            found = self.page.locator(
                "#tabs .overflow-dropdown button", has_text=TAB_NAMES.get(name, name.capitalize())
            )
        found.first.click()
        self.page.wait_for_selector(f"#tab-{name}", state="visible")

    def field(self, name):
        return self.page.locator(f"#{name} :is(input, textarea)").first


def example(visit, index):
    """Choose a picture of the gallery."""
    visit.page.locator("#examples button").nth(index).click()
    visit.until(f"document.querySelector('#picture img')?.src.includes('example{index}.png')")


def ask(visit, kept):
    """Ask, until so many runs are kept."""
    visit.page.click("#ask")
    visit.until("(n) => document.querySelectorAll('.past-list li').length === n", kept)
    visit.answered()


@pytest.fixture
def visit(browser, address, engine, request):
    """A visit on the screen that the test is parametrized with (wide if none)."""
    engine.token_s = engine.prefill_s = 0.0
    screen = SCREENS[getattr(request, "param", "wide")]
    context = browser.new_context(**screen)
    found = Visit(context.new_page(), address)
    yield found
    context.close()
    assert engine.idle.wait(WAIT / 1000)


PLOT = "document.querySelector('.routing-plot')"
# Each panel's numbers as they are drawn.
DRAWN = f"JSON.stringify({PLOT}.data.map((t) => t.z))"
