"""How the Routing tab is used, in a real browser: links, keys, phone, downloads, runs that lack something."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from browsing import SCREENS, TWO_SCREENS, address, assets, browser, engine, picture, visit  # noqa: F401  fixtures
from exploring import (  # noqa: F401  fixtures
    NAMES,
    PLOTS,
    RECORDS,
    Explorer,
    Numbers,
    close,
    explorer,
    exploring,
    numbers,
    url,
)
from PIL import Image

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]


def test_patches_lead_to_experts_and_experts_to_patches_and_words(explorer, numbers):
    page = explorer.show().page
    explorer.drawn("overlay")
    page.locator("#explorer-overlay .patch").nth(9).click()
    values = numbers.mean["weight"].mean(1)
    bars = explorer.data("served")[0]
    expected = sorted(
        ((values[g, 9, e], f"{numbers.groups[g]} {e}") for g in (0, 2) for e in range(4)), reverse=True
    )
    assert bars["customdata"] == [name for _, name in expected]
    close(bars["x"], [value for value, _ in expected])
    explorer.click_point("served", 0, bars["x"][2] / 2, 2)  # the third bar
    page.wait_for_function("(name) => document.querySelector('.explorer-choice').innerText.includes(name)",
                           arg=expected[2][1])  # fmt: skip
    assert "token patch 10" in explorer.chosen

    page.locator(".pick-group").select_option(label="multimodal")
    page.locator(".pick-expert").select_option(label="1")
    explorer.drawn("overlay")
    text = np.flatnonzero(numbers.answer)
    best = text[np.argsort(-values[2, text, 1])][:5]
    listed = page.locator(".tops > div").nth(1).locator("button span").all_inner_texts()
    assert listed == [numbers.tokens[t].strip() for t in best]
    page.locator(".tops > div").nth(1).locator("button").first.click()
    page.wait_for_function("(word) => document.querySelector('.explorer-choice').innerText.endsWith(word)",
                           arg=f"token {listed[0]}.")  # fmt: skip


def test_a_cell_of_the_map_is_chosen_everywhere(explorer):
    page = explorer.show().page
    explorer.click_point("map", 1, 3, 2)
    page.wait_for_function(
        "document.querySelector('.explorer-choice').innerText.startsWith('Chosen: text 2, layer 3')"
    )
    assert page.input_value(".pick-layer") == "3"
    assert "Layer 3" in explorer.drawn("tokens").locator(".figure-said").inner_text()
    assert "do not work on the picture" in explorer.drawn("overlay").locator(".figure-message").inner_text()
    explorer.click_point("tokens", 2, 1, 4)
    page.wait_for_function(
        "document.querySelector('.explorer-choice').innerText.startsWith('Chosen: multimodal 1, layer 3')"
    )
    word = RECORDS["trained"]["answer"]["tokens"][4]["text"].strip()
    assert explorer.chosen.endswith(f"token {word}.")
    assert explorer.drawn("words").locator(".word[aria-pressed=true] span").inner_text() == word


def test_everything_is_reached_with_the_keyboard(explorer):
    page = explorer.show().page
    page.focus(".pick-layer")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert "layer 1" in explorer.chosen
    page.focus("#explorer-overlay .patch[tabindex='0']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.index") == "5"  # a grid of 4 by 4
    page.keyboard.press("Enter")
    assert "token patch 6" in explorer.chosen
    page.wait_for_selector("#explorer-overlay .patch[data-index='5'][aria-pressed=true]", state="attached")
    assert page.evaluate("document.activeElement.dataset.index") == "5"  # focus stays
    page.locator(".word").nth(2).focus()
    page.keyboard.press("Enter")
    word = RECORDS["trained"]["answer"]["tokens"][2]["text"].strip()
    assert f"token {word}." in explorer.chosen
    assert page.evaluate("document.activeElement.querySelector('span').textContent") == word  # focus stays
    explorer.drawn("served")
    page.click("#explorer-served summary")
    page.locator("#explorer-served .row-choice").nth(3).focus()
    page.keyboard.press("Enter")
    page.wait_for_function(
        "document.querySelector('.explorer-choice').innerText.includes("
        "document.querySelectorAll('#explorer-served .row-choice')[3].innerText)"
    )


@pytest.mark.parametrize("explorer", TWO_SCREENS, indirect=True)
def test_a_second_run_keeps_the_plots_and_the_page_its_width(explorer):
    page = explorer.show().page
    for name in NAMES:
        explorer.drawn(name)
    page.evaluate(
        "document.querySelectorAll('.figure-plot').forEach((n) => (n.querySelector('.main-svg').marked = 1))"
    )
    first = explorer.data("map")[0]["z"]
    explorer.show(3)
    again = Numbers(RECORDS["again"])
    assert explorer.data("map")[0]["z"] != first
    close(explorer.data("map")[0]["z"], again.mean["weight"][0][:, again.visual].mean(1).T)
    for name in PLOTS:
        explorer.drawn(name)
        assert page.evaluate(f"document.querySelector('#explorer-{name} .main-svg').marked") == 1, name
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    widths = page.evaluate(
        "[...document.querySelectorAll('.figure')].map((n) => n.scrollWidth - n.clientWidth)"
    )
    assert max(widths) <= 1
    assert explorer.errors == []


def test_every_picture_explains_itself_and_can_be_taken_away(explorer, numbers):
    page = explorer.show().page
    for name in NAMES:
        figure = explorer.drawn(name)
        assert len(figure.locator(".figure-how").first.inner_text()) > 40
        assert figure.locator(".figure-said").inner_text().count(";") >= 2
        figure.locator("summary").click()
        page.wait_for_selector(f"#explorer-{name} td")
        with page.expect_download() as waiting:
            figure.locator(".figure-saves button").nth(0).click()
        path = waiting.value.path()
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width > 400
            assert len(image.convert("L").getcolors(1 << 16)) > 10
    with page.expect_download() as waiting:
        page.locator("#explorer-map .figure-saves button").nth(1).click()
    rows = list(csv.reader(io.StringIO(waiting.value.path().read_text())))
    assert rows[0] == ["group", "phase", "layer", "expert 0", "expert 1", "expert 2", "expert 3"]
    close([float(v) for v in rows[1][3:]], numbers.mean["weight"][0, 0][numbers.visual].mean(0))


def test_zoom_outlives_a_switch(explorer):
    page = explorer.show().page
    explorer.drawn("map").evaluate("(n) => n.scrollIntoView({block: 'center'})")
    box = page.locator("#explorer-map .nsewdrag").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, y, steps=5)
    page.mouse.up()
    span = "document.querySelector('#explorer-map .figure-plot')._fullLayout.xaxis2.range"
    page.wait_for_function(f"{span}[0] > 0")
    zoomed = page.evaluate(span)
    explorer.switch(measure="share", phase="prompt")
    explorer.data("map")
    assert page.evaluate(span) == zoomed


def test_dark_mode_redraws(explorer):
    explorer.show().drawn("map")
    scale = "JSON.stringify(document.querySelector('#explorer-map .figure-plot').data[0].colorscale)"
    before = explorer.page.evaluate(scale)
    explorer.page.evaluate("document.body.classList.add('dark')")
    explorer.page.wait_for_function(f"{scale} !== {json.dumps(before)}")


def hostile():
    record = json.loads(json.dumps(RECORDS["trained"]))
    record["answer"]["tokens"][0]["text"] = record["answer"]["text"] = "<img src=x onerror='window.hacked=1'>"
    first = record["routing"]["phase"].index(1)
    record["routing"]["tokens"][first] = "<b>bold</b>"
    return record


def test_other_runs_say_what_they_lack(browser):
    damaged = json.loads(json.dumps(RECORDS["trained"]))
    damaged["routing"]["weight"]["data"] = damaged["routing"]["boxes"]["data"]
    with exploring([RECORDS["none"], RECORDS["untrained"], hostile(), damaged, {}, RECORDS["lora"]]) as url:
        context = browser.new_context(**SCREENS["wide"])
        explorer = Explorer(context.new_page(), url)
        page = explorer.page
        assert "Ask something" in page.inner_text(".explorer-empty")
        explorer.show(2)
        assert "no experts were loaded" in page.inner_text(".explorer-notice")
        assert not page.is_visible("#explorer .figures")
        explorer.show(3)
        assert "untrained" in page.inner_text(".explorer-notice")
        assert "adds exactly nothing" in explorer.drawn("anatomy").locator(".anatomy-story").inner_text()
        assert "contribute nothing" in explorer.drawn("groups").locator(".figure-message").inner_text()
        assert explorer.data("map")[0]["z"][0][0] > 0
        explorer.switch(measure="share")
        assert "contribute nothing" in explorer.drawn("map").locator(".figure-message").inner_text()
        explorer.switch(measure="weight")
        explorer.show(4)
        explorer.drawn("words")
        assert page.locator(".word span").first.inner_text().startswith("<img")
        explorer.drawn("tokens")
        assert "<b>bold</b>" in page.locator("#explorer-tokens .ytick text").first.text_content()
        assert page.evaluate("window.hacked") is None
        explorer.show(5)
        assert "cannot be shown" in page.inner_text(".explorer-notice")
        explorer.show(6)
        assert "Ask something" in page.inner_text(".explorer-empty")
        explorer.show(7)
        assert "a LoRA without a mixture of experts answered" in page.inner_text(".explorer-notice")
        assert explorer.errors == []
        context.close()


def test_an_answer_on_the_first_tab_opens_here(visit, picture):
    page = visit.open().page
    visit.upload(picture)
    page.click("#ask")
    visit.answered()
    page.get_by_role("tab", name="Routing").first.click()
    page.locator("#explorer-map").scroll_into_view_if_needed()
    page.wait_for_selector("#explorer-map[data-current=yes]")
    page.wait_for_selector("#explorer-map .main-svg >> nth=0")
    assert visit.text(".explorer-asked").endswith(f'answer "{page.text_content(".answer-text")}"')
    visit.tab("ask")
    third = page.locator(".answer-tokens button").nth(2)
    word = third.locator("span").inner_text()
    third.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#explorer-words", state="visible")
    assert visit.text(".explorer-choice").endswith(f"token {word}.")
    page.select_option(".pick-group", label="visual")
    page.select_option(".pick-expert", "5")
    page.locator(".pick-layer").fill("2")
    assert page.inner_text(".explorer .take-out") == "Take visual 5 out →"
    page.focus(".explorer .take-out")
    page.keyboard.press("Enter")
    page.wait_for_selector("#picker [data-group=visual][data-expert='5'][aria-pressed=true]")
    assert visit.field("spec").input_value() == "visual:5@2"
    assert visit.errors == []
