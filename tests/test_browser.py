"""A visit to the page in a real browser. Every wait is for a condition, none for a time."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json

import pytest
from browsing import (  # noqa: F401  fixtures
    DRAWN,
    PLOT,
    SCREENS,
    TWO_SCREENS,
    Visit,
    address,
    assets,
    browser,
    engine,
    picture,
    visit,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

# Notes each text the answer shows while it is written, each picture the plot draws; marks the plot's nodes.
WITNESS = f"""() => {{
  window.witness = {{ texts: [], drawn: [] }};
  const answer = document.querySelector(".answer"), text = document.querySelector(".answer-text");
  new MutationObserver(() => answer.dataset.state === "writing" && witness.texts.push(text.textContent))
    .observe(answer, {{ childList: true, characterData: true, subtree: true, attributes: true }});
  const plot = {PLOT};
  plot.marked = plot.querySelector(".main-svg").marked = 1;
  plot.on("plotly_afterplot", () => witness.drawn.push(JSON.stringify(plot.data[1].z)));
}}"""


@pytest.mark.parametrize("visit", TWO_SCREENS, indirect=True)
def test_a_whole_visit(visit, engine, picture):
    """Upload, ask, watch text and map grow, keep the zoom, click a cell, take it out, see two answers."""
    page = visit.open().page
    engine.token_s, engine.prefill_s = 0.2, 0.2
    visit.upload(picture)
    page.evaluate(WITNESS)
    page.click("#ask")
    visit.until("window.witness.drawn.length > 0")
    page.evaluate(f"window.Plotly.relayout({PLOT}, {{'xaxis.range': [4.5, 20.5]}})")
    visit.answered()

    texts = page.evaluate("window.witness.texts")
    whole = visit.text(".answer-text")
    assert len(set(texts)) >= 3  # it grew on screen, in at least two steps before the whole
    assert all(whole.startswith(text) for text in texts)
    assert len(set(page.evaluate("window.witness.drawn"))) >= 3  # the map changed with it
    assert page.evaluate(f"[{PLOT}.marked, {PLOT}.querySelector('.main-svg').marked]") == [1, 1]
    assert page.evaluate(f"{PLOT}._fullLayout.xaxis.range") == [4.5, 20.5]
    for said in (
        "tokens/s",
        "NF4 weights, computed in fp32",
        "612 MB",
        "cpu",
        "trained for 4,000 steps",
        "often wrong",
    ):
        assert said in visit.text("#answer")

    engine.token_s, engine.prefill_s = 0.02, 0.02
    page.evaluate(f"{PLOT}.scrollIntoView({{block: 'center'}})")
    box = page.locator(".routing-plot .nsewdrag").nth(1).bounding_box()
    at = (box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.4)
    page.touchscreen.tap(*at) if "ontouchstart" in page.evaluate(
        "Object.keys(window).join()"
    ) else page.mouse.click(*at)
    visit.until("document.querySelector('#take-out')?.textContent.includes('text expert 3, layer')")
    words, tokens = visit.text(".answer-text").split(), page.locator(".answer-tokens li").count()
    page.click("#take-out")
    page.wait_for_selector("#ablate", state="visible")
    visit.until("document.querySelector('#spec :is(input, textarea)')?.value.startsWith('text:3@')")
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=done]")
    page.wait_for_selector(".divergence-plot .main-svg")
    assert visit.text(".baseline-text").split() == words
    assert visit.text(".ablated-text")
    assert "nats" in visit.text(".comparison-facts")
    assert page.locator(".strip li").count() == tokens

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visit.errors == []
    assert [r for r in visit.requests if not r.startswith((visit.address, "data:", "blob:"))] == []


def test_zoom_by_dragging_is_kept_until_all_layers_are_asked_for(visit, picture):
    page = visit.open().page
    visit.upload(picture)
    page.click("#ask")
    visit.answered()
    page.evaluate(f"{PLOT}.scrollIntoView({{block: 'center'}})")
    box = page.locator(".routing-plot .nsewdrag").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, y, steps=5)
    page.mouse.up()
    visit.until(f"{PLOT}._fullLayout.xaxis.range[0] > 5")
    zoomed = page.evaluate(f"{PLOT}._fullLayout.xaxis.range")
    with page.expect_response("**/queue/join*"):  # by then the page waits for the new answer
        page.click("#ask")
    visit.answered()
    assert page.evaluate(f"{PLOT}._fullLayout.xaxis3.range") == zoomed
    page.click(".all-layers")
    visit.until(f"{PLOT}._fullLayout.xaxis.range[0] === -0.5")


def test_views_switch_without_a_round_trip(visit, picture):
    page = visit.open().page
    visit.upload(picture)
    page.click("#ask")
    visit.answered()
    asked = visit.calls()
    seen = {page.evaluate(DRAWN)}
    titles = {visit.text(".routing-title")}
    for measure, scale, phase in (
        ("share", "value", "follow"),
        ("share", "difference", "prompt"),
        ("weight", "difference", "answer"),
    ):
        before = page.evaluate(DRAWN)
        for name, wanted in (("measure", measure), ("scale", scale), ("phase", phase)):
            page.locator(f"input[name=routing-{name}][value={wanted}]").check(force=True)
        visit.until(f"{DRAWN} !== {json.dumps(before)}")
        seen.add(page.evaluate(DRAWN))
        titles.add(visit.text(".routing-title"))
    assert len(seen) == len(titles) == 4
    assert visit.calls() == asked
    ticks = page.evaluate(f"{PLOT}._fullLayout.xaxis4.ticktext")
    assert "0 = uniform" in ticks


def test_uniform_stands_on_the_colour_bar_and_idle_groups_say_so(visit, picture):
    page = visit.open().page
    assert "Ask something" in visit.text(".routing-empty")
    visit.upload(picture)
    page.click("#ask")
    visit.answered()
    assert "uniform = 1/8" in page.evaluate(f"{PLOT}._fullLayout.xaxis4.ticktext")
    # The words are there a moment before the last picture is drawn.
    page.wait_for_function(f"{PLOT}.layout.annotations.some((a) => a.text.includes('answer, mean of'))")
    notes = page.evaluate(f"{PLOT}.layout.annotations.map((a) => a.text)")
    assert "prompt" in notes[0]  # answer tokens are text: the visual experts rest
    assert "answer, mean of" in notes[1]


def test_the_table_has_the_numbers_of_the_picture(visit, picture):
    page = visit.open().page
    visit.upload(picture)
    page.click("#ask")
    visit.answered()
    page.click(".routing-table summary")
    page.wait_for_selector(".tables table")
    cell = page.locator(".tables table").first.locator("tbody tr").nth(7).locator("td").nth(3)
    assert float(cell.inner_text()) == pytest.approx(page.evaluate(f"{PLOT}.data[0].z[3][7]"), abs=6e-4)
    label = page.get_attribute(".routing-plot", "aria-label")
    assert page.get_attribute(".routing-plot", "role") == "img"
    assert "Largest weight" in label


def test_stop_stops(visit, engine, picture):
    page = visit.open().page
    engine.token_s = 2.0  # long enough to be stopped on a slow machine
    visit.upload(picture)
    page.click("#ask")
    visit.until("document.querySelector('.answer-text').textContent.length > 0")
    before = engine.closed_early
    page.click("#stop")
    visit.until("document.querySelector('#stop').textContent.trim() === 'Stopping …'")
    visit.answered("stopped")
    assert visit.text("#stop").strip() == "Stop"
    assert "Stopped after" in visit.text(".answer-message")
    assert engine.idle.wait(10)
    assert engine.closed_early == before + 1
    engine.token_s = 0.0
    page.click("#ask")
    visit.answered()


def test_closing_the_tab_frees_the_model_for_others(browser, address, engine, picture):
    engine.token_s, before = 2.0, engine.closed_early
    context = browser.new_context(**SCREENS["wide"])
    first = Visit(context.new_page(), address).open()
    first.upload(picture)
    first.page.click("#ask")
    first.until("document.querySelector('.answer-text').textContent.length > 0")
    context.close()
    assert engine.idle.wait(30)
    assert engine.closed_early == before + 1
    engine.token_s = 0.0


def test_two_visitors_never_run_the_model_at_once(browser, address, engine, picture):
    engine.token_s, engine.most_running = 0.05, 0
    contexts = [browser.new_context(**SCREENS["wide"]) for _ in range(2)]
    visits = [Visit(c.new_page(), address).open() for c in contexts]
    for found in visits:
        found.upload(picture)
    for found in visits:
        found.page.click("#ask")
    for found in visits:
        found.answered()
    assert engine.most_running == 1
    assert visits[0].text(".answer-text") == visits[1].text(".answer-text")
    for context in contexts:
        context.close()


def test_tasks_questions_suggestions_and_enter(visit, picture):
    page = visit.open().page
    assert not page.is_visible("#question")
    page.get_by_label("Count").check()
    page.wait_for_selector("#question", state="visible")
    visit.upload(picture)
    visit.field("question").fill("  ")
    visit.field("question").press("Enter")
    visit.answered("error")
    assert "needs a question" in visit.text(".answer-message")
    page.locator("#suggestions button").nth(1).click()
    visit.until("document.querySelector('#question :is(input, textarea)').value.includes('people')")
    visit.field("question").press("Enter")
    visit.answered()
    assert visit.text(".answer-message") == ""
    page.get_by_label("Caption").check()
    page.wait_for_selector("#question", state="hidden")
    assert visit.errors == []


def test_an_example_fills_everything_in(visit):
    page = visit.open().page
    assert page.locator("#examples button").count() == 3
    visit.until(
        "[...document.querySelectorAll('#examples img')].every((i) => i.complete && i.naturalWidth > 0)"
    )
    page.locator("#examples button").nth(1).click()
    page.wait_for_selector("#picture img")
    visit.until(
        "document.querySelector('#question :is(input, textarea)')?.value === 'How many circles are there?'"
    )
    assert page.get_by_label("Count").is_checked()
    page.click("#ask")
    visit.answered()
    assert visit.text(".answer-text")


def test_what_a_visitor_types_never_becomes_markup(visit, picture):
    page = visit.open().page
    visit.upload(picture)
    visit.tab("ablate")
    visit.field("spec").fill("<img src=x onerror='window.hacked=1'>")
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=error]")
    assert "<img src=x" in visit.text(".comparison-message")
    assert page.locator(".comparison img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_every_control_has_a_name(visit):
    page = visit.open().page
    page.get_by_label("Count").check()
    page.wait_for_selector("#question", state="visible")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, select, [role=button], [tabindex]')]
          .filter((n) => n.type !== 'file' && n.getClientRects().length)
          .filter((n) => !(n.innerText?.trim() || n.getAttribute('aria-label') || n.title || n.labels?.length
                           || n.getAttribute('aria-labelledby')))
          .map((n) => n.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    levels = page.evaluate("[...document.querySelectorAll('h1, h2')].map((h) => h.tagName)")
    assert levels.count("H1") == 1


def test_dark_and_light_switch_under_a_drawn_plot(visit, picture):
    page = visit.open("?__theme=light").page
    visit.upload(picture)
    page.click("#ask")
    visit.answered()
    light = page.evaluate(f"JSON.stringify({PLOT}.data[0].colorscale)")
    page.evaluate("document.body.classList.add('dark')")
    visit.until(f"JSON.stringify({PLOT}.data[0].colorscale) !== {json.dumps(light)}")
