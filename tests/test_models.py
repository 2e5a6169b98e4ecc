"""Changing the model behind the page: what is told before, what is let go, what a failure leaves."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from fake_engine import FakeError
from fake_models import BIG, HUGE, OFFERED, SMALL, FakeModels, engine
from ui_calls import VISITOR, ask, handlers, picture, skipped  # noqa: F401  fixture

from smola_demo import ui
from smola_demo.results import OfferedExperts
from smola_demo.ui.api import Api
from smola_demo.ui.loading import EngineHandle, NotReadyError
from smola_demo.ui.model_handlers import ModelHandlers
from smola_demo.ui.stops import StopFlags


@pytest.fixture
def models():
    return FakeModels()


@pytest.fixture
def handle(models):
    """Started like the page: by a function that can be called again."""
    found = EngineHandle(lambda _report: engine(), models=lambda: models)
    found.load()
    return found


@pytest.fixture
def do(handle, models):
    return ModelHandlers(handle, lambda: models)


def last(run):
    *_, (note, *fields) = run
    assert [field["interactive"] for field in fields] == [True] * 4, "Load and what it loads"
    return json.loads(note)


def test_facts_of_a_backbone_are_told_before_it_is_loaded(do, models):
    view, experts, button = do.choose(BIG, "auto")
    shown = json.loads(view)
    assert dict(shown["facts"]) == {
        "id": BIG,
        "licence": "mit",
        "parameters": "2,247 million",
        "weights in memory": "2.1 GB (4-bit NF4 weights)",
        "experts made for it": "none yet",
    }
    assert (shown["fits"], shown["fit"]) == (True, OFFERED[BIG].fit + ".")
    assert [value for _, value in experts["choices"]] == ["none", "untrained"]
    assert (experts["value"], button["interactive"]) == ("none", True)
    assert models.loaded == []


def test_experts_come_with_their_training_and_the_best_first(do):
    _, experts, _ = do.choose(SMALL, "auto")
    assert experts["choices"][0] == ("embedded-omni, trained for 4,000 steps", "embedded-omni")
    assert experts["value"] == "embedded-omni"


@pytest.mark.parametrize("chosen", [HUGE, "other/model", "/etc", "", None, "x" * 400, 7, ["a"]])
def test_what_cannot_be_loaded_says_why_and_load_stays_shut(do, models, handle, chosen):
    view, *_, button = do.choose(chosen, "auto")
    assert json.loads(view)["fits"] is False
    assert json.loads(view)["fit"].endswith(".")
    assert button["interactive"] is False
    before = handle.engine
    assert last(do.load(chosen, "none", "auto"))["kind"] == "error"
    assert handle.engine is before
    assert models.loaded == []


def test_another_model_takes_the_place_of_the_first_whose_memory_is_free_before(do, models, handle):
    old = weakref.ref(handle.engine)
    seen = []
    models.during = [lambda: seen.append((old(), handle.status, handle.info))]
    said = [json.loads(note)["text"] for note, *_ in do.load(BIG, "untrained", "nf4")]
    assert models.loaded == [(BIG, "untrained", "nf4")]
    ((then, status, info),) = seen
    assert (then, info) == (None, None)
    assert status.startswith(f"Loading the model ({BIG} fits)")
    assert said[-1] == "Loaded: big-model, 4-bit NF4 weights, with untrained experts."
    assert (handle.require().backbone, handle.loads, handle.error) == (BIG, 2, "")


def test_until_its_load_is_over_a_page_offers_no_second_one(do, models):
    """Gradio would drop it without a word."""
    assert [field["interactive"] for field in do.begin()[1:]] == [False] * 4
    assert [field["interactive"] for field in do.refused()[1:]] == [True] * 4
    models.broken = "there is not enough memory to load it"
    *going, _ = do.load(BIG, "none", "auto")
    assert all(skipped(field) for _, *fields in going for field in fields)


def test_who_chooses_while_anothers_load_fails_may_load_after_it(do, models):
    chosen = []
    models.during = [lambda: chosen.append(do.choose(BIG, "auto")[2])]
    models.broken = "there is not enough memory to load it"
    assert last(do.load(BIG, "none", "auto"))["kind"] == "error"
    assert chosen[0]["interactive"] is True


def test_a_variant_goes_with_the_model(models):
    handle = EngineHandle(lambda _report: engine(), lambda _info: {"other": engine}, lambda: models)
    handle.load()
    variant = weakref.ref(handle.variant("other"))
    assert variant() is not None
    assert handle.switch(lambda _report: engine(BIG)) == ""
    gc.collect()
    assert variant() is None


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("there is not enough memory to load it", "not enough memory"),
        ("bug", "Something went wrong on the server"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_load_that_fails_brings_the_model_from_before_back(do, models, handle, picture, broken, says):  # noqa: F811  the fixture's name
    models.broken = broken
    told = last(do.load(BIG, "none", "auto"))
    assert told["kind"] == "error"
    assert says in told["text"]
    assert (handle.require().backbone, handle.error, handle.loading) == (SMALL, "", False)
    *_, (answer, *_) = ask(handlers(handle=handle), picture, "caption", None)
    assert json.loads(answer)["state"] == "done"
    models.broken = ""
    assert last(do.load(BIG, "none", "auto"))["text"].startswith("Loaded: big-model")


def test_a_request_during_a_switch_is_told_so(do, models, handle, picture):  # noqa: F811  the fixture's name
    asking = handlers(handle=handle)
    api = Api(handle)
    heard = []

    def act():
        told, *buttons = asking.begin(VISITOR)
        heard.append(json.loads(told))
        assert all(skipped(button) for button in buttons)
        assert all(skipped(output) for output in next(asking.ask(picture, "caption", None, told, VISITOR)))
        with pytest.raises(gr.Error, match="The model is still loading"):
            api.info()
        with pytest.raises(NotReadyError, match="Another model is being loaded"):
            handle.switch(lambda _report: engine())

    models.during = [act]
    assert "text" in last(do.load(BIG, "none", "auto"))
    ((told),) = heard
    assert told["aside"].endswith("ask again when it is there.")
    assert handle.require().backbone == BIG


def test_what_ends_during_a_switch_gives_the_buttons_back(do, models, handle):
    """Should the switch fail, nothing else would: the model from before is no news to the page."""
    asking = handlers(handle=handle)
    seen = []

    def act():
        seen.append(asking.refused(announced, VISITOR)[1:])
        asking.stops.begin(VISITOR.session_hash, asking)
        seen.append(asking.stop(VISITOR)[1:])

    announced, *_ = asking.begin(VISITOR)
    models.during, models.broken = [act], "there is not enough memory to load it"
    assert last(do.load(BIG, "none", "auto"))["kind"] == "error"
    assert [[b["interactive"] for b in buttons] for buttons in seen] == [[True, False]] * 2


def test_the_tab_chooses_what_is_loaded(do, models):
    assert "Loaded: big-model" in last(do.load(BIG, "untrained", "nf4"))["text"]
    asked, facts_of = [], models.model
    models.model = lambda *which: asked.append(which[:2]) or facts_of(*which)
    _, backbone, precision, facts, experts, _ = do.loaded()
    assert (backbone["value"], precision, experts["value"]) == (BIG, "nf4", "untrained")
    assert dict(json.loads(facts)["facts"])["id"] == BIG
    assert asked == [(BIG, "nf4")]
    assert "Loaded: SmolLM2" in last(do.load("embedded", "embedded-omni", "auto"))["text"]
    assert do.loaded()[2] == "auto", "NF4 weights computed in float32 are not what nf4 would load"


def test_another_precision_keeps_the_experts_that_were_chosen(do, page):
    _, experts, _ = do.choose(SMALL, "nf4", "none")
    assert experts["value"] == "none"
    _, experts, _ = do.choose(BIG, "nf4", "embedded-omni")
    assert experts["value"] == "none", "they are of another backbone"
    asked = {
        component.elem_id: [block.elem_id for block in fn.inputs]
        for fn in page.fns.values()
        if fn.name == "choose"
        for component in [page.blocks[fn.targets[0][0]]]
    }
    assert asked["model-precision"] == ["model-backbone", "model-precision", "model-experts"]
    assert asked["model-backbone"] == ["model-backbone", "model-precision"]


def test_experts_of_a_folder_are_chosen_as_they_were_named(models):
    own = replace(engine().info(), experts="mine", experts_option="runs/mine")
    handle = EngineHandle(lambda _report: SimpleNamespace(info=lambda: own), models=lambda: models)
    handle.load()
    offered = models.offered[SMALL]
    models.offered[SMALL] = replace(
        offered, experts=(OfferedExperts("runs/mine", "trained", 5), *offered.experts)
    )
    _, _, _, _, experts, _ = ModelHandlers(handle, lambda: models).loaded()
    assert experts["value"] == "runs/mine"


def test_after_a_first_load_that_failed_another_model_can_be_chosen(models):
    def broken(_report):
        raise FakeError("there is no network")

    handle = EngineHandle(broken, models=lambda: models)
    do = ModelHandlers(handle, lambda: models)
    assert all(skipped(value) for value in do.loaded())
    handle.load()
    note, backbones, *rest = do.loaded()
    assert json.loads(note) == {
        "text": "The model could not be loaded: There is no network.",
        "kind": "error",
    }
    assert [id_ for _, id_ in backbones["choices"]] == list(OFFERED)
    assert all(skipped(value) for value in rest)
    assert do.choose(BIG, "auto")[2]["interactive"] is True
    assert last(do.load(BIG, "none", "auto"))["text"].startswith("Loaded: big-model")


def test_one_model_that_cannot_be_reached_hides_no_other(handle, models):
    whole = models.model

    def model(id, *rest, **named):
        if id == BIG:
            raise FakeError("the hub cannot be reached")
        return whole(id, *rest, **named)

    models.model = model
    told = {entry["id"]: entry for entry in Api(handle).models()["models"]}
    assert told[BIG] == {"id": BIG, "name": "big-model", "fits": False, "fit": "The hub cannot be reached."}
    assert told[SMALL]["fits"] is True


@pytest.fixture
def page(handle, tmp_path):
    found = ui.build(handle, assets=tmp_path / "assets")
    yield found
    found.close()
    gc.collect()


def test_programs_see_and_change_the_model_as_the_page_does(handle, models):
    api = Api(handle)
    listed = api.models()
    assert [entry["id"] for entry in listed["models"]] == list(OFFERED)
    assert listed["models"][0]["experts"][0] == {"name": "embedded-omni", "state": "trained", "steps": 4000}
    assert listed["open"] is False
    assert api.load(BIG, "none")["backbone"] == BIG
    for name, says in (
        (HUGE, "12.0 GB more than"),
        ("/etc", "may not be loaded here"),
        ("other/model", "may not"),
    ):
        with pytest.raises(gr.Error, match=says):
            api.load(name)
    assert handle.require().backbone == BIG
    assert StopFlags().ahead("nobody") == 0
