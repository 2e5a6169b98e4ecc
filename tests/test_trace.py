"""The record of a call: what is in it, how it is kept, and that nothing stays behind on the model."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import (
    BOTH,
    LAYERS,
    PAD_ID,
    SMALL,
    context_of,
    modality_of,
    prompt,
    routing_name,
    targets,
    tiny_adapter,
    tiny_llama,
)

from smola_demo.ablation import AblationSpec, resolve
from smola_demo.adapter import Adapter, attach
from smola_demo.config import GROUPS, SmolaConfig
from smola_demo.divergence import divergence
from smola_demo.reports import routing_report
from smola_demo.trace import ANSWER, PROMPT, RoutingTrace, TraceError, capture

both = pytest.mark.parametrize("config", BOTH, ids=routing_name)
IMAGES, WORDS, NEW = 4, 5, 3
NO_BOXES = np.zeros((0, 4))
# Tokens are shown as printable text; numpy's own strings cannot end in a zero byte.
PRINTABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def boxes(n: int = IMAGES) -> np.ndarray:
    return np.arange(4 * n).reshape(n, 4) / (4 * n)


def recorded(adapter: Adapter, row: int = 0, rows: int = 1) -> RoutingTrace:
    """Generate NEW tokens on an image prompt and take the record of one row."""
    ids = prompt(rows)
    with capture(adapter) as recorder:
        generated = adapter.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False
        )
    return recorder.trace([f"t{i}" for i in generated[row].tolist()], boxes(), row)


def hooks(adapter: Adapter) -> int:
    on_modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in adapter.model.modules())
    return on_modules + len(adapter.call.observers)


def random_trace(
    seed: int = 0, groups: tuple[str, ...] = GROUPS, layers: int = 2, projections: int = 2, experts: int = 3
) -> RoutingTrace:
    """Any numbers of the right shapes: eight tokens, three of them visual, the last two answer."""
    rng = np.random.default_rng(seed)
    shape = (len(groups), layers, projections, 8, experts)
    modality = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.int8)
    trace = RoutingTrace(
        groups=groups,
        layers=tuple(range(3, 3 + layers)),
        projections=tuple(f"p{i}" for i in range(projections)),
        tokens=tuple(f"t{i}" for i in range(8)),
        modality=modality,
        phase=np.array([0] * 6 + [1] * 2, np.int8),
        weight=rng.random(shape, np.float32),
        contribution=rng.random(shape, np.float32),
        alignment=rng.uniform(-1, 1, shape).astype(np.float32),
        base_norm=rng.random(shape[1:4], np.float32),
        boxes=rng.random((3, 4), np.float32),
    )
    unserved = ~trace.serves()[:, None, None, :, None]
    weight = np.where(unserved, 0, trace.weight / trace.weight.sum(-1, keepdims=True))
    return dataclasses.replace(trace, weight=weight, contribution=np.where(unserved, 0, trace.contribution))


def same(a: RoutingTrace, b: RoutingTrace) -> bool:
    return all(
        np.array_equal(
            getattr(a, f.name),
            getattr(b, f.name),
            equal_nan=f.name in ("weight", "contribution", "alignment", "base_norm"),
        )
        if isinstance(getattr(a, f.name), np.ndarray)
        else getattr(a, f.name) == getattr(b, f.name)
        for f in dataclasses.fields(a)
    )


# What is recorded


@both
def test_rows_are_the_prompt_and_all_answer_tokens_but_the_last(config: SmolaConfig):
    trace = recorded(tiny_adapter(config))
    rows = IMAGES + WORDS + NEW - 1
    assert trace.weight.shape == trace.contribution.shape == (3, LAYERS, 3, rows, 3)
    assert trace.base_norm.shape == (LAYERS, 3, rows)
    assert len(trace.tokens) == rows
    assert trace.tokens[:IMAGES] == ("t5",) * IMAGES
    assert trace.modality.tolist() == [1] * IMAGES + [0] * (WORDS + NEW - 1)
    assert trace.phase.tolist() == [PROMPT] * (IMAGES + WORDS) + [ANSWER] * (NEW - 1)
    assert trace.groups == GROUPS
    assert trace.layers == (0, 1, 2)
    assert trace.projections == ("q_proj", "v_proj", "down_proj")
    assert {trace.weight.dtype, trace.contribution.dtype, trace.base_norm.dtype} == {np.dtype("float32")}
    np.testing.assert_array_equal(trace.boxes, boxes().astype(np.float32))


@both
def test_weights_sum_to_one_on_the_tokens_a_group_serves(config: SmolaConfig):
    trace = recorded(tiny_adapter(config))
    expected = np.broadcast_to(trace.serves()[:, None, None], trace.weight.shape[:-1])
    np.testing.assert_allclose(trace.weight.sum(-1), expected, atol=1e-5)
    assert not trace.contribution[~expected].any()


@both
@pytest.mark.parametrize(
    "text", ["", "zero!visual:1;text:0", "renormalize!multimodal:0", "mean!text:*;visual:2"]
)
@torch.no_grad()
def test_contributions_are_the_norms_of_what_each_expert_adds(config: SmolaConfig, text: str):
    """‖weight · B A x‖ spelled out from each linear's own input, in one full pass."""
    adapter, ids = tiny_adapter(config), prompt(1)
    facts = context_of(ids, answer_start=7)
    facts.removals.update(resolve([AblationSpec.parse(text)], config, adapter.sites).removals)
    outputs = {}
    for site in adapter.sites:
        site.linear.mixture.register_forward_hook(
            lambda _m, args, output, path=site.path: outputs.update({path: (args[0].double(), output)})
        )
    with adapter.context(facts), capture(adapter) as recorder:
        adapter.model(ids)
    trace = recorder.trace(["x"] * ids.shape[1], boxes())
    total = np.zeros(())
    for site in adapter.sites:
        x, output = outputs[site.path]
        layer, projection = trace.layers.index(site.layer), trace.projections.index(site.projection)
        experts = site.linear.mixture.experts
        vectors = torch.einsum("btger,oger->btgeo", output.hidden.double(), experts.B.double())
        np.testing.assert_allclose(
            trace.contribution[:, layer, projection],
            vectors[0].norm(dim=-1).transpose(0, 1),
            rtol=1e-3,
            atol=1e-5,
        )
        np.testing.assert_array_equal(
            trace.weight[:, layer, projection], output.routing_weights[0].transpose(0, 1)
        )
        base = torch.nn.functional.linear(x[0], site.linear.base_layer.weight.double())
        np.testing.assert_allclose(trace.base_norm[layer, projection], base.norm(dim=-1), rtol=1e-4)
        cosine = torch.nn.functional.cosine_similarity(vectors[0], base[:, None, None], dim=-1, eps=1e-300)
        np.testing.assert_allclose(
            trace.alignment[:, layer, projection], cosine.transpose(0, 1), rtol=1e-3, atol=1e-4
        )
        if config.routing == "token" and not text:
            a, b = experts.A.double(), experts.B.double()
            mapped = torch.einsum("oger,gerd,td->tgeo", b, a, x[0]) * output.routing_weights[0, ..., None]
            np.testing.assert_allclose(
                trace.contribution[:, layer, projection],
                mapped.norm(dim=-1).transpose(0, 1),
                rtol=1e-3,
                atol=1e-5,
            )
        total = total + trace.contribution[:, layer, projection].sum()
    assert total > 0


@both
def test_capturing_changes_nothing_and_leaves_no_hook(config: SmolaConfig):
    adapter, ids = tiny_adapter(config), prompt()
    plain, before = adapter.model(ids).logits, hooks(adapter)
    with capture(adapter):
        assert torch.equal(adapter.model(ids).logits, plain)
        assert hooks(adapter) > before
    assert hooks(adapter) == before
    with pytest.raises(KeyError), capture(adapter):
        raise KeyError
    assert hooks(adapter) == before


def test_passes_of_the_bare_backbone_are_not_recorded():
    adapter, ids = tiny_adapter(), prompt(1)
    with capture(adapter) as recorder:
        adapter.model(ids)
        with adapter.disabled():
            adapter.model(ids[:, :3])
    assert len(recorder.passes) == 1
    assert len(recorder.trace("abcdefghi", boxes()).tokens) == 9


def test_an_exception_inside_the_model_leaves_no_hook():
    adapter = tiny_adapter()
    before = hooks(adapter)
    with pytest.raises(IndexError), capture(adapter):
        adapter.model(torch.full((1, 3), 999))
    assert hooks(adapter) == before


@both
def test_a_row_of_a_padded_batch_is_that_row_alone(config: SmolaConfig):
    adapter = tiny_adapter(config)
    short, long = prompt(1, images=2, text=3, seed=1), prompt(1, seed=2)
    pad = torch.full((1, 4), PAD_ID)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, :4] = 0
    with capture(adapter) as recorder:
        adapter.model(torch.cat([torch.cat([pad, short], 1), long]), attention_mask=mask)
    with capture(adapter) as alone:
        adapter.model(short)
    ours, theirs = recorder.trace("abcde", boxes(2), row=0), alone.trace("abcde", boxes(2))
    assert ours.tokens == theirs.tokens == tuple("abcde")
    np.testing.assert_array_equal(ours.modality, theirs.modality)
    np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-5)
    np.testing.assert_allclose(ours.contribution, theirs.contribution, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.base_norm, theirs.base_norm, rtol=1e-4)
    assert len(recorder.trace("abcdefghi", boxes(), row=1).tokens) == 9


@both
def test_token_by_token_is_the_same_record_as_all_at_once(config: SmolaConfig):
    adapter, ids = tiny_adapter(config), prompt(1)
    with capture(adapter) as whole, adapter.context(context_of(ids, answer_start=7)):
        adapter.model(ids)
    with capture(adapter) as steps, adapter.context(context_of(ids[:, :7])):
        cache = adapter.model(ids[:, :7], use_cache=True).past_key_values
        adapter.model(ids[:, 7:8], past_key_values=cache)
        adapter.model(ids[:, 8:9], past_key_values=cache)
    a, b = (recorder.trace("abcdefghi", boxes()) for recorder in (whole, steps))
    np.testing.assert_array_equal(a.phase, b.phase)
    np.testing.assert_allclose(a.weight, b.weight, atol=1e-5)
    np.testing.assert_allclose(a.contribution, b.contribution, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(a.alignment, b.alignment, rtol=1e-3, atol=1e-3)
    last = steps.trace("i", NO_BOXES, last=True)
    np.testing.assert_array_equal(last.weight, b.weight[:, :, :, -1:])
    assert last.phase.tolist() == [ANSWER]


def test_a_layer_that_lacks_a_projection_is_left_out_of_its_means():
    config = SmolaConfig(num_experts=2, rank=1, target_modules=("q_proj", "down_proj"))
    model = tiny_llama()
    places = {path: place for path, place in targets(model).items() if place != (1, "q_proj")}
    adapter = attach(model, config, places, model.model, modality_of)
    with capture(adapter) as recorder:
        model(prompt(1))
    trace = recorder.trace("abcdefghi", boxes())
    assert np.isnan(trace.base_norm[1, 0]).all()
    assert not np.isnan(trace.base_norm[1, 1]).any()
    np.testing.assert_allclose(trace.mean(trace.weight).sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(trace.mean(trace.weight)[2, 1], trace.weight[2, 1, 1].mean(0), atol=1e-6)
    assert np.isfinite(trace.entropy()).all()
    share = trace.share()
    assert np.isnan(share[:, 1, 0]).all()
    assert np.isfinite(share[:, 0]).all()
    assert np.isfinite(share[:, 1, 1]).all()


def test_permuting_experts_permutes_the_record():
    adapter, order = tiny_adapter(), [2, 0, 1]
    before = recorded(adapter)
    with torch.no_grad():
        for site in adapter.sites:
            mixture = site.linear.mixture
            mixture.router.phi.copy_(mixture.router.phi[:, order])
            mixture.experts.A.copy_(mixture.experts.A[:, order])
            mixture.experts.B.copy_(mixture.experts.B[:, :, order])
    after = recorded(adapter)
    assert after.tokens == before.tokens
    np.testing.assert_allclose(after.weight, before.weight[..., order], atol=1e-4)
    np.testing.assert_allclose(after.contribution, before.contribution[..., order], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(after.base_norm, before.base_norm, rtol=1e-3)


# Summaries, against loops


def test_who_serves_whom():
    trace = random_trace()
    assert trace.serves().astype(int).tolist() == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 1, 1],
        [1] * 8,
    ]


def test_mean_and_entropy_are_the_loops():
    trace = random_trace()
    mean, entropy = trace.mean(trace.contribution), trace.entropy()
    for g, kinds in enumerate([(1,), (0,), (0, 1)]):
        for layer in range(2):
            weights, values = [], []
            for p in range(2):
                for t in range(8):
                    if trace.modality[t] in kinds:
                        values.append(trace.contribution[g, layer, p, t])
                        weights.append(-sum(w * math.log(w) for w in trace.weight[g, layer, p, t].tolist()))
            np.testing.assert_allclose(mean[g, layer], np.mean(values, 0), rtol=1e-5)
            assert entropy[g, layer] == pytest.approx(np.mean(weights), rel=1e-5)


def test_uniform_routing_has_the_entropy_of_its_experts():
    trace = random_trace()
    uniform = dataclasses.replace(trace, weight=np.where(trace.weight > 0, np.float32(1 / 3), 0))
    np.testing.assert_allclose(uniform.entropy(), math.log(3), rtol=1e-5)


def test_entropy_is_of_the_experts_that_are_left():
    trace = random_trace()
    third = np.where(trace.weight > 0, np.float32(1 / 3), 0)
    third[..., 2] = 0
    two = dataclasses.replace(trace, weight=third)
    np.testing.assert_allclose(two.entropy(), math.log(2), rtol=1e-5)
    np.testing.assert_allclose(two.uniform_entropy(), math.log(2), rtol=1e-5)
    np.testing.assert_allclose(trace.uniform_entropy(), math.log(3), rtol=1e-5)
    third[..., 1] = 0
    one = dataclasses.replace(trace, weight=third)
    np.testing.assert_allclose((one.entropy(), one.uniform_entropy()), 0, atol=1e-6)


def test_where_no_expert_is_left_there_is_no_entropy():
    """Nor does it pull a mean over layers down, as if one expert took all."""
    trace = random_trace()
    third = np.where(trace.weight > 0, np.float32(1 / 3), 0)
    third[0, 1] = 0
    found = dataclasses.replace(trace, weight=third)
    assert np.isnan(found.entropy()[0, 1])
    assert np.isfinite(np.delete(found.entropy().ravel(), 1)).all()
    phases = routing_report(found).values()
    visual = next(phase["visual"] for phase in phases if "visual" in phase)
    assert visual["entropy"] == pytest.approx(visual["uniform_entropy"]) == pytest.approx(math.log(3))
    third[0] = 0
    phases = routing_report(dataclasses.replace(trace, weight=third)).values()
    assert next(phase["visual"] for phase in phases if "visual" in phase)["entropy"] is None


def test_share_is_of_all_experts_at_a_linear_and_token():
    trace = random_trace()
    share = trace.share()
    for layer, p, t in np.ndindex(2, 2, 8):
        here = trace.contribution[:, layer, p, t]
        np.testing.assert_allclose(share[:, layer, p, t], here / here.sum(), rtol=1e-5)
    silent = dataclasses.replace(trace, contribution=np.zeros_like(trace.contribution))
    assert not silent.share().any()
    faint = dataclasses.replace(trace, contribution=trace.contribution * np.float32(1e-4))
    np.testing.assert_allclose(faint.share(), share, rtol=1e-5)


def test_a_group_with_one_token_has_the_mean_of_that_token():
    trace = random_trace(projections=1).select(np.arange(2, 8))
    mean = trace.mean(trace.contribution)
    np.testing.assert_allclose(mean[0], trace.contribution[0, :, 0, 0], rtol=1e-6)


def test_a_group_with_no_token_has_mean_zero_and_no_entropy():
    trace = random_trace().select(np.arange(3, 8))
    assert not trace.mean(trace.contribution)[0].any()
    assert np.isnan(trace.entropy()[0]).all()
    assert trace.boxes.shape == (0, 4)


def test_select_keeps_rows_and_their_boxes_together():
    trace = random_trace()
    some = trace.select(np.array([2, 0, 5]))
    assert some.tokens == ("t2", "t0", "t5")
    np.testing.assert_array_equal(some.weight, trace.weight[:, :, :, [2, 0, 5]])
    np.testing.assert_array_equal(some.base_norm, trace.base_norm[:, :, [2, 0, 5]])
    np.testing.assert_array_equal(some.boxes, trace.boxes[[2, 0]])
    answer = trace.select(trace.phase == ANSWER)
    assert answer.tokens == ("t6", "t7")
    assert answer.phase.tolist() == [ANSWER, ANSWER]
    assert same(trace.select(np.ones(8, bool)), trace)


def test_divergence_is_the_loop():
    """Jensen-Shannon over the kept experts, re-normalised; a group left with one expert says nothing."""
    a, b = random_trace(1), random_trace(2)
    keep = np.ones((3, 2, 2, 3), bool)
    keep[0, 0, :, 1] = False
    keep[1, 1, 0, :2] = False
    result = divergence(a, b, keep)
    for layer in range(2):
        values = []
        for g, p, t in np.ndindex(3, 2, 8):
            kept = keep[g, layer, p]
            if a.serves()[g, t] and kept.sum() > 1:
                x, y = (trace.weight[g, layer, p, t, kept].astype(float) for trace in (a, b))
                x, y = x / x.sum(), y / y.sum()
                middle = (x + y) / 2
                values.append((np.sum(x * np.log(x / middle)) + np.sum(y * np.log(y / middle))) / 2)
        assert result[layer] == pytest.approx(np.mean(values), rel=1e-5)


def test_divergence_of_what_is_gone_is_no_number():
    """A layer where every group keeps fewer than two experts has no routing to compare; others still do."""
    a, b = random_trace(1), random_trace(2)
    keep = np.ones((3, 2, 2, 3), bool)
    keep[:, 1, :, 1:] = False
    first, second = divergence(a, b, keep)
    assert first > 0
    assert np.isnan(second)
    assert np.isnan(divergence(a, b, np.zeros_like(keep))).all()


def test_divergence_goes_from_zero_to_log_two():
    a, keep = random_trace(1), np.ones((3, 2, 2, 3), bool)
    np.testing.assert_allclose(divergence(a, a, keep), 0, atol=1e-12)
    first, second = (
        dataclasses.replace(a, weight=np.where(a.serves()[:, None, None, :, None], np.eye(3)[i], 0))
        for i in (0, 1)
    )
    np.testing.assert_allclose(divergence(first, second, keep), math.log(2), rtol=1e-9)


# Files


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    tokens=st.lists(PRINTABLE, min_size=8, max_size=8),
    groups=st.permutations(GROUPS).flatmap(lambda p: st.integers(1, 3).map(lambda n: tuple(p[:n]))),
    layers=st.integers(1, 3),
    experts=st.integers(1, 4),
)
def test_files_there_and_back(tmp_path_factory, seed, tokens, groups, layers, experts):
    path = tmp_path_factory.mktemp("trace") / "t.npz"
    trace = random_trace(seed, groups, layers, experts=experts)
    trace = dataclasses.replace(trace, tokens=tuple(tokens))
    trace.save(path)
    read = RoutingTrace.load(path)
    assert same(read, trace)
    assert [type(token) for token in read.tokens] == [str] * 8


def test_a_recorded_call_there_and_back_under_any_name(tmp_path):
    trace = recorded(tiny_adapter(), row=1, rows=2)
    trace.save(tmp_path / "no-suffix")
    assert same(RoutingTrace.load(str(tmp_path / "no-suffix")), trace)
    with np.load(tmp_path / "no-suffix", allow_pickle=False) as file:  # plain arrays, for anyone with numpy
        assert file["weight"].shape == trace.weight.shape
        assert file["tokens"].tolist() == list(trace.tokens)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "t.npz"
    random_trace().save(path)
    return path


def test_no_file_is_said_plainly(tmp_path):
    with pytest.raises(TraceError, match=r"no trace at .*absent\.npz"):
        RoutingTrace.load(tmp_path / "absent.npz")


@pytest.mark.parametrize("damage", ["empty", "text", "half", "flipped", "folder", "npy", "pickled"])
def test_damaged_files_are_refused_in_one_sentence(whole, damage: str):
    data = bytearray(whole.read_bytes())
    flipped = bytes(b ^ 255 if 200 <= i < 260 else b for i, b in enumerate(data))
    contents = {
        "empty": b"",
        "text": b"not a trace",
        "half": bytes(data[: len(data) // 2]),
        "flipped": flipped,
    }
    if damage in contents:
        whole.write_bytes(contents[damage])
    elif damage == "folder":
        whole.unlink()
        whole.mkdir()
    elif damage == "npy":
        with whole.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        with whole.open("wb") as file:
            np.savez(file, weight=np.array([object()]), allow_pickle=True)
    with pytest.raises(TraceError, match=r"is not a routing trace \(\w+\): record it again"):
        RoutingTrace.load(whole)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", np.zeros((3, 2, 2, 8, 4))),
        ("weight", np.zeros((3, 2, 2, 7, 3))),
        ("contribution", np.zeros((3, 2, 2, 8))),
        ("alignment", np.zeros((3, 2, 2, 8, 4))),
        ("base_norm", np.zeros((2, 2, 7))),
        ("modality", np.zeros(7)),
        ("modality", np.zeros(8)),  # three boxes, no visual token
        ("phase", np.zeros((8, 1))),
        ("boxes", np.zeros((3, 3))),
        ("tokens", np.array(["a"])),
        ("layers", np.array([1])),
        ("groups", np.array(["visual", "text", "audio"])),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(whole, name: str, value: np.ndarray):
    with np.load(whole) as file:
        arrays = dict(file)
    np.savez(whole, **(arrays | {name: value}))
    with pytest.raises(TraceError, match="is not a whole routing trace"):
        RoutingTrace.load(whole)


@pytest.mark.parametrize("name", ["weight", "tokens", "boxes"])
def test_an_absent_array_is_refused(whole, name: str):
    with np.load(whole) as file:
        arrays = dict(file)
    del arrays[name]
    np.savez(whole, **arrays)
    with pytest.raises(TraceError, match="is not a routing trace"):
        RoutingTrace.load(whole)


def test_records_are_frozen_and_numpy():
    trace = recorded(tiny_adapter(SMALL))
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.weight = trace.contribution  # type: ignore[misc]  what is tried is what types forbid
    values = [getattr(trace, f.name) for f in dataclasses.fields(trace)]
    assert all(isinstance(value, np.ndarray | tuple) for value in values)
