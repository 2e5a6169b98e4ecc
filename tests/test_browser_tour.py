"""README's "What to try", step by step on the real gallery, on two screens; each tab judged by axe-core."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import SCREENS, TWO_SCREENS, Visit, browser, picture, serving  # noqa: F401  fixtures
from offline_files import ShippedEngine, write_files

from smola_demo import ui

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    engine = ShippedEngine()
    engine.folder = tmp_path_factory.mktemp("experts")
    write_files(engine.info())
    with serving(ui.EngineHandle.of(engine), ROOT / "assets") as url:
        yield url


@pytest.fixture(params=TWO_SCREENS)
def tour(browser, served, request):
    context = browser.new_context(**SCREENS[request.param])
    found = Visit(context.new_page(), served)
    yield found
    context.close()


def steps():
    """README's steps: the bold name of each and the words in italics, which are names on the page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = re.search(r"## What to try\n(.+?)\n## ", text, re.DOTALL)[1]
    return [" ".join(step.split()) for step in re.split(r"^\d\. ", part, flags=re.MULTILINE)[1:]]


def sound(visit):
    """No serious violation, nothing wider than the screen, no error on the console."""
    page = visit.page
    page.wait_for_timeout(300)  # a button that wakes up changes its colour in steps
    page.evaluate(
        "Promise.all(document.getAnimations().filter((a) => a instanceof CSSTransition)"
        ".map((a) => a.finished.catch(() => null)))"
    )
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not grave, [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in grave]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visit.errors == []


def drawn(page, name):
    page.locator(f"#explorer-{name}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#explorer-{name}[data-current=yes]")


def test_what_to_try(tour, picture):
    page = tour.open().page

    def button(name):
        return page.get_by_role("button", name=name, exact=True)

    page.locator("#examples button", has_text="A sign").click()
    page.wait_for_selector("#picture img[src*='jug.png']")
    button("Ask").click()
    tour.answered()
    assert page.locator(".answer-tokens button:enabled").count() > 3
    assert page.locator(".routing-plot .main-svg").count()
    sound(tour)

    tour.tab("routing")
    for name in ("words", "overlay", "map", "tokens", "entropy", "anatomy"):
        drawn(page, name)
    page.locator("#explorer-overlay .patch").nth(5).click(force=True)
    assert "token patch 6" in tour.text(".explorer-choice")
    page.locator(".explorer label", has_text="Minus uniform").click()
    drawn(page, "map")
    assert "minus uniform" in tour.text("#explorer-map .figure-said").lower()
    sound(tour)

    page.click(".explorer .take-out")
    page.wait_for_selector("#picker", state="visible")
    button("Ablate and compare").click()
    page.wait_for_selector(".comparison[data-state=done]")
    assert page.locator(".comparison .strip .token, .comparison .strip span").count()
    button("Rank").click()
    page.wait_for_selector(".ranking[data-state=done]")
    sound(tour)

    tour.tab("compare")
    button("Compare A and B").click()
    page.wait_for_selector(".contrast[data-state=done]")
    sound(tour)
    tour.tab("atlas")
    page.wait_for_selector("#atlas [data-expert]")
    sound(tour)
    tour.tab("truth")
    page.wait_for_selector("#truth h3")
    sound(tour)

    tour.tab("ask")
    tour.upload(picture)
    button("Ask").click()
    page.wait_for_selector(".answer:not([data-state=done])", state="attached")
    tour.answered()
    sound(tour)


def test_the_tour_is_the_readmes():
    said = " ".join(steps())
    bold = [re.search(r"\*\*(.+?)\*\*", step)[1] for step in steps()]
    assert bold == ["Ask.", "Routing.", "Ablate.", "Compare", "Ask about a photograph of your own."]
    for name in ("Ask", "Minus uniform", "Ablate and compare", "Rank"):
        assert f"*{name}*" in said


def test_from_upload_to_ablation_with_the_keyboard_alone(browser, served, picture):
    context = browser.new_context(**SCREENS["wide"])
    visit = Visit(context.new_page(), served)
    page = visit.open().page

    def reach(selector, key="Tab", most=80):
        for _ in range(most):
            if page.evaluate("(s) => document.activeElement?.matches(s) ?? false", selector):
                return
            page.keyboard.press(key)
        raise AssertionError(f"{selector} is not reached by {key}")

    chosen = []
    page.on("filechooser", lambda it: chosen.append(it))  # noqa: PLW0108  no built-in can listen
    for _ in range(
        3
    ):  # the page's link is read on arrival, which may draw the picture's box anew under the focus
        reach("#picture button")
        page.keyboard.press("Enter")
        page.wait_for_timeout(2000)
        if chosen:
            break
    chosen[0].set_files(str(picture))
    page.wait_for_selector("#picture img")
    reach("#ask, #ask *")
    page.keyboard.press("Enter")
    visit.answered()
    reach("#tabs [role=tab][aria-controls='tab-ablate']", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#picker", state="visible")
    reach("#picker [data-expert]")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#spec :is(input, textarea)').value !== ''")
    reach("#ablate, #ablate *")
    page.keyboard.press("Enter")
    page.wait_for_selector(".comparison[data-state=done]")
    assert visit.errors == []
    context.close()
