"""The Model tab in a real browser: facts before loading, a switch that every tab follows, on every screen."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import SCREENS, TWO_SCREENS, Visit, assets, browser, picture, serving  # noqa: F401  fixtures
from fake_models import BIG, FakeModels, engine

from smola_demo import ui

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]
BUTTON = "#load-model"


@pytest.fixture(params=TWO_SCREENS)
def visit(browser, assets, request):
    handle = ui.EngineHandle(lambda _report: engine(), models=FakeModels)
    handle.load()
    with serving(handle, assets) as url:
        context = browser.new_context(**SCREENS[request.param])
        found = Visit(context.new_page(), url)
        found.handle = handle
        yield found.open()
        context.close()


def choose(page, field, name):
    page.locator(f"#{field} input").click()
    page.locator(f"#{field} [role=option]", has_text=name).click()


def sound(visit):
    """No serious violation, nothing wider than the screen, no error on the console."""
    visit.page.wait_for_timeout(400)
    found = Axe().run(visit.page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not grave, [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in grave]
    assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visit.errors == []


def test_choosing_loading_and_what_follows(visit, picture):
    page = visit.page
    visit.upload(picture)
    page.click("#ask")
    visit.answered()
    visit.tab("model")
    visit.until("document.querySelector('#model-note').textContent.includes('Loaded: SmolLM2-135M')")
    choose(page, "model-backbone", "huge-model")
    page.wait_for_selector(".model-fit[data-fits=no]")
    assert "12.0 GB more than the 8.0 GB free" in visit.text(".model-fit")
    assert page.locator(f"{BUTTON}[disabled]").count() == 1
    choose(page, "model-backbone", "big-model")
    page.wait_for_selector(".model-fit[data-fits=yes]")
    facts = visit.text(".model-facts")
    assert all(told in facts for told in ("mit", "2,247 million", "2.1 GB", "none yet", BIG))
    assert visit.handle.require().backbone == "embedded"
    choose(page, "model-experts", "untrained")
    sound(visit)
    page.click(f"{BUTTON}:not([disabled])")
    visit.until("document.querySelector('#model-note').textContent.includes('Loaded: big-model')")
    assert visit.handle.require().backbone == BIG
    visit.tab("ask")
    visit.until("document.querySelector('.engine-facts').textContent.includes('big-model')")
    assert visit.text(".answer-text") == ""
    visit.tab("routing")
    page.wait_for_selector(".explorer-empty:not([hidden])")
    visit.tab("ablate")
    visit.until("document.querySelectorAll('#picker [data-expert]').length === 9")  # 3 groups × 3 experts
    visit.tab("atlas")
    said = "document.querySelector('#atlas .offline-message')?.textContent"
    visit.until(f"{said}?.includes('come from no folder')")
    visit.tab("ask")
    page.click("#ask:not([disabled])")
    visit.answered()
    assert visit.errors == []


def test_another_visitor_sees_the_new_model_within_seconds_and_keeps_what_it_has_said(visit):
    page = visit.page
    loaded = "(name) => document.querySelector('#model-note').textContent.includes(`Loaded: ${name}`)"
    assert visit.handle.switch(lambda _report: engine(BIG)) == ""
    visit.until("document.querySelector('.engine-facts').textContent.includes('big-model')")
    visit.tab("model")
    visit.until(loaded, "big-model")
    visit.tab("ask")
    page.locator("#examples button").first.click()
    page.wait_for_selector("#picture img")
    assert visit.handle.switch(lambda _report: engine()) == ""
    page.click("#ask")
    visit.answered()
    said = visit.text(".answer-text")
    visit.until(loaded, "SmolLM2-135M")
    assert visit.text(".answer-text") == said
    assert page.is_enabled(".save-run")
    visit.tab("model")
    assert page.input_value("#model-backbone input") == "SmolLM2-135M"
    assert page.input_value("#model-precision input").startswith("auto: NF4")
    assert page.input_value("#model-experts input").startswith("embedded-omni")
    assert visit.errors == []
