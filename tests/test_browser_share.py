"""Keep and share in a real browser: files, cards, links, runs of the visit, two visitors at once."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import gzip
import io
import json
import re
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import (  # noqa: F401  fixtures
    SCREENS,
    TWO_SCREENS,
    WAIT,
    Visit,
    address,
    ask,
    assets,
    browser,
    engine,
    example,
    picture,
    serving,
    visit,
)
from fake_engine import FakeEngine
from PIL import Image, ImageDraw

from smola_demo import ui
from smola_demo.results import Request
from smola_demo.runs import read_run, run_record, write_run_file

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]

EXPLORED = "document.querySelector('.explorer-asked').textContent"


def download(visit, selector):
    with visit.page.expect_download() as found:
        visit.page.click(selector)
    return found.value.suggested_filename, found.value.path().read_bytes()


def expected(image, task, question=None, ablation=""):
    *_, answer = FakeEngine().answer(Request(image, task, question, ablation))
    return answer


@pytest.mark.parametrize("visit", TWO_SCREENS, indirect=True)
def test_a_run_is_kept_exported_and_reopened(visit, picture, tmp_path):
    page = visit.open().page
    assert page.is_disabled(".save-run")
    visit.upload(picture)
    ask(visit, 1)
    name, raw = download(visit, ".save-run")
    run = read_run(gzip.decompress(raw))
    assert re.fullmatch(r"smola-\d{14}\.json\.gz", name)
    assert run["answer"]["text"] == visit.text(".answer-text")
    assert visit.text(".past-list button").startswith("beach.png · Caption · ")

    card_name, card = download(visit, ".save-card")
    with Image.open(io.BytesIO(card)) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (1200, 675))
        assert len(drawn.convert("RGB").getcolors(1200 * 675)) > 500
    assert card_name.endswith(".png")

    path = tmp_path / name
    path.write_bytes(raw)
    page.reload()
    page.wait_for_selector("#ask:not([disabled])")
    with page.expect_file_chooser() as chooser:
        page.click("#open-run")
    chooser.value.set_files(str(path))
    page.wait_for_selector("#tab-routing", state="visible")
    visit.until(f"{EXPLORED}.includes({json.dumps(run['answer']['text'])})")
    assert "Reopened run, not live: made on 20" in visit.text("#run-note")
    assert "with experts embedded-omni after 4,000 steps" in visit.text("#run-note")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    visit.tab("ask")
    assert visit.text(".answer-text") == run["answer"]["text"]
    assert "not live" in visit.text(".answer-message")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert visit.errors == []


def test_the_card_has_the_colours_of_the_map(visit, picture):
    """Its cells are drawn from the run's own numbers: the strongest cell of all has the end colour."""
    page = visit.open().page
    visit.upload(picture)
    ask(visit, 1)
    _, card = download(visit, ".save-card")
    with Image.open(io.BytesIO(card)) as drawn:
        cells = drawn.convert("RGB").crop((480, 401, 1160, 545))
        colours = {colour for _, colour in cells.getcolors(680 * 144)}
    ends = {(0x4B, 0x2A, 0x86), (0x7A, 0x4B, 0x00)}
    assert colours & ends
    assert page.is_visible(".save-film") == page.evaluate("Boolean(window.MediaRecorder)")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("lora", "the LoRA embedded-omni after 4000 steps ·"),
        ("untrained", ", untrained experts ·"),
        ("none", ", no experts ·"),
        ("trained", ", experts embedded-omni after 4000 steps ·"),
    ],
)
def test_the_card_says_what_answered(visit, tmp_path, state, said):
    groups = () if state in ("lora", "none") else ("text",)
    fake, image = FakeEngine(state=state, groups=groups, layers=2, experts=2), Image.new("RGB", (8, 8))
    *_, answer = fake.answer(Request(image, "caption"))
    run = run_record(answer, fake.info(), image, "2026-01-02T03:04:05+00:00")
    (tmp_path / "run.json").write_text(json.dumps(run))
    page = visit.open().page
    with page.expect_file_chooser() as chooser:
        page.click("#open-run")
    chooser.value.set_files(str(tmp_path / "run.json"))
    page.wait_for_selector("#tab-routing", state="visible")
    visit.tab("ask")
    page.evaluate("""() => {
      const pen = CanvasRenderingContext2D.prototype, real = pen.fillText;
      window.written = [];
      pen.fillText = function (...all) { window.written.push(all[0]); return real.apply(this, all); };
    }""")
    download(visit, ".save-card:not([disabled])")
    assert said in " ".join(page.evaluate("window.written"))


def test_a_film_of_the_answer_is_a_webm(visit, picture):
    page = visit.open().page
    if not page.is_visible(".save-film"):
        pytest.skip("this browser records no WebM")
    visit.upload(picture)
    ask(visit, 1)
    page.evaluate("window.setTimeout = ((real) => (f, ms) => real(f, Math.min(ms, 60)))(window.setTimeout)")
    name, film = download(visit, ".save-film")
    assert name.endswith(".webm")
    assert film[:4] == b"\x1aE\xdf\xa3"
    assert visit.errors == []


def test_what_is_no_run_is_refused_in_one_sentence(visit, picture, tmp_path):
    page = visit.open().page
    visit.upload(picture)
    ask(visit, 1)
    before = visit.text(".answer-text")
    odd = tmp_path / "odd.json"
    odd.write_text('{"format": "smola-run", "version": 1, "answer": "<img src=x onerror=alert(1)>"}')
    with page.expect_file_chooser() as chooser:
        page.click("#open-run")
    chooser.value.set_files(str(odd))
    page.wait_for_selector("#run-message .note[data-kind=error]")
    assert "This run is damaged" in visit.text("#run-message")
    assert visit.text(".answer-text") == before
    assert page.locator(".past-list li").count() == 1
    assert page.is_visible("#tab-ask")


def test_a_link_restores_what_was_chosen_and_holds_for_a_new_server(visit, browser, engine, assets):
    page = visit.open().page
    example(visit, 1)
    visit.field("question").fill("How many stars & <moons>?")
    visit.tab("ablate")
    visit.field("spec").fill("visual:3@8-15")
    visit.tab("ask")
    ask(visit, 1)
    visit.tab("routing")
    visit.until("window.smola.explorerState")
    page.evaluate("window.smola.setExplorerState({layer: 12, group: 'text', expert: 5})")
    visit.until("window.smola.explorerState.layer === 12")
    visit.tab("ask")
    page.click(".copy-link")
    page.wait_for_selector(".link-text", state="visible")
    link = page.input_value(".link-text")
    words = {name: value[0] for name, value in parse_qs(urlsplit(link).query).items()}
    assert words == {
        "example": "example1",
        "task": "count",
        "question": "How many stars & <moons>?",
        "ablation": "visual:3@8-15",
        "layer": "12",
        "expert": "text:5",
    }
    with serving(ui.EngineHandle.of(FakeEngine()), assets) as other:
        context = browser.new_context(**SCREENS["wide"])
        found = Visit(context.new_page(), other).open("?" + urlsplit(link).query)
        found.until("document.querySelector('#picture img')?.src.includes('example1.png')")
        assert found.field("question").input_value() == "How many stars & <moons>?"
        assert found.page.get_by_label("Count").is_checked()
        found.tab("ablate")
        assert found.field("spec").input_value() == "visual:3@8-15"
        assert not found.page.is_visible("#run-message")
        found.tab("ask")
        ask(found, 1)
        found.tab("routing")
        found.until("window.smola.explorerState?.layer === 12")
        assert found.page.evaluate("window.smola.explorerState") == {
            "layer": 12,
            "group": "text",
            "expert": 5,
        }
        assert found.errors == []
        context.close()


def test_no_link_leads_to_a_picture_of_ones_own(visit, picture):
    page = visit.open().page
    visit.upload(picture)
    page.click(".copy-link")
    visit.until("document.querySelector('.runs-said').textContent.includes('private')")
    assert not page.is_visible(".link-text")


def test_a_broken_link_says_so_in_one_sentence(visit):
    page = visit.open("?example=nowhere&task=caption&layer=x&expert=%3Cb%3E").page
    page.wait_for_selector("#run-message .note[data-kind=error]")
    assert visit.text("#run-message .note") == (
        "This link is not quite right: what it says about example and layer and expert was ignored."
    )
    assert page.get_by_label("Caption").is_checked()
    assert visit.errors == []


def test_recorded_runs_are_there_while_the_model_loads_and_stay(browser, assets):
    fake, waiting = FakeEngine(layers=4), threading.Event()
    with Image.open(assets / "example1.png") as image:
        shown = image.convert("RGB")
    *_, answer = fake.answer(Request(shown, "count", "How many circles are there?"))
    run = run_record(answer, fake.info(), shown, "2026-01-02T03:04:05+00:00")
    path = assets / "runs" / "example1.json.gz"
    write_run_file(path, run)

    def build(_report):
        assert waiting.wait(WAIT / 1000)
        return fake

    try:
        with serving(ui.EngineHandle(build).start(), assets) as url:
            context = browser.new_context(**SCREENS["wide"])
            found = Visit(context.new_page(), url)
            page = found.page
            page.goto(url)
            page.wait_for_selector(".answer[data-origin=recorded]")
            assert found.text(".answer-text") == answer.text
            assert "Recorded run, not live: made on 2026-01-02 at 03:04 UTC" in found.text(".answer-message")
            assert page.is_disabled("#ask")
            assert page.is_visible("#loading")
            page.wait_for_selector(".routing-plot .main-svg")
            waiting.set()
            page.wait_for_selector("#ask:not([disabled])")
            assert found.text(".answer-text") == answer.text
            assert page.locator(".recorded-list button").all_inner_texts() == ["Placeholder 1"]
            example(found, 0)
            ask(found, 2)
            assert found.text(".answer-message") == ""
            assert not page.is_visible("#run-note")
            page.click(".recorded-list button")
            page.wait_for_selector(".answer[data-origin=recorded]")
            found.tab("routing")
            assert "Recorded run" in found.text("#run-note")
            assert found.errors == []
            context.close()
    finally:
        waiting.set()
        path.unlink()
        path.parent.rmdir()


def test_two_visitors_at_once_each_see_their_own(browser, address, engine, tmp_path):
    """Different pictures and ablations at the same time: nothing of one reaches the other."""
    engine.token_s, engine.prefill_s, engine.most_running = 0.03, 0.0, 0
    people = []
    for number, (colour, spec) in enumerate((("#3366cc", "visual:3"), ("#cc9933", "text:5@2-7"))):
        path = tmp_path / f"own{number}.png"
        image = Image.new("RGB", (64, 48), colour)
        ImageDraw.Draw(image).rectangle((5, 5, 30, 20), fill="#fff")
        image.save(path)
        context = browser.new_context(**SCREENS["wide"])
        found = Visit(context.new_page(), address).open()
        found.upload(path)
        people.append((context, found, image, spec))
    for _, found, _, _ in people:
        found.page.click("#ask")
    for _, found, image, _ in people:
        found.until("document.querySelectorAll('.past-list li').length === 1")
        found.answered()
        assert found.text(".answer-text") == expected(image, "caption").text
        run = read_run(gzip.decompress(download(found, ".save-run")[1]))
        assert run["answer"]["logprob"] == pytest.approx(expected(image, "caption").logprob, abs=1e-4)
    for _, found, _, spec in people:
        found.tab("ablate")
        found.field("spec").fill(spec)
        found.page.click("#ablate")
    for context, found, image, spec in people:
        found.page.wait_for_selector(".comparison[data-state=done]")
        assert spec in found.text(".comparison")
        assert found.text(".ablated-text").split() == expected(image, "caption", None, spec).text.split()
        assert found.errors == []
        context.close()
    engine.token_s = 0.0
    assert engine.most_running == 1
    answers = {expected(image, "caption").logprob for _, _, image, _ in people}
    assert len(answers) == 2
