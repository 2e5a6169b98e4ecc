"""What the Routing tab draws, in a real browser, against numpy on the same record."""

# ruff: noqa: F811  a test names the fixtures it wants

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from browsing import SCREENS, browser  # noqa: F401  fixtures
from exploring import (  # noqa: F401  fixtures
    RECORDS,
    Explorer,
    Numbers,
    close,
    explorer,
    exploring,
    made,
    numbers,
    url,
)
from PIL import Image

from smola_demo.runs import pack, unpack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # the server runs in this process, and its warnings are not ours
]


@pytest.mark.parametrize("measure", ["weight", "share"])
@pytest.mark.parametrize(("phase", "scale"), [("answer", "value"), ("prompt", "difference")])
def test_the_layer_map_is_the_mean_over_tokens_and_projections(explorer, numbers, measure, phase, scale):
    explorer.show().switch(measure=measure, phase=phase, scale=scale)
    for g, trace in enumerate(explorer.data("map")):
        rows = numbers.rows(g, phase)
        expected = numbers.mean[measure][g][:, rows].mean(1).T  # (E, L)
        shift = numbers.even[measure][rows].mean() if scale == "difference" else 0
        close(trace["z"], expected - shift)
    said = explorer.page.inner_text("#explorer-map .figure-said")
    assert "Layers 0 to 4" in said
    assert f"{phase} tokens" in said
    assert ("1/4 = 0.25" if measure == "weight" else "1/8 = 0.125") in said
    assert ("minus uniform" in said) == (scale == "difference")


@pytest.mark.parametrize("layer", [-1, 3])
def test_the_token_map_has_a_row_for_the_image_and_for_every_word(explorer, numbers, layer):
    explorer.show().switch(phase="both", measure="share")
    explorer.layer(layer)
    values = numbers.mean["share"].mean(1) if layer < 0 else numbers.mean["share"][:, layer]  # (G, T, E)
    text = np.flatnonzero(~numbers.visual)
    for g, trace in enumerate(explorer.data("tokens")):
        image = values[g, numbers.visual].mean(0)[None]
        expected = np.concatenate([image, values[g, text]])
        gaps = np.concatenate([[not numbers.serves[g, 0]], ~numbers.serves[g, text]])
        expected[gaps] = np.nan
        close(trace["z"], expected)
    assert "image (16)" in explorer.page.inner_text("#explorer-tokens .figure-plot")


def test_words_name_the_expert_furthest_above_an_even_share(explorer, numbers):
    explorer.show().drawn("words")
    values = numbers.mean["weight"].mean(1)  # (G, T, E)
    read = np.flatnonzero(numbers.answer)
    said = [w.split("\n") for w in explorer.page.locator("#explorer-words .word").all_inner_texts()]
    words = [t["text"].strip() for t in RECORDS["trained"]["answer"]["tokens"]]
    assert [w[0] for w in said] == words
    above, strengths = [], []
    for row, (_, name), button in zip(read, said, explorer.page.locator(".word").all(), strict=False):
        g, e = np.unravel_index(np.argmax(values[:, row]), values[:, row].shape)
        assert name == f"{numbers.groups[g]} {e}"
        above.append(values[g, row, e] - 0.25)
        strengths.append(float(button.evaluate("(b) => b.style.getPropertyValue('--strength')")))
    np.testing.assert_allclose(strengths, np.array(above) / max(above), atol=2e-3)
    assert explorer.page.locator(".word").last.is_disabled()  # the last word was never read back
    explorer.switch(shade="logprob")
    explorer.page.wait_for_function("document.querySelector('.word small').textContent.includes('%')")
    logs = [t["logprob"] for t in RECORDS["trained"]["answer"]["tokens"]]
    percents = [w.split("\n")[1] for w in explorer.page.locator(".word").all_inner_texts()]
    assert percents == [f"{round(100 * np.exp(v))} %" for v in logs]


def test_the_overlay_shows_the_chosen_expert_and_the_most_peaked_ones(explorer, numbers):
    explorer.show()
    explorer.page.locator(".pick-group").select_option(label="multimodal")
    explorer.page.locator(".pick-expert").select_option(label="2")
    explorer.drawn("overlay")
    values = numbers.mean["weight"].mean(1)[:, numbers.visual]  # (G, V, E)
    drawn = explorer.page.eval_on_selector_all(
        "#explorer-overlay .patch", "(all) => all.map((n) => [n.dataset.value, n.classList.contains('top')])"
    )
    close([value for value, _ in drawn], values[2, :, 2])
    assert {i for i, (_, top) in enumerate(drawn) if top} == set(np.argsort(-values[2, :, 2])[:5])
    peak = {(g, e): values[g, :, e].max() / values[g, :, e].mean() for g in (0, 2) for e in range(4)}
    expected = [f"{numbers.groups[g]} {e}" for g, e in sorted(peak, key=lambda k: -peak[k])][:8]
    assert explorer.page.locator(".multiples button span").all_inner_texts() == expected
    legend = explorer.page.inner_text(".patch-legend")
    assert f"{values[2, :, 2].max():.4f}" in legend
    assert "even 0.25" in legend


# The grey of a canvas in the middle of each patch.
GREYS = """(canvas) => [...document.querySelectorAll("#explorer-overlay .patch")].map((patch) => {
  const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(patch.getAttribute(name)));
  const at = [(x + w / 2) * canvas.width, (y + h / 2) * canvas.height].map(Math.floor);
  const [r, g, b] = canvas.getContext("2d").getImageData(...at, 1, 1).data;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
})"""


@pytest.mark.parametrize("screen", ["wide", "dark"])
@pytest.mark.parametrize("colour", ["white", "black"])
def test_lightness_orders_the_patches_whatever_the_picture(browser, screen, colour):
    record = made(colour=colour)
    numbers = Numbers(record)
    with exploring([record]) as url:
        context = browser.new_context(**SCREENS[screen])
        page = Explorer(context.new_page(), url).show().page
        current = page.locator("#explorer-overlay[data-current=yes]")
        for name in page.locator(".multiples button span").all_inner_texts()[:3]:
            page.locator(".multiples button", has_text=name).click()
            current.wait_for()
            group, expert = name.split()
            values = numbers.mean["weight"].mean(1)[numbers.groups.index(group), numbers.visual, int(expert)]
            small = page.locator(".multiples button[aria-pressed=true] canvas")
            for canvas in (page.locator(".patch-stage canvas"), small):
                greys = np.array(canvas.evaluate(GREYS))[np.argsort(values)]
                steps = np.diff(greys if screen == "dark" else -greys)
                assert steps.min() > -1  # rounding
                assert steps.sum() > 90
        if (screen, colour) == ("wide", "white"):  # the page's ground is the picture's
            bar = Image.open(io.BytesIO(page.locator(".patch-bar").screenshot())).convert("RGB")
            ends = [bar.getpixel((x, bar.height // 2)) for x in (3, bar.width - 4)]
            tones = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in ends]
            np.testing.assert_allclose(tones, [greys[0], greys[-1]], atol=4)
        context.close()


def test_group_shares_add_up_token_by_token(explorer, numbers):
    explorer.show().switch(phase="both")
    total = numbers.mean["share"].mean(1).sum(-1)  # (G, T)
    text = np.flatnonzero(~numbers.visual)
    traces = explorer.data("groups")
    for g in range(3):
        expected = np.concatenate([[total[g, numbers.visual].mean()], total[g, text]])
        drawn = np.array(traces[g]["y"], float)
        np.testing.assert_allclose(np.nan_to_num(drawn), expected, rtol=2e-4, atol=1e-6)
    assert set(traces[3]["y"]) == {0.5}  # two groups serve every token
    explorer.switch(scale="difference")
    drawn = np.array(explorer.data("groups")[2]["y"], float)
    np.testing.assert_allclose(drawn[1:], total[2, text] - 0.5, rtol=1e-3, atol=1e-5)


def test_entropy_stands_beside_uniform_and_chance(explorer, numbers):
    explorer.show()
    traces = explorer.data("entropy")
    for g in range(3):
        low, high, uniform, prompt, answer = traces[5 * g : 5 * g + 5]
        close(low["y"], numbers.random_entropy[g, :, 0])
        close(high["y"], numbers.random_entropy[g, :, 1])
        close(uniform["y"], [np.log(4)] * 2)
        for trace, wanted in ((prompt, False), (answer, True)):
            rows = np.flatnonzero(numbers.serves[g] & (numbers.answer == wanted))
            if len(rows):
                close(trace["y"], numbers.entropy[g][:, rows].mean(1))
            else:
                assert set(trace["y"]) == {None}
    assert "random routers" in explorer.page.inner_text("#explorer-entropy .figure-said")
    explorer.switch(count="number")
    rows = np.flatnonzero(numbers.serves[2] & numbers.answer)
    close(explorer.data("entropy")[14]["y"], np.exp(numbers.entropy[2][:, rows].mean(1)))


def test_the_anatomy_has_every_term_of_the_equation(explorer, numbers):
    page = explorer.show().page
    explorer.layer(2)
    explorer.drawn("anatomy")
    page.locator("#explorer-anatomy select").select_option(label="v_proj")
    weight, norm, cosine = explorer.data("anatomy")
    row = int(np.flatnonzero(numbers.answer)[0])
    for trace, values in (
        (weight, numbers.weight),
        (norm, numbers.contribution),
        (cosine, numbers.alignment),
    ):
        close(trace["x"], values[1:, 2, 1, row].ravel())  # text, then multimodal experts
    story = page.inner_text(".anatomy-story")
    g, e = np.unravel_index(np.argmax(numbers.contribution[1:, 2, 1, row]), (2, 4))
    assert f"largest addition is by {numbers.groups[g + 1]} {e}" in story
    part = 100 * numbers.contribution[1 + g, 2, 1, row, e] / numbers.base_norm[2, 1, row]
    assert f"{part:.3g}" in story
    assert "v_proj" in story
    page.click("#explorer-anatomy summary")
    table = page.inner_text("#explorer-anatomy table")
    assert "against" in table
    assert f"{numbers.base_norm[2, 1, row]:.4f}" in table


def test_with_all_layers_the_anatomy_shows_where_experts_add_most(explorer, numbers):
    explorer.show().drawn("anatomy")
    row = int(np.flatnonzero(numbers.answer)[0])
    added = numbers.contribution[:, :, 0, row].sum((0, 2)) / numbers.base_norm[:, 0, row]
    assert f"layer {np.argmax(added)} (all layers are chosen" in explorer.page.inner_text(
        "#explorer-anatomy .figure-said"
    )


def test_a_long_run_is_shown_in_parts(browser):
    record = json.loads(json.dumps(RECORDS["trained"]))
    routing = record["routing"]
    more = 50
    for name in ("weight", "contribution", "alignment", "base_norm"):
        values = unpack(routing[name])
        axis = 2 if name == "base_norm" else 3
        last = np.take(values, [-1], axis)
        routing[name] = pack(np.concatenate([values, *[last] * more], axis))
    for name, value in (("tokens", "again"), ("modality", 0), ("phase", 1)):
        routing[name] += [value] * more
    with exploring([record]) as url:
        context = browser.new_context(**SCREENS["wide"])
        explorer = Explorer(context.new_page(), url).show()
        count = routing["phase"].count(1)
        said = explorer.drawn("tokens").locator(".figure-said")
        assert f"rows 1 to 32 of {count}" in said.inner_text()
        explorer.page.get_by_role("button", name="Later tokens").click()
        assert len(explorer.data("tokens")[1]["z"]) == 32
        assert f"rows {count - 31} to {count} of {count}" in said.inner_text()
        assert explorer.page.get_by_role("button", name="Later tokens").is_disabled()
        assert len(explorer.data("groups")[1]["x"]) == 32
        context.close()


def test_a_missing_projection_takes_no_part(browser):
    record = json.loads(json.dumps(RECORDS["trained"]))
    for name in ("weight", "contribution", "alignment"):
        values = unpack(record["routing"][name])
        values[:, 1, 2] = np.nan
        record["routing"][name] = pack(values)
    base = unpack(record["routing"]["base_norm"])
    base[1, 2] = np.nan
    record["routing"]["base_norm"] = pack(base)
    numbers = Numbers(record)
    with exploring([record]) as url:
        context = browser.new_context(**SCREENS["wide"])
        explorer = Explorer(context.new_page(), url).show()
        explorer.switch(measure="share", phase="prompt")
        rows = numbers.rows(2, "prompt")
        close(explorer.data("map")[2]["z"], numbers.mean["share"][2][:, rows].mean(1).T)
        explorer.layer(1)
        explorer.drawn("anatomy")
        assert explorer.page.locator("#explorer-anatomy option").all_inner_texts() == ["q_proj", "v_proj"]
        context.close()


def test_it_opens_on_the_most_peaked_expert_that_serves_the_chosen_token(explorer, numbers):
    values = numbers.mean["weight"].mean(1)[:, numbers.visual]  # (G, V, E)
    peak = values.max(1) / np.maximum(values.mean(1), 1e-9)
    assert peak[0].max() > peak[2].max()  # a visual one leads, and no answer token is its
    explorer.show().drawn("tokens")
    assert explorer.chosen.startswith(f"Chosen: multimodal {peak[2].argmax()}, all layers, token ")
