"""The runs of a visit in a real browser: kept, named, returned to, and none of them while another goes."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json

import pytest
from browsing import address, ask, assets, browser, engine, example, visit  # noqa: F401  fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

EXPLORED = "document.querySelector('.explorer-asked').textContent"


def test_runs_of_the_visit_are_there_to_return_to(visit, engine):
    page = visit.open().page
    example(visit, 0)
    ask(visit, 1)
    first = (
        visit.text(".answer-text"),
        page.evaluate("document.querySelector('.routing-plot').data[1].z[0][0]"),
    )
    example(visit, 1)
    visit.until("document.querySelector('#question :is(input, textarea)')?.value")
    ask(visit, 2)
    labels = page.locator(".past-list button").all_inner_texts()
    assert [label.split(" · ")[:2] for label in labels] == [
        ["example1.png", "Count"],
        ["example0.png", "Caption"],
    ]
    current = page.locator(".past-list [aria-current=true]")
    assert current.inner_text() == labels[0]
    asked = visit.calls()
    page.locator(".past-list button").nth(1).focus()
    page.keyboard.press("Enter")
    visit.until("(text) => document.querySelector('.answer-text').textContent === text", first[0])
    visit.until("(z) => document.querySelector('.routing-plot').data[1].z[0][0] === z", first[1])
    assert current.inner_text() == labels[1]
    assert visit.calls() == asked  # from the browser's memory, not from the server
    visit.tab("routing")
    visit.until(f"{EXPLORED}.includes({json.dumps(first[0])})")
    assert not page.evaluate("Object.keys(localStorage).join() + Object.keys(sessionStorage).join()")


def test_a_run_keeps_the_name_it_was_asked_under_and_while_one_goes_none_is_current(visit, engine):
    page = visit.open().page
    example(visit, 0)
    ask(visit, 1)
    engine.token_s = 0.3
    page.click("#ask")
    page.wait_for_selector(".answer[data-state=writing]")
    assert page.locator(".past-list [aria-current=true]").count() == 0
    assert page.is_disabled(".save-run")
    assert page.is_disabled(".save-card")
    example(visit, 1)
    visit.until("document.querySelectorAll('.past-list li').length === 2")
    visit.answered()
    assert visit.text(".past-list [aria-current=true]").startswith("example0.png · Caption · ")
    page.click("#ask")
    page.wait_for_selector(".answer[data-state=writing]")
    page.click("#stop")
    visit.answered("stopped")
    assert page.is_disabled(".save-run")
    page.locator(".past-list button").last.click()
    page.wait_for_selector(".answer[data-state=done]")
    assert page.is_enabled(".save-run")
    assert visit.errors == []


def test_a_press_that_gets_no_run_leaves_the_view_alone(visit, engine):
    page = visit.open().page
    example(visit, 0)
    visit.tab("ablate")
    page.locator("#picker [data-expert]").first.click()
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=done]")
    page.wait_for_selector("#ablate:not([disabled])")
    shown = visit.text(".comparison")
    engine.token_s = 0.3
    visit.tab("ask")
    page.click("#ask")
    page.wait_for_selector(".answer[data-state=writing]")
    visit.tab("ablate")
    page.click("#ablate")
    told = page.locator(".aside")
    told.wait_for()
    assert told.inner_text().startswith("Another run of yours is going")
    assert told.evaluate("(n) => getComputedStyle(n).position") == "fixed"
    engine.token_s = 0
    visit.tab("ask")
    visit.answered()
    visit.tab("ablate")
    assert visit.text(".comparison") == shown
    told.wait_for(state="detached")
    assert visit.errors == []


def test_only_ten_runs_are_kept(visit):
    page = visit.open().page
    example(visit, 0)
    ask(visit, 1)
    page.evaluate(
        """() => {
          const record = { format: "smola-run", task: "caption", answer: { text: "a" }, engine: {} };
          for (let i = 0; i < 12; i++) {
            const run = JSON.stringify({ ...record, when: `2026-01-01T00:00:${10 + i}Z` });
            const answer = JSON.stringify({ state: "done", picture: `r${i}.png` });
            smola.runs.remember(answer, "{}", run, "{}");
          }
        }"""
    )
    labels = page.locator(".past-list button").all_inner_texts()
    assert [label.split(" ")[0] for label in labels] == [f"r{i}.png" for i in range(11, 1, -1)]
