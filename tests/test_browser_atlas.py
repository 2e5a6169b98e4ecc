"""The tabs of offline results in a real browser: what they draw against the files, and what they refuse."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from browsing import SCREENS, address, assets, browser, engine, visit  # noqa: F401  fixtures
from offline_files import TASKS, ShippedEngine, atlas_file, metrics_file, write_files
from offline_page import Tab, offline_page

from smola_demo import ui

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]


def shipped(folder):
    engine = ShippedEngine(layers=5, experts=4)
    engine.folder = folder
    return engine


@pytest.fixture(scope="module")
def info():
    return shipped("").info()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts")
    engine = shipped(folder)
    write_files(engine.info())
    with offline_page(ui.EngineHandle.of(engine)) as found:
        yield found


@pytest.fixture
def tab(browser, url, request):
    context = browser.new_context(**SCREENS[getattr(request, "param", "wide")], accept_downloads=True)
    found = Tab(context.new_page(), url)
    yield found
    context.close()
    assert found.errors == []


def by(info, key, *, down=True):
    """Experts in the order of a number, the file's order where it is the same."""
    entries = atlas_file(info)["entries"]
    entries.sort(key=lambda e: -key(e) if down else key(e))
    return [f"{e['group']}:{e['expert']}" for e in entries]


def test_cards_stand_in_the_chosen_order(tab, info):
    page = tab.open("atlas").page
    assert tab.order() == by(info, lambda e: e["effect"], down=False)
    keys = {
        "weight": lambda e: e["weight"],
        "contribution": lambda e: e["contribution"],
        "spread": lambda e: max(place["spread"] for place in e["layers"]),
        "number": lambda _: 0,
    }
    for name, key in keys.items():
        page.select_option(".atlas-sort", name)
        assert tab.order() == by(info, key), name
    page.select_option(".atlas-sort", "weight")
    page.select_option(".atlas-task", "vqa")
    assert tab.order() == by(info, lambda e: e["tasks"]["vqa"]["weight"])
    assert f"over {TASKS['vqa']} rows of the task vqa" in page.inner_text(".atlas-count")
    page.locator("input[name=atlas-group][value=text]").check(force=True)
    assert tab.order() == [name for name in by(info, lambda e: e["tasks"]["vqa"]["weight"]) if "text" in name]
    assert page.inner_text(".atlas-count").startswith("4 of 12 experts")


def test_a_card_shows_the_files_numbers_patches_and_words(tab, info):
    page = tab.open("atlas").page
    entry = next(e for e in atlas_file(info)["entries"] if (e["group"], e["expert"]) == ("multimodal", 1))
    card = page.locator("[data-expert='multimodal:1']")
    said = card.inner_text()
    assert f"{entry['weight']:.4f} even 0.25" in said
    assert f"{entry['contribution']:.4f} even 0.125" in said
    assert f"{entry['effect']:+.4f}".replace("-", "−") in said
    first = entry["layers"][0]
    assert f"Layer {first['layer']}: spread {first['spread']:.4f}" in said
    assert card.locator("details[open] img").count() == 6
    frame = card.locator(".thumb i").first.evaluate(
        "(i) => [i.style.left, i.style.top, i.style.width, i.style.height]"
    )
    assert frame == ["30%", "30%", "40%", "40%"]
    assert card.locator("details[open] li").first.inner_text().split() == [
        "what", "is", "<b>red", "in", "the", f"{first['words'][0]['weight']:.4f}"
    ]  # fmt: skip
    assert page.locator("[data-expert='text:1'] img").count() == 0
    for task in TASKS:
        assert f"{entry['tasks'][task]['effect']:+.4f}".replace("-", "−") in said
    made = page.inner_text(".atlas-made")
    assert "2026-01-02 03:04 UTC for embedded-omni after 4,000 steps" in made
    assert "gallery 18, shapes 30" in made


def test_the_points_are_the_files_and_stay_the_same_plot(tab, info):
    page = tab.open("atlas").page
    entries = atlas_file(info)["entries"]
    for task in ("", "count"):
        page.select_option(".atlas-task", task)
        for trace in tab.data("atlas-glance"):
            own = [e["tasks"][task] if task else e for e in entries if e["group"] == trace["name"]]
            assert trace["x"] == [use["weight"] for use in own]
            assert trace["y"] == [use["effect"] for use in own]
        if not task:
            page.evaluate("window.kept = document.querySelector('#explorer-atlas-glance .main-svg')")
    assert page.evaluate("window.kept === document.querySelector('#explorer-atlas-glance .main-svg')")


def test_the_file_is_sent_once_and_only_when_the_tab_is_seen(tab):
    tab.page.click("#there")
    tab.page.wait_for_timeout(500)
    before = len(tab.asked)
    tab.open("atlas", told=False)
    assert len(tab.asked) == before + 1
    tab.choose("Ablate")
    tab.page.click("#there")  # a second word from the engine changes nothing
    tab.page.wait_for_timeout(500)
    tab.choose("Atlas")
    tab.page.wait_for_selector(".atlas-card")
    tab.page.wait_for_timeout(500)
    assert len(tab.asked) == before + 2


def test_another_atlas_with_fewer_tasks_takes_the_place_of_the_first(browser, tmp_path):
    first, second = shipped(tmp_path / "first"), shipped(tmp_path / "second")
    for made in (first, second):
        made.folder.mkdir()
    write_files(first.info())
    fewer = atlas_file(second.info(), seed=1)
    fewer["made"]["tasks"] = {"vqa": TASKS["vqa"]}
    for entry in fewer["entries"]:
        entry["tasks"] = {"vqa": entry["tasks"]["vqa"]}
    write_files(second.info(), atlas=fewer)
    handle = ui.EngineHandle.of(first)
    with offline_page(handle) as url:
        context = browser.new_context(**SCREENS["wide"])
        tab = Tab(context.new_page(), url).open("atlas")
        tab.page.locator(".atlas-all th button", has_text="count effect").click()
        assert handle.switch(lambda _report: second) == ""
        tab.page.click("#there")
        lowest = min(entry["effect"] for entry in fewer["entries"])
        tab.page.wait_for_function(
            "(v) => document.querySelector('.atlas-card .atlas-facts')?.innerText.includes(v)",
            arg=f"{abs(lowest):.4f}",
        )
        assert tab.page.locator(".atlas-all thead th").count() == 10
        assert tab.page.locator(".atlas-all th[aria-sort=ascending]").inner_text().startswith("expert")
        assert tab.errors == []
        context.close()


def test_take_it_out_leads_to_the_ablate_tab(tab):
    page = tab.open("atlas").page
    button = page.locator("[data-expert='visual:3'] button")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#spec :is(input, textarea)').value === 'visual:3'")
    page.wait_for_selector("#picker [data-group=visual][data-expert='3'][aria-pressed=true]")
    assert page.locator("#picker").is_visible()


def test_the_table_sorts_and_is_saved_as_it_stands(tab, info):
    page = tab.open("atlas").page
    entries = atlas_file(info)["entries"]
    heading = page.locator(".atlas-all th button", has_text="effect").first
    heading.focus()
    page.keyboard.press("Enter")
    assert page.locator(".atlas-all th[aria-sort=descending]").inner_text().startswith("effect")
    page.keyboard.press("Enter")  # the focus is still there: now ascending
    rows = page.eval_on_selector_all(".atlas-all tbody tr", "(all) => all.map((r) => r.cells[0].textContent)")
    assert [name.replace(" ", ":") for name in rows] == by(info, lambda e: e["effect"], down=False)
    with page.expect_download() as waiting:
        page.click(".atlas-csv")
    saved = list(csv.reader(io.StringIO(waiting.value.path().read_text(encoding="utf-8"))))
    assert [row[0] for row in saved[1:]] == rows
    column = saved[0].index("count effect")
    expected = {f"{e['group']} {e['expert']}": e["tasks"]["count"]["effect"] for e in entries}
    assert {row[0]: float(row[column]) for row in saved[1:]} == pytest.approx(expected)


def test_intervals_are_drawn_as_they_are_in_the_file(tab, info):
    page = tab.open("truth").page
    made = metrics_file(info)
    expected = {
        "tasks": [(t["against"]["difference"], *t["against"]["ci95"]) for t in made["tasks"].values()],
        "looking": [(s["gain"], *s["ci95"]) for s in made["looking"].values()],
    }
    for name in ("correlation", "answer_changed", "effect"):
        expected[name] = [(one["value"], *one["ci95"]) for one in made["checks"][name].values()]
    for name, rows in expected.items():
        (trace,) = tab.data(f"truth-{name}")
        found = [
            (x, x - less, x + more)
            for x, less, more in zip(
                trace["x"], trace["error_x"]["arrayminus"], trace["error_x"]["array"], strict=True
            )
        ]
        np.testing.assert_allclose(found, rows, atol=1e-9)
    said = page.inner_text("#explorer-truth-tasks")
    for line in ("caption: better", "vqa: no clear difference", "count: worse"):
        assert line in said
    assert "CIDEr-D" in page.inner_text("#explorer-truth-tasks table")
    assert "coco: it looks" in page.inner_text("#explorer-truth-looking")
    assert "sroie: no sign that it looks" in page.inner_text("#explorer-truth-looking")


@pytest.mark.parametrize("tab", ["wide", "phone", "dark"], indirect=True)
def test_router_maps_side_by_side_on_one_scale(tab, info):
    page = tab.open("truth").page
    maps = metrics_file(info)["checks"]["routers"]
    traces = {trace["name"]: trace for trace in tab.data("truth-routers")}
    assert len(traces) == 6
    for g, group in enumerate(info.groups):
        for kind in ("trained", "random"):
            np.testing.assert_array_equal(traces[f"{group} {kind}"]["z"], np.array(maps[kind])[g].T)
    axis = page.evaluate("document.querySelector('#explorer-truth-routers .figure-plot').layout.coloraxis")
    both = np.array([maps["trained"], maps["random"]])
    far = np.abs(both - 0.25).max()
    assert [axis["cmin"], axis["cmax"]] == pytest.approx([0.25 - far, 0.25 + far])
    assert "even 0.25" in axis["colorbar"]["ticktext"]
    assert tab.fits()
    with page.expect_download() as waiting:
        page.click("#explorer-truth-routers button[aria-label$=PNG]")
    assert waiting.value.path().read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("tab", ["phone"], indirect=True)
def test_the_atlas_fits_a_phone(tab):
    page = tab.open("atlas").page
    tab.data("atlas-glance")
    assert tab.fits()
    lefts = page.eval_on_selector_all(
        ".atlas-card", "(all) => all.map((c) => c.getBoundingClientRect().left)"
    )
    assert len(set(lefts)) == 1
    wide = "(all) => all.filter((c) => c.scrollWidth > c.clientWidth + 1).length"
    assert page.eval_on_selector_all(".atlas-card", wide) == 0


def test_what_is_missing_says_so_with_a_command(browser, tmp_path):
    engine = shipped(tmp_path)
    made = metrics_file(engine.info())
    del made["checks"]
    write_files(engine.info(), atlas=None, metrics=made)
    context = browser.new_context(**SCREENS["wide"])
    with offline_page(ui.EngineHandle.of(engine)) as url:
        tab = Tab(context.new_page(), url).open("atlas", "missing")
        assert "The atlas is not computed for this checkpoint yet" in tab.page.inner_text("#atlas")
        assert (
            "python -m smola_demo atlas --backbone embedded --experts embedded-omni"
            in tab.page.inner_text("#atlas pre")
        )
        assert not tab.page.locator("#atlas .offline-body").is_visible()
        tab.open("truth", told=False)
        assert "Checks of the maps are not computed" in tab.page.inner_text("[data-section=checks]")
        assert "--checks 60" in tab.page.inner_text("#truth pre")
        assert "caption: better" in tab.page.inner_text("#truth")
    context.close()
    assert tab.errors == []


def test_they_are_the_pages_last_tabs(visit):
    page = visit.open().page
    titles = page.eval_on_selector_all(
        "#tabs [role=tablist] [role=tab]", "(all) => all.map((t) => t.textContent.trim())"
    )
    assert titles[-2:] == ["Atlas", "Is it true?"]
    page.get_by_role("tab", name="Is it true?").first.click()
    page.wait_for_selector("#truth [data-state=missing]")
    assert "not computed for this checkpoint yet" in page.inner_text("#truth")
