"""The engine on the tiny backbone: streaming, comparing, sweeping, and standing alone."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_experts import CONFIG, tiny_engine

from smola_demo.ablation import AblationError, AblationSpec
from smola_demo.config import SmolaConfig
from smola_demo.effects import GivenAnswer
from smola_demo.engine import Engine, EngineError
from smola_demo.results import Answer, Comparison, Progress, Request, Step, Sweep
from smola_demo.tasks import TaskError

PREFIX = SmolaConfig(
    num_experts=3, rank=2, num_slots=2, routing="prefix", target_modules=("q_proj", "down_proj")
)


def request(**values) -> Request:
    image = Image.linear_gradient("L").convert("RGB")
    return Request(image=image, task="vqa", question="What is it?", max_new_tokens=6, **values)


def answer_of(engine: Engine, asked: Request, capture: bool = True) -> Answer:
    *_, last = engine.answer(asked, capture)
    return last


@pytest.mark.parametrize("config", [CONFIG, PREFIX], ids=["token", "prefix"])
def test_streams_tokens_then_the_answer(config):
    engine = tiny_engine(config)
    *steps, answer = engine.answer(request())
    assert [step.index for step in steps] == list(range(len(steps)))
    assert tuple(step.token for step in steps) == answer.tokens
    assert steps[-1].text == answer.text
    assert answer.logprob == pytest.approx(sum(token.logprob for token in answer.tokens))
    assert steps[0].phase == "prompt"
    assert {step.phase for step in steps[1:]} == {"answer"}
    trace = answer.trace
    prompt = engine.backbone.encode(request().image, engine.backbone.prompt("vqa", "What is it?")).input_ids
    assert len(trace.tokens) == len(prompt) + len(answer.tokens) - 1
    live = steps[0].weight
    np.testing.assert_allclose(
        live, trace.select(trace.phase == 0).mean(trace.select(trace.phase == 0).weight), atol=1e-6
    )


def test_tokens_are_the_models_own_greedy_choice():
    """The reference is a bare loop over whole forward passes, without cache, engine or generate."""
    engine = tiny_engine()
    backbone, adapter = engine.backbone, engine.adapter
    answer = answer_of(engine, request())
    row = backbone.encode(request().image, backbone.prompt("vqa", "What is it?"))
    ids = row.input_ids[None]
    for token in answer.tokens:
        with torch.no_grad():
            logits = backbone.model(
                input_ids=ids, pixel_values=row.pixel_values, attention_mask=torch.ones_like(ids)
            ).logits
        logits[..., backbone.image_token_id] = -torch.inf  # an answer has no picture in it
        logprobs = logits[0, -1].log_softmax(-1)
        assert int(logprobs.argmax()) == token.id
        assert float(logprobs.max()) == pytest.approx(token.logprob, abs=1e-4)
        ids = torch.cat([ids, torch.tensor([[token.id]])], dim=1)
    assert adapter is not None


def test_no_experts_and_all_experts_out_are_the_same_bits():
    engine = tiny_engine()
    ablated = answer_of(engine, request(ablation="text:*;visual:*;multimodal:*"))
    engine.adapter.detach()
    bare = answer_of(Engine(engine.backbone, None, "none", {}, 0.0), request())
    assert [t.logprob for t in ablated.tokens] == [t.logprob for t in bare.tokens]
    assert ablated.modules_touched == 4
    assert bare.trace is None


def test_answers_do_not_depend_on_what_came_before():
    def facts(answer: Answer):
        return answer.tokens, answer.text, answer.trace.weight.tobytes()

    engine, other = tiny_engine(), tiny_engine()
    first, second = request(), replace(request(ablation="visual:1"), question="How many?")
    forwards = [facts(answer_of(engine, asked)) for asked in (first, second)]
    backwards = [facts(answer_of(other, asked)) for asked in (second, first)]
    assert forwards == backwards[::-1]


def test_a_prompt_is_read_by_one_thread_at_a_time():
    """The tokenizer holds how it was last asked to split text: two threads would mix that up."""
    engine, alone = tiny_engine(), []
    encode = engine.backbone.encode
    engine.backbone.encode = lambda *given: (alone.append(engine._lock.locked()), encode(*given))[1]
    answer_of(engine, request())
    engine.answer_many([request(), request()])
    assert alone == [True] * 3


def test_closing_the_stream_stops_the_model_and_frees_it():
    engine = tiny_engine()
    stream = engine.answer(replace(request(), max_new_tokens=400))
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "smola-generate"]
    assert engine.adapter.call.step is None
    assert answer_of(engine, request()).tokens == answer_of(tiny_engine(), request()).tokens


def test_batched_answers_equal_single_ones():
    engine = tiny_engine()
    asked = [request(), replace(request(), question="A much longer question about the picture, is it not?")]
    assert engine.answer_many(asked) == [answer_of(engine, one).text for one in asked]


@pytest.mark.parametrize("kind", ["", "renormalize!", "mean!"])
def test_compare_scores_the_same_answer_under_both(kind):
    engine = tiny_engine()
    *events, comparison = engine.compare(request(ablation=f"{kind}visual:0;multimodal:*"))
    assert isinstance(comparison, Comparison)
    assert {type(event) for event in events} == {Progress, Step}
    assert comparison.delta_logprob == pytest.approx(sum(comparison.delta_logprobs))
    assert len(comparison.delta_logprobs) == len(comparison.baseline.tokens)
    assert comparison.ablated.modules_touched == 4
    assert comparison.layers == (0, 1)
    assert comparison.baseline.tokens == answer_of(engine, request()).tokens
    direct = _score(engine, comparison.baseline, f"{kind}visual:0;multimodal:*") - _score(
        engine, comparison.baseline, ""
    )
    assert comparison.delta_logprob == pytest.approx(direct, abs=1e-4)


def _score(engine: Engine, answer: Answer, spec: str) -> float:
    """Log-prob of an answer under a spec, one forced prefix at a time."""
    backbone, adapter = engine.backbone, engine.adapter
    row = backbone.encode(request().image, backbone.prompt("vqa", "What is it?"))
    total, ids = 0.0, [token.id for token in answer.tokens]
    from smola_demo.ablation import resolve
    from smola_demo.context import TokenContext

    removals = resolve([AblationSpec.parse(spec)], adapter.config, adapter.sites).removals
    for i, token in enumerate(ids):
        seen = torch.cat([row.input_ids, torch.tensor(ids[:i], dtype=torch.long)])[None]
        modality = backbone.modality_of(seen, torch.ones_like(seen))
        is_answer = torch.arange(seen.shape[1])[None] >= len(row.input_ids)
        with torch.no_grad(), adapter.context(TokenContext(modality, is_answer, removals)):
            logits = backbone.model(input_ids=seen, pixel_values=row.pixel_values).logits
        logits[..., backbone.image_token_id] = -torch.inf
        total += float(logits[0, -1].log_softmax(-1)[token])
    return total


def test_sweep_equals_single_comparisons():
    engine = tiny_engine()
    *events, sweep = engine.sweep(request())
    assert isinstance(sweep, Sweep)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert {0, 8, 9, 17} == set(done)
    assert {event.total for event in events} == {9 + 8}
    assert [(e.group, e.expert) for e in sweep.effects] == [(g, i) for g in CONFIG.groups for i in range(3)]
    for effect in sweep.effects:
        *_, single = engine.compare(request(ablation=effect.spec))
        assert effect.delta_logprob == pytest.approx(single.delta_logprob, abs=1e-4)
        assert effect.answer_changed == single.answer_changed
        assert effect.answer == single.ablated.text
        assert effect.js == pytest.approx(np.mean(single.divergence), abs=1e-6)


def test_of_two_experts_one_leaves_no_routing_to_compare():
    engine = tiny_engine(SmolaConfig(num_experts=2, rank=2, target_modules=("q_proj",), groups=("text",)))
    *_, sweep = engine.sweep(request())
    assert [effect.js for effect in sweep.effects] == [0.0, 0.0]
    *_, found = engine.compare(request(ablation="text:1"))
    assert np.isnan(found.divergence).all()


@pytest.mark.parametrize(
    ("by", "places"),
    [("layer", ["layer 0", "layer 1"]), ("projection", ["projection q_proj", "projection down_proj"])],
)
def test_sweep_within_one_expert(by, places):
    *_, sweep = tiny_engine().sweep(request(), by, "multimodal:2")
    assert [effect.where for effect in sweep.effects] == places
    trace = sweep.baseline.trace
    assert all(0 < effect.weight < 1 for effect in sweep.effects)
    assert trace is not None


def test_use_of_a_place_is_a_plain_mean_over_served_tokens():
    engine = tiny_engine()
    *_, sweep = engine.sweep(request(), "layer", "visual:1")
    backbone = engine.backbone
    row = backbone.encode(request().image, backbone.prompt("vqa", "What is it?"))
    given = GivenAnswer(backbone, engine.adapter, row, [token.id for token in sweep.baseline.tokens])
    g = given.trace.groups.index("visual")
    seen = [
        given.trace.weight[g, 0, p, t, 1]
        for p in range(2)
        for t in range(len(given.trace.tokens))
        if given.trace.modality[t] == 1
    ]
    assert sweep.effects[0].weight == pytest.approx(float(np.mean(seen)), abs=1e-6)


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        ({"task": "paint"}, EngineError, "caption"),
        ({"question": "  "}, TaskError, "question"),
        ({"ablation": "audio:1"}, AblationError, "visual"),
        ({"ablation": "visual:9"}, AblationError, "0 to 2"),
        ({"max_new_tokens": 0}, EngineError, "512"),
    ],
)
def test_bad_requests_get_one_sentence(bad, error, says):
    with pytest.raises(error, match=says) as caught:
        next(tiny_engine().answer(replace(request(), **bad)))
    assert "\n" not in str(caught.value)


def test_experts_are_needed_to_take_some_out():
    engine = tiny_engine()
    engine.adapter.detach()
    bare = Engine(engine.backbone, None, "none", {}, 0.0)
    with pytest.raises(EngineError, match="--experts"):
        next(bare.answer(request(ablation="visual:1")))
    with pytest.raises(EngineError, match="--experts"):
        next(bare.sweep(request()))
    with pytest.raises(EngineError, match="visual:3"):
        next(tiny_engine().compare(request()))


def test_info_tells_untrained_experts():
    assert tiny_engine().info().experts_state == "trained"
    assert tiny_engine(strength=0.0).info().experts_state == "untrained"


def test_other_tokens_that_read_the_same_are_no_other_answer():
    """An end told by another token, say: the page promises answers that read differently."""
    asked = Request(Image.linear_gradient("L").convert("RGB"), "caption", max_new_tokens=6, ablation="text:1")
    engine = tiny_engine(strength=0.3)
    *_, found = engine.compare(asked)
    *_, swept = engine.sweep(asked)
    (effect,) = [effect for effect in swept.effects if effect.spec == "text:1"]
    assert [token.id for token in found.baseline.tokens] != [token.id for token in found.ablated.tokens]
    assert found.baseline.text == found.ablated.text == effect.answer
    assert not found.answer_changed
    assert not effect.answer_changed
