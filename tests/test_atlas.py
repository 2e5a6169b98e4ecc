"""The atlas and the checks on the tiny model, against the sweep and plain loops."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_experts import tiny_engine

from smola_demo.atlas import LAYERS, PATCHES, THUMBNAIL, WORDS, atlas
from smola_demo.checks import checks, routers, spearman
from smola_demo.data import GENERATORS
from smola_demo.data.gallery import drawn_rows, gallery_rows
from smola_demo.data.row import Row
from smola_demo.evaluate import spread
from smola_demo.results import Answer, Request, Sweep

COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def engine():
    return tiny_engine()


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)) for _ in COLORS]
    tasks = (("vqa", "What colour?"), ("caption", None), ("vqa", "How many?"))
    return [
        Row(p, task, q, ("ab",), "noise", f"noise/{i}")
        for i, (p, (task, q)) in enumerate(zip(noise, tasks, strict=True))
    ]


@pytest.fixture(scope="module")
def made(engine, rows):
    return atlas(engine, rows, "2026-01-02T03:04:05+00:00")


def answers(engine, rows) -> list[Answer]:
    return [list(engine.answer(Request(row.open(), row.task, row.question)))[-1] for row in rows]


def test_effects_are_the_sweeps_per_token(engine, rows, made):
    expected: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        *_, swept = engine.sweep(Request(row.open(), row.task, row.question))
        assert isinstance(swept, Sweep)
        for effect in swept.effects:
            tokens = len(swept.baseline.tokens)
            expected.setdefault((effect.group, effect.expert), []).append(effect.delta_logprob / tokens)
    for entry in made["entries"]:
        found = expected[entry["group"], entry["expert"]]
        assert entry["effect"] == pytest.approx(np.mean(found), abs=2e-5)
        assert entry["tasks"]["caption"]["effect"] == pytest.approx(found[1], abs=2e-5)
        assert entry["tasks"]["vqa"]["n"] == 2


def test_layers_are_those_of_the_widest_spread_and_patches_the_highest(engine, rows, made):
    traces = [answer.trace for answer in answers(engine, rows)]
    for entry in made["entries"]:
        g = traces[0].groups.index(entry["group"])
        columns = [t.weight[g].mean(1)[:, t.serves()[g], entry["expert"]] for t in traces]
        spreads = np.concatenate(columns, 1).std(1)
        assert len(entry["layers"]) == min(LAYERS, len(spreads))
        assert entry["layers"][0]["spread"] == pytest.approx(spreads.max(), abs=2e-3)
        for place in entry["layers"]:
            n = traces[0].layers.index(place["layer"])
            best = [t.weight[g, n].mean(0)[t.modality == 1, entry["expert"]].max() for t in traces]
            weights = [patch["weight"] for patch in place["patches"]]
            if entry["group"] == "text":
                assert weights == []
            else:
                assert weights == pytest.approx(sorted(best, reverse=True)[:PATCHES], abs=2e-3)
            if entry["group"] == "visual":
                assert place["words"] == []
            else:
                assert 0 < len(place["words"]) <= WORDS
                triples = [(w["before"], w["text"], w["after"]) for w in place["words"]]
                assert len(set(triples)) == len(triples)
                values = [w["weight"] for w in place["words"]]
                assert values == sorted(values, reverse=True)


def test_thumbnails_are_small_pictures_and_the_whole_is_json(made):
    assert json.loads(json.dumps(made, allow_nan=False))["made"]["rows"] == 3
    patch = next(p for e in made["entries"] for place in e["layers"] for p in place["patches"])
    with Image.open(io.BytesIO(base64.b64decode(patch["image"].split(",")[1]))) as picture:
        assert picture.size == (THUMBNAIL, THUMBNAIL)
    x0, y0, x1, y1 = patch["inner"]
    assert 0 <= x0 < x1 <= 1
    assert 0 <= y0 < y1 <= 1


def test_without_experts_there_is_no_atlas_and_no_check(engine, rows):
    class Bare:
        adapter = None

    with pytest.raises(ValueError, match="needs experts"):
        atlas(Bare(), rows, "")
    with pytest.raises(ValueError, match="need experts"):
        checks(Bare(), rows)
    with pytest.raises(ValueError, match="at least one row"):
        checks(engine, [])


def test_spearman_is_pearson_of_ranks():
    assert spearman(np.array([1, 2, 3, 4]), np.array([1, 4, 9, 100])) == pytest.approx(1)
    assert spearman(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
    # ranks 1.5, 1.5, 3 against 1, 2, 3: 1.5 / sqrt(1.5 * 2)
    assert spearman(np.array([5, 5, 9]), np.array([1, 2, 3])) == pytest.approx(1.5 / np.sqrt(3.0))
    assert spearman(np.ones(3), np.arange(3.0)) == 0


def test_checks_follow_from_the_sweeps(engine, rows):
    steps: list[int] = []
    found = checks(engine, rows, progress=steps.append)
    assert sum(steps) == found["n"] == 3
    rhos, changed, random, beyond = [], [], [], []
    for row in rows:
        *_, swept = engine.sweep(Request(row.open(), row.task, row.question))
        effects = swept.effects
        order = sorted(effects, key=lambda effect: effect.contribution)
        ranks = {id(e): i for i, e in enumerate(order)}
        by_size = {id(e): i for i, e in enumerate(sorted(effects, key=lambda e: abs(e.delta_logprob)))}
        n = len(effects)
        rhos.append(1 - 6 * sum((ranks[id(e)] - by_size[id(e)]) ** 2 for e in effects) / (n * (n * n - 1)))
        changed.append(order[-1].answer_changed)
        random.append(np.mean([abs(e.delta_logprob) for e in effects]))
        beyond.append(abs(order[-1].delta_logprob) - random[-1])
    assert found["correlation"]["contribution"]["value"] == pytest.approx(np.mean(rhos), abs=1e-6)
    assert found["answer_changed"]["top"]["value"] == pytest.approx(np.mean(changed))
    assert found["effect"]["random"]["value"] == pytest.approx(np.mean(random))
    assert found["beyond"]["effect"]["value"] == pytest.approx(np.mean(beyond))
    low, high = found["beyond"]["effect"]["ci95"]
    assert min(beyond) - 1e-9 <= low <= np.mean(beyond) <= high <= max(beyond) + 1e-9, "paired, over answers"


def test_random_routers_leave_no_trace(engine, rows):
    before = {name: p.clone() for name, p in engine.adapter.named_parameters()}
    found = routers(engine, rows[0], seed=1)
    assert found["trained"] != found["random"]
    assert np.shape(found["trained"]) == np.shape(found["random"]) == (3, 2, 3)
    for name, p in engine.adapter.named_parameters():
        assert torch.equal(p, before[name])
    (answer,) = answers(engine, rows[:1])
    mean = answer.trace.mean(answer.trace.weight)
    np.testing.assert_allclose(
        np.array(found["trained"])[0], mean[0], atol=1e-3
    )  # visual tokens: prompt only


def test_rows_for_checks_come_from_every_task():
    rows = [
        Row(Image.new("RGB", (4, 4)), task, None, ("a",), "s", f"{task}/{i}")
        for task in "abc"
        for i in range(5)
    ]
    picked = spread(rows, 7)
    assert [row.task for row in picked] == list("aaabbcc")
    assert len({row.id for row in picked}) == 7
    few = [row for row in rows if row.task != "a"] + rows[:2]
    picked = spread(few, 8)
    assert sorted(row.task for row in picked) == list("aabbbccc")
    assert len({row.id for row in picked}) == 8
    assert spread(few, 300) == sorted(few, key=lambda row: "bca".index(row.task))


def test_our_own_pictures_as_rows():
    gallery = gallery_rows()
    assert len(gallery) >= 16
    assert {row.task for row in gallery} >= {"caption", "vqa", "count", "read", "chart", "document"}
    drawn = drawn_rows(2)
    assert len(drawn) == 2 * len(GENERATORS)
    assert [row.id for row in drawn] == [row.id for row in drawn_rows(2)]
