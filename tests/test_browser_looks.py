"""What must be seen: choices on a dark ground, where the keyboard is, numbers without plots, words bare."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import pytest
from browsing import SCREENS, TWO_SCREENS, Visit, assets, browser, picture, serving  # noqa: F401  fixtures
from fake_models import FakeModels
from offline_files import ShippedEngine, write_files

from smola_demo import ui

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

BOX = "(n) => { const b = n.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }"
BOXES = f"(all) => all.map({BOX})"
# The contrast of a radio's border with the label it stands on, after the rules of WCAG.
CONTRAST = """(input) => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [border, ground] = [getComputedStyle(input), getComputedStyle(input.closest("label"))];
  const shown = [border.borderTopColor, ground.backgroundColor];
  const [high, low] = shown.map(light).sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}"""


def apart(a, b):
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.fixture(scope="module")
def url(assets, tmp_path_factory):
    engine = ShippedEngine()
    engine.folder = tmp_path_factory.mktemp("experts")
    write_files(engine.info())
    handle = ui.EngineHandle(lambda _report: engine, models=lambda: FakeModels(open=True))
    handle.load()
    with serving(handle, assets) as found:
        yield found


@pytest.fixture
def visit(browser, url, request):
    context = browser.new_context(**SCREENS[getattr(request, "param", "wide")])
    yield Visit(context.new_page(), url).open()
    context.close()


@pytest.mark.parametrize("visit", ["wide", "dark"], indirect=True)
def test_a_choice_that_is_not_made_can_be_seen(visit):
    assert visit.page.locator("#task input:not(:checked)").first.evaluate(CONTRAST) >= 3
    visit.tab("ablate")
    scheme = visit.page.eval_on_selector("input[name=picker-kind]", "(n) => getComputedStyle(n).colorScheme")
    assert (scheme == "dark") == visit.page.evaluate("document.body.classList.contains('dark')")


@pytest.mark.parametrize("visit", TWO_SCREENS, indirect=True)
def test_the_map_stands_before_keep_and_share(visit):
    routing, share, answer = (
        visit.page.eval_on_selector(name, BOX) for name in ("#routing", "#share-panel", "#answer")
    )
    assert routing[3] <= share[1]
    if visit.page.viewport_size["width"] < 640:
        assert answer[3] <= routing[1] <= answer[3] + 40


@pytest.mark.parametrize("visit", ["wide", "phone"], indirect=True)
def test_the_fields_of_the_model_tab(visit):
    """Their boxes stand in one line where there is room, and no arrow covers a choice."""
    visit.tab("model")
    visit.page.wait_for_selector("#model-backbone :text('OWNER/NAME')")
    boxes = visit.page.eval_on_selector_all("#model-panel .row .secondary-wrap", BOXES)
    assert len({round(box[1]) for box in boxes}) == (1 if visit.page.viewport_size["width"] > 640 else 3)
    room = visit.page.eval_on_selector_all(
        "#model-panel .secondary-wrap",
        "(all) => all.map((n) => {"
        " const i = n.querySelector('input'), a = n.querySelector('.icon-wrap, svg');"
        " const pad = parseFloat(getComputedStyle(i).paddingRight);"
        " return a.getBoundingClientRect().left - (i.getBoundingClientRect().right - pad); })",
    )
    assert all(gap >= 0 for gap in room), room


def test_the_title_of_an_axis_stands_clear_of_its_numbers(visit, picture):
    visit.upload(picture)
    visit.page.click("#ask")
    visit.answered()
    visit.tab("routing")
    visit.page.locator("#explorer-served").scroll_into_view_if_needed()
    visit.page.wait_for_selector("#explorer-served[data-current=yes]")
    title = visit.page.eval_on_selector("#explorer-served .xtitle", BOX)
    ticks = visit.page.eval_on_selector_all("#explorer-served .xtick text", BOXES)
    assert ticks
    assert all(tick[3] <= title[1] + 1 for tick in ticks), (title, ticks)


def test_no_number_of_the_atlas_lies_under_another_point(visit):
    visit.tab("atlas")
    visit.page.wait_for_selector("#explorer-atlas-glance[data-current=yes] .textpoint")
    points = visit.page.eval_on_selector_all("#explorer-atlas-glance path.point", BOXES)
    words = visit.page.eval_on_selector_all("#explorer-atlas-glance .textpoint text", BOXES)
    assert len(points) == len(words) == 24
    # A text's box is taller than its digit, so its middle is looked at.
    middles = [((a + c) / 2 - 1, (b + d) / 2 - 1, (a + c) / 2 + 1, (b + d) / 2 + 1) for a, b, c, d in words]
    assert all(apart(middle, point) for middle in middles for point in points)


def test_the_switch_that_the_keyboard_is_on_is_outlined(visit, picture):
    visit.upload(picture)
    visit.tab("compare")
    visit.page.locator("#experts-b label", has_text="all").click()  # the plain backbone has no routing
    visit.page.click("#compare")
    visit.page.wait_for_selector(".contrast[data-state=done]")
    ring = "(n) => getComputedStyle(n.nextElementSibling).outlineStyle"
    for tab, box in (("compare", ".contrast"), ("ask", ".routing"), ("atlas", ".offline-body")):
        visit.tab(tab)
        switch = visit.page.locator(f"{box} .switches input").first
        assert switch.evaluate(ring) == "none"
        switch.focus()
        visit.page.keyboard.press("ArrowRight")
        assert visit.page.locator(":focus").evaluate(ring) == "solid", tab


def test_without_the_plot_library_a_comparison_has_its_table(browser, url, picture):
    context = browser.new_context(**SCREENS["wide"])
    page = context.new_page()
    page.route("**/plotly.min.js*", lambda route: route.abort())
    visit = Visit(page, url)
    page.goto(url)
    page.wait_for_selector("#ask:not([disabled])")
    visit.upload(picture)
    visit.tab("ablate")
    page.locator("#picker [data-expert]").first.click()
    page.click("#ablate")
    page.wait_for_selector(".divergence-table[open] td")
    context.close()
