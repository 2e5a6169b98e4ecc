"""How soon there is something to see, at the start and with every token, and how much the page weighs."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from browsing import SCREENS, WAIT, Visit, browser, picture, serving  # noqa: F401  fixtures
from fake_engine import FakeEngine

from smola_demo import ui
from smola_demo.results import Step

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

ASSETS = Path(__file__).parent.parent / "assets"
# A quiet machine takes 0.4 s, 2 s and 0.2 s (README); a slow one, another test beside, took 1.2 s and 6.5 s.
FIRST_PAINT_S, RECORDED_S, IN_PICTURE_S = 4.0, 12.0, 1.0
PAGE_MB = 6.0
WATCH = """() => {
  window.drawn = {};
  new MutationObserver(() => {
    const text = document.querySelector(".routing-plot").textContent;
    const said = text.match(/answer, (?:mean of )?(\\d+) token/);
    if (!said) return;
    if (!(Number(said[1]) >= window.last)) window.drawn = {};  // what stood there was of the answer before
    window.last = Number(said[1]);
    window.drawn[said[1]] ??= Date.now() / 1000;
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def test_a_recorded_run_is_seen_at_once(browser):
    """Best of two visits: the first also warms Chromium up."""
    waiting = threading.Event()

    def build(_report):
        assert waiting.wait(WAIT / 1000)
        return FakeEngine()

    best = {"paint": float("inf"), "recorded": float("inf"), "megabytes": float("inf")}
    try:
        with serving(ui.EngineHandle(build).start(), ASSETS) as url:
            for _ in range(2):
                context = browser.new_context(**SCREENS["wide"])
                found = Visit(context.new_page(), url)
                start = time.monotonic()
                found.page.goto(url)
                found.page.wait_for_selector(".answer[data-origin=recorded]")
                found.page.wait_for_selector(".routing-plot .main-svg")
                recorded = time.monotonic() - start
                assert found.page.is_visible("#loading")
                paint, sent = found.page.evaluate(
                    """() => [performance.getEntriesByName("first-contentful-paint")[0].startTime / 1000,
                      performance.getEntries().reduce((sum, e) => sum + (e.transferSize ?? 0), 0) / 1e6]"""
                )
                context.close()
                now = {"paint": paint, "recorded": recorded, "megabytes": sent}
                best = {key: min(value, now[key]) for key, value in best.items()}
    finally:
        waiting.set()
    print(best)
    assert 0 < best["paint"] < FIRST_PAINT_S
    assert best["recorded"] < RECORDED_S
    assert 1 < best["megabytes"] < PAGE_MB


class Timed(FakeEngine):
    """Notes when each answer token was handed over."""

    def answer(self, request, capture=True):
        self.said = []
        for item in super().answer(request, capture):
            if isinstance(item, Step) and item.phase == "answer":
                self.said.append(time.time())
            yield item


def test_a_token_is_in_the_picture_soon(browser, picture):
    """The routing map says how many tokens it holds: when does it first hold each? Three answers."""
    engine, waits = Timed(token_s=0.07, prefill_s=0.2), []
    with serving(ui.EngineHandle(lambda _report: engine).start(), ASSETS) as url:
        context = browser.new_context(**SCREENS["wide"])
        found = Visit(context.new_page(), url).open()
        found.upload(picture)
        found.page.evaluate(WATCH)
        for _ in range(3):
            found.page.click("#ask")
            found.until("document.querySelector('.answer').dataset.state === 'writing'")
            found.answered()
            count = len(engine.said)
            found.until(f"{count} in window.drawn")
            drawn = {int(n): at for n, at in found.page.evaluate("window.drawn").items()}
            waits += [
                min(at for n, at in drawn.items() if n >= i) - said for i, said in enumerate(engine.said, 1)
            ]
        context.close()
    p95 = float(np.percentile(waits, 95))
    print({"tokens": len(waits), "median": float(np.median(waits)), "p95": p95})
    assert len(waits) >= 30
    assert min(waits) > 0
    assert p95 < IN_PICTURE_S
