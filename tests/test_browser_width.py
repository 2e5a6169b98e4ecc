"""Plots follow their width, and show what came while their tab was hidden. Every wait is for a condition."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import json

import pytest
from browsing import address, assets, browser, engine, picture, visit  # noqa: F401  fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

ROUTING, DIVERGENCE, RANKING, MAP, LINES = (
    f"document.querySelector('{name}')"
    for name in (
        ".routing-plot",
        ".divergence-plot",
        ".ranking-plot",
        ".contrast-plot.map",
        ".contrast-plot.line",
    )
)


def fills(visit, plot):
    """Wait until a plot is on screen and as wide as its place."""
    visit.until(f"{plot}.clientWidth > 0 && {plot}._fullLayout?.width === {plot}.clientWidth")


def done(visit, view):
    visit.page.wait_for_selector(f"{view}[data-state=done]", state="attached")


@pytest.fixture
def asking(visit, picture):
    visit.open().upload(picture)
    return visit


def test_the_routing_map_follows_its_width(asking):
    page = asking.page
    page.click("#ask")
    asking.answered()
    fills(asking, ROUTING)
    for width in (1100, 500):
        page.set_viewport_size({"width": width, "height": 900})
        fills(asking, ROUTING)
    assert asking.errors == []


def test_the_divergence_line_drawn_while_hidden_fills_its_place(asking, engine):
    page = asking.page
    asking.tab("ablate")
    page.click(".chip[data-group=visual][data-expert='3']")
    asking.until("document.querySelector('#spec :is(input, textarea)').value === 'visual:3'")
    engine.token_s = 0.1
    page.click("#ablate")
    asking.tab("ask")
    done(asking, ".comparison")
    asking.tab("ablate")
    fills(asking, DIVERGENCE)
    page.set_viewport_size({"width": 1000, "height": 900})
    fills(asking, DIVERGENCE)


def test_a_ranking_that_ended_while_hidden_shows_its_own_bars(asking, engine):
    page = asking.page
    names = f"{RANKING}.layout?.yaxis.ticktext.filter((n) => n !== 'random')"
    engine.sweep_s = 0.02
    for kind, first, count in (("all experts", "", 24), ("one expert, layer by layer", "layer", 30)):
        asking.tab("ablate")
        page.get_by_label(kind).check()
        page.click("#rank")
        page.wait_for_selector(".ranking[data-state=running]")
        asking.tab("compare")
        done(asking, ".ranking")
        asking.tab("ablate")
        # The verdict of the new ranking stands above the bars of the new ranking.
        asking.until(f"{names}?.length === {count} && {names}.every((n) => n.startsWith('{first}'))")
        fills(asking, RANKING)
    page.set_viewport_size({"width": 700, "height": 900})
    fills(asking, RANKING)
    assert asking.errors == []


def test_two_runs_that_ended_while_hidden_show_their_own_difference(asking, engine):
    page = asking.page
    asking.tab("compare")
    page.locator("#experts-b input").nth(2).check()
    page.wait_for_selector("#spec-b", state="visible")
    before = "null"
    for spec in ("visual:3", "text:1"):
        asking.field("spec-b").fill(spec)
        engine.token_s = 0.1
        page.click("#compare")
        page.wait_for_selector(".contrast[data-state=running]")
        asking.tab("ask")
        done(asking, ".contrast")
        asking.tab("compare")
        asking.until(f"{MAP}.data && JSON.stringify({MAP}.data[0].z) !== {json.dumps(before)}")
        before = page.evaluate(f"JSON.stringify({MAP}.data[0].z)")
        page.wait_for_selector("#compare:not([disabled])")
    for width in (1000, 500):
        page.set_viewport_size({"width": width, "height": 900})
        fills(asking, MAP)
        fills(asking, LINES)
    assert asking.errors == []
