"""The Ablate and Compare tabs in a real browser. Every wait is for a condition, none for a time."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from browsing import TWO_SCREENS, address, assets, browser, engine, picture, visit  # noqa: F401  fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

SPEC = "document.querySelector('#spec :is(input, textarea)').value"
RANKING = "document.querySelector('.ranking-plot')"
MAP = "document.querySelector('.contrast-plot.map')"


def chip(group, expert):
    return f".chip[data-group={group}][data-expert='{expert}']"


def pressed(page):
    return page.eval_on_selector_all(
        ".chip[data-expert][aria-pressed=true]", "(all) => all.map((c) => c.getAttribute('aria-label'))"
    )


@pytest.fixture
def ablating(visit, engine, picture):
    """A visit with a picture, on the Ablate tab."""
    engine.sweep_s = 0.0
    visit.open()
    visit.upload(picture)
    visit.tab("ablate")
    visit.page.wait_for_selector(chip("visual", 3))
    visit.until("document.querySelector('#ablate-on .note').textContent === 'On: beach.png, Caption'")
    return visit


def ranked(visit):
    visit.page.click("#rank")
    visit.page.wait_for_selector(".ranking[data-state=done]")
    visit.page.wait_for_selector(".ranking-plot[data-ready]")


def compare_without(visit, spec):
    """Compare all experts with some taken out, until the map of the difference stands."""
    visit.page.locator("#experts-b input").nth(2).check()
    visit.page.wait_for_selector("#spec-b", state="visible")
    visit.field("spec-b").fill(spec)
    visit.page.click("#compare")
    visit.page.wait_for_selector(".contrast-plot.map .main-svg")


@pytest.mark.parametrize("visit", TWO_SCREENS, indirect=True)
def test_choose_experts_compare_and_rank(ablating):
    """Chips write the text, both answers come, the ranking is drawn, a bar goes into the ablation."""
    page = ablating.page
    page.click(chip("visual", 3))
    page.click(chip("text", 5))
    page.click(chip("text", 6))
    ablating.until(f"{SPEC} === 'visual:3;text:5-6'")
    page.select_option(".picker-first", "8")
    page.select_option(".picker-last", "15")
    page.click(".chip[data-where=mlp]")
    page.locator("input[name=picker-kind][value=mean]").check()
    ablating.until(f"{SPEC} === 'mean!visual:3@8-15/mlp;text:5-6@8-15/mlp'")
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=done]")
    assert ablating.text(".ablated-heading") == "Without mean!visual:3@8-15/mlp;text:5-6@8-15/mlp"
    page.wait_for_selector("#rank:not([disabled])")

    ranked(ablating)
    deltas = page.evaluate(f"{RANKING}.data[0].x")
    assert len(deltas) == 24
    assert deltas == sorted(deltas)
    assert page.evaluate(f"{RANKING}.data.at(-1).x.length") == 8  # the random removals
    wide = page.evaluate("window.innerWidth > 600")
    assert page.evaluate(f"{RANKING}.data.filter((t) => t.type === 'bar').length") == (3 if wide else 1)
    page.evaluate(f"{RANKING}.scrollIntoView({{block: 'center'}})")
    page.focus(".ranking-plot")
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    second = page.evaluate(f"{RANKING}.layout.yaxis.ticktext[1]").removesuffix(" ≠")
    ablating.until(f"{SPEC} === '{second.replace(' ', ':')}'")
    ablating.until("document.querySelectorAll('.chip[data-expert][aria-pressed=true]').length === 1")
    assert pressed(page) == [second.replace(" ", " expert ")]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert ablating.errors == []


def test_text_and_chips_stay_in_step(ablating):
    page = ablating.page
    ablating.field("spec").fill("renormalize!multimodal:0,4-6@2-3/q_proj")
    ablating.until("document.querySelectorAll('.chip[data-expert][aria-pressed=true]').length === 4")
    assert pressed(page) == [f"multimodal expert {e}" for e in (0, 4, 5, 6)]
    assert page.input_value(".picker-first") == "2"
    assert page.input_value(".picker-last") == "3"
    assert page.is_checked("input[name=picker-kind][value=renormalize]")
    assert page.get_attribute(".chip[data-where=q_proj]", "aria-pressed") == "true"
    ablating.field("spec").fill("audio:1")
    ablating.until("document.querySelector('.picker-note').textContent.startsWith('No expert group')")
    for name, text in (
        ("No experts", "*:*"),
        ("Only text", "visual:*;multimodal:*"),
        ("All experts in", ""),
    ):
        page.get_by_role("button", name=name, exact=True).click()
        ablating.until(f"{SPEC} === '{text}'")
    page.focus(chip("visual", 0))
    for key in ("ArrowRight", "Enter", "ArrowRight", "Space"):
        page.keyboard.press(key)
    ablating.until(f"{SPEC} === 'visual:1-2'")
    ablating.until("document.querySelectorAll('.chip[data-expert][aria-pressed=true]').length === 2")
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=done]")
    assert ablating.text(".ablated-heading") == "Without visual:1-2"


def test_without_any_experts_no_divergence_is_drawn(ablating):
    page = ablating.page
    page.get_by_role("button", name="No experts", exact=True).click()
    ablating.until(f"{SPEC} === '*:*'")
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=done]")
    assert "no routing left to compare" in ablating.text(".divergence-none")
    assert not page.is_visible(".divergence")
    page.wait_for_selector("#ablate:not([disabled])")
    page.click(chip("text", 1))
    ablating.until(f"{SPEC} !== '*:*'")
    page.click("#ablate")
    page.wait_for_selector(".divergence-plot .main-svg")
    assert ablating.text(".divergence-none") == ""


def test_results_say_what_they_were_asked_when_the_inputs_have_changed(ablating):
    page = ablating.page
    ablating.tab("ask")
    page.click("#ask")
    ablating.answered()
    ablating.tab("ablate")
    page.click(chip("visual", 1))
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=done]")
    page.wait_for_selector("#rank:not([disabled])")
    ranked(ablating)
    ablating.tab("ask")
    page.locator("#examples button").nth(1).click()
    ablating.until("document.querySelector('#question :is(input, textarea)')?.value")
    assert "beach.png, Caption" in ablating.text(".run-facts")
    ablating.tab("routing")
    ablating.until("document.querySelector('.explorer-asked').textContent.startsWith('Caption · answer')")
    ablating.tab("ablate")
    ablating.until("document.querySelector('#ablate-on .note').textContent.includes('Count')")
    assert ablating.text(".comparison-asked") == "Asked: beach.png, Caption"
    assert ablating.text(".ranking-asked") == "Asked: beach.png, Caption"


def test_without_a_picture_or_a_choice_the_page_says_so(visit):
    page = visit.open().page
    visit.tab("ablate")
    assert visit.text("#ablate-on .note") == "No picture yet: choose one on the Ask tab."
    page.click("#ablate")
    page.wait_for_selector(".comparison[data-state=error]")
    assert "Choose an expert to take out" in visit.text(".comparison-message")
    page.wait_for_selector("#rank:not([disabled])")
    page.click("#rank")
    page.wait_for_selector(".ranking[data-state=error]")
    assert visit.text(".ranking-message") == "Choose or upload a picture first."


def test_a_ranking_shows_how_far_it_is_and_stops(ablating, engine):
    page = ablating.page
    engine.sweep_s = 1.0
    page.click("#rank")
    ablating.until("document.querySelector('.ranking-progress').value >= 2")
    assert page.get_attribute(".ranking-progress", "max") == "32"
    assert page.is_disabled("#ablate")
    assert page.is_disabled("#ablate-stop")
    page.click("#rank-stop")
    page.wait_for_selector(".ranking[data-state=stopped]")
    assert "Stopped after" in ablating.text(".ranking-message")
    page.wait_for_selector("#ablate:not([disabled])")
    assert engine.idle.wait(30)


def test_the_button_under_the_map_takes_out_the_cell_it_names(ablating):
    page = ablating.page
    ablating.tab("ask")
    page.click("#ask")
    ablating.answered()
    page.evaluate("document.querySelector('.routing-plot').scrollIntoView({block: 'center'})")
    box = page.locator(".routing-plot .nsewdrag").nth(1).bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.4)
    ablating.until("document.querySelector('#take-out')?.textContent.includes('text expert 3, layer')")
    ablating.tab("ablate")
    page.click(chip("visual", 3))
    ablating.until(f"{SPEC}.includes('visual:3')")
    ablating.tab("ask")
    page.click("#take-out")
    page.wait_for_selector("#ablate", state="visible")
    ablating.until(f"/^text:3@[0-9-]+$/.test({SPEC})")
    ablating.until("document.querySelectorAll('.chip[data-expert][aria-pressed=true]').length === 1")
    assert pressed(page) == ["text expert 3"]


def test_within_one_expert_the_table_sorts_and_saves(ablating, tmp_path):
    page = ablating.page
    page.get_by_label("one expert, layer by layer").check()
    page.wait_for_selector("#rank-within", state="visible")
    ranked(ablating)
    names = page.evaluate(f"{RANKING}.layout.yaxis.ticktext")
    assert [name.removesuffix(" ≠") for name in names] == [*(f"layer {n}" for n in range(30)), "random"]
    page.click(".ranking-table summary")
    page.click(".sort[data-sort=delta]")
    values = page.eval_on_selector_all(
        ".ranking-table tbody tr:not(.chance) td:nth-of-type(1)", "(all) => all.map((c) => c.textContent)"
    )
    numbers = [float(v.replace("−", "-")) for v in values]
    assert len(numbers) == 30
    assert numbers == sorted(numbers)
    assert page.get_attribute("th:has([data-sort=delta])", "aria-sort") == "ascending"
    page.click(".ranking-table tbody tr:first-child button")
    ablating.until(f"{SPEC}.startsWith('visual:0@')")
    with page.expect_download() as sheet:
        page.click(".ranking-saves button:has-text('CSV')")
    sheet.value.save_as(tmp_path / "ranking.csv")
    rows = list(csv.DictReader((tmp_path / "ranking.csv").read_text().splitlines()))
    assert len(rows) == 38
    assert {row["outside_random_range"] for row in rows[:30]} <= {"true", "false"}
    assert sorted(numbers) == pytest.approx(
        sorted(float(r["delta_logprob_nats"]) for r in rows[:30]), abs=6e-4
    )
    with page.expect_download() as drawing:
        page.click(".ranking-saves button:has-text('PNG')")
    drawing.value.save_as(tmp_path / "ranking.png")
    assert (tmp_path / "ranking.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("visit", TWO_SCREENS, indirect=True)
def test_two_runs_side_by_side(visit, picture):
    page = visit.open().page
    visit.upload(picture)
    visit.tab("compare")
    assert "Another checkpoint or precision loads" in visit.text("#compare-note")
    page.click("#compare")
    page.wait_for_selector(".contrast[data-state=done]")
    assert "B answers without a mixture of experts" in visit.text(".contrast-none")
    assert not page.is_visible(".contrast-plot.map")

    page.wait_for_selector("#compare:not([disabled])")
    compare_without(visit, "visual:3")
    page.wait_for_selector(".contrast-plot.line .main-svg")
    heads = page.locator(".sides h3").all_inner_texts()
    assert heads == ["A: beach.png, Caption", "B: beach.png, Caption"]
    before = page.evaluate(f"JSON.stringify({MAP}.data[1].z)")
    calls = visit.calls()
    page.locator("input[name=contrast-phase][value=answer]").check(force=True)
    visit.until(f"JSON.stringify({MAP}.data[1].z) !== {before!r}")
    assert "not token by token" in visit.text(".contrast-said")
    assert visit.calls() == calls
    page.click(".map-table summary")
    cell = page.locator(".map-table tbody tr").nth(30).locator("td").nth(1)  # text, layer 0, expert 0
    shown = float(cell.inner_text().replace("−", "-"))
    assert shown == pytest.approx(page.evaluate(f"{MAP}.data[1].z[0][0]"), abs=1e-5)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visit.errors == []


def test_experts_taken_out_are_crossed_and_do_not_set_the_colours(visit, engine, picture, monkeypatch):
    def without(request, *_):
        """Taking visual 3 out changes nothing else but text 5 in layer 2, a little."""
        found = engine.trace(1, ["one", "two"])
        weight = found.weight.copy()
        if request.ablation:
            weight[0, ..., 3] = 0
            weight[1, 2, ..., 5] *= 0.99
        return replace(found, weight=weight)

    monkeypatch.setattr(engine, "_trace", without)
    page = visit.open().page
    visit.upload(picture)
    visit.tab("compare")
    compare_without(visit, "visual:3")
    shown = page.evaluate(f"{MAP}.data.map(({{z, zmax, text}}) => ({{z, zmax, text}}))")
    small = abs(shown[1]["z"][5][2])
    assert 0 < small < 0.01
    assert {panel["zmax"] for panel in shown[:3]} == {small}
    crossed = [[[bool(cell) for cell in row] for row in panel["text"]] for panel in shown[3:]]
    assert crossed[0][3] == [True] * 30
    assert sum(cell for panel in crossed for row in panel for cell in row) == 30
    assert "Grey cells with a ×" in visit.text(".contrast-said")
