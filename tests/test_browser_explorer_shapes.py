"""The Routing tab in a real browser, on what is less usual: tiles, groups missing, a run on its way."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from browsing import SCREENS, browser  # noqa: F401  fixture
from exploring import (  # noqa: F401  fixtures
    NAMES,
    RECORDS,
    Explorer,
    close,
    explorer,
    exploring,
    made,
    numbers,
    url,
)

from smola_demo.runs import pack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]


def csv_of(explorer, name):
    with explorer.page.expect_download() as waiting:
        explorer.drawn(name).locator(".figure-saves button").nth(1).click()
    rows = list(csv.reader(io.StringIO(waiting.value.path().read_text())))
    return waiting.value.suggested_filename, rows


def test_minus_uniform_is_said_wherever_numbers_leave(explorer, numbers):
    explorer.show().switch(scale="difference")
    trace = explorer.data("tokens")[2]
    values = numbers.mean["weight"].mean(1)[2, numbers.answer]
    close(trace["z"], values - 0.25)
    told = [float(text.rsplit(": ", 1)[1].split(",")[0]) for text in trace["customdata"][0]]
    np.testing.assert_allclose(told, values[0], atol=6e-5)  # the weight itself, beside what is even
    assert trace["customdata"][0][0].endswith("even 0.25")
    title = "document.querySelector('#explorer-served .figure-plot').layout.xaxis.title.text"
    explorer.drawn("served")
    assert explorer.page.evaluate(title) == "routing weight minus uniform"
    name, rows = csv_of(explorer, "served")
    assert name == "smola-served-weight-minus-uniform.csv"
    assert rows[0] == ["expert", "weight minus uniform", "uniform"]
    explorer.switch(scale="value")
    name, rows = csv_of(explorer, "served")
    assert (name, rows[0][1]) == ("smola-served-weight.csv", "weight")


def test_what_has_no_numbers_is_not_offered_as_a_table(explorer):
    page = explorer.show().page
    page.locator(".pick-group").select_option(label="text")
    assert explorer.drawn("overlay").locator(".figure-saves button").nth(1).is_disabled()
    page.locator(".pick-group").select_option(label="visual")
    _, rows = csv_of(explorer, "overlay")
    assert len(rows) == 1 + 16


def test_the_keyboard_keeps_its_place_where_things_are_drawn_anew(explorer):
    page = explorer.show().page
    explorer.drawn("served")
    page.click("#explorer-served summary")
    page.locator("#explorer-served .row-choice").nth(3).focus()
    page.keyboard.press("Enter")
    explorer.drawn("served")
    place = "[...document.querySelectorAll('{}')].indexOf(document.activeElement)"
    page.wait_for_function(place.format("#explorer-served .row-choice") + " === 3")
    explorer.drawn("overlay")
    page.locator(".top-choice").nth(1).focus()
    page.keyboard.press("Enter")
    explorer.drawn("overlay")
    page.wait_for_function(place.format(".top-choice") + " === 1")


def tiled():
    """Four patches over the whole picture, then twelve finer ones over it once more."""
    record = json.loads(json.dumps(RECORDS["trained"]))
    boxes = [
        (x / n, y / m, (x + 1) / n, (y + 1) / m)
        for n, m in ((2, 2), (4, 3))
        for y in range(m)
        for x in range(n)
    ]
    record["routing"]["boxes"] = pack(np.array(boxes, np.float32))
    return record


def test_of_patches_that_lie_over_each_other_the_finest_are_shown_and_reached(browser):
    with exploring([tiled()]) as url:
        context = browser.new_context(**SCREENS["wide"])
        explorer = Explorer(context.new_page(), url).show()
        page = explorer.page
        figure = explorer.drawn("overlay")
        assert "the 12 finest of 16 patches" in figure.locator(".figure-said").inner_text()
        found = page.evaluate(
            """() => [...document.querySelectorAll('#explorer-overlay .patch')].map((node) => {
              node.scrollIntoView({block: 'center'});
              const box = node.getBoundingClientRect();
              const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
              return hit.dataset.index;
            })"""
        )
        assert found == [str(i) for i in range(4, 16)]
        page.locator("#explorer-overlay .patch").nth(0).click()
        assert "token patch 5" in explorer.chosen
        page.focus("#explorer-overlay .patch[tabindex='0']")
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.dataset.index") == "8"
        _, rows = csv_of(explorer, "overlay")
        assert len(rows) == 1 + 16
        assert explorer.errors == []
        context.close()


@pytest.mark.parametrize("groups", [("visual",), ("text",), ("text", "multimodal")])
def test_a_mixture_without_some_groups_is_drawn(browser, groups):
    with exploring([made(groups=groups)]) as url:
        context = browser.new_context(**SCREENS["wide"])
        explorer = Explorer(context.new_page(), url).show()
        for measure, phase in (("weight", "answer"), ("share", "prompt"), ("share", "both")):
            explorer.switch(measure=measure, phase=phase)
            for name in NAMES:
                text = explorer.drawn(name).inner_text()
                assert "cannot be drawn" not in text, (name, text)
                assert "Infinity" not in text, (name, text)
        evens = [bar["colorbar"]["tickvals"][1] for bar in explorer.data("map")]
        if groups == ("text", "multimodal"):  # a text token is served by both, a patch by one alone
            assert evens[0] == pytest.approx(1 / 8)
            assert 1 / 8 < evens[1] < 1 / 4
        assert explorer.errors == []
        context.close()


def test_a_word_that_is_asked_for_while_its_run_arrives_is_of_that_run(explorer):
    page = explorer.show().page
    page.evaluate(
        """() => {
          const whole = Response.prototype.arrayBuffer;
          Response.prototype.arrayBuffer = async function () {
            await new Promise((done) => setTimeout(done, 700));
            return whole.call(this);
          };
        }"""
    )
    page.click("#next")
    page.wait_for_function("document.querySelector('.explorer-asked').textContent.includes('and now?')")
    page.evaluate("window.smola.openWord(2)")
    page.wait_for_selector("#explorer .explorer[data-runs='3']")
    word = RECORDS["again"]["answer"]["tokens"][2]["text"].strip()
    assert explorer.chosen.endswith(f"token {word}.")


@pytest.mark.parametrize("routing", ["token", "prefix"])
def test_what_experts_read_is_said_of_each_routing(browser, routing):
    record = json.loads(json.dumps(RECORDS["trained"]))
    record["engine"]["routing"] = routing
    with exploring([record]) as url:
        context = browser.new_context(**SCREENS["wide"])
        explorer = Explorer(context.new_page(), url).show()
        explorer.switch(measure="share")
        for name in NAMES:
            explorer.drawn(name)
        explorer.page.click("#explorer-anatomy summary")
        told = explorer.page.text_content(".figures")
        assert told.count("w·B·A·slot") == (0 if routing == "token" else told.count("w·B·A·"))
        assert told.count("w·B·A·") > 6
        assert ("read slots pooled over the prompt" in told) == (routing == "prefix")
        assert ("see the same input" in told) == (routing == "token")
        assert explorer.errors == []
        context.close()
