"""Ablations: the text form, the masks, and what the model computes under them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import loop, values_of
from tiny_model import BOTH, SMALL, context_of, prompt, routing_name, tiny_adapter, tiny_llama
from torch import Tensor

from smola_demo.ablation import KINDS, AblationError, AblationSpec, Term, resolve
from smola_demo.adapter import Adapter
from smola_demo.config import SmolaConfig
from smola_demo.context import TokenContext
from smola_demo.smola import Mixture

both = pytest.mark.parametrize("config", BOTH, ids=routing_name)
parse = AblationSpec.parse
VISUAL, TEXT, MULTIMODAL = 0, 1, 2  # the order of the groups
START = 6  # of the answer, in the tests' prompts


def context(adapter: Adapter, ids: Tensor, specs: list[AblationSpec]) -> TokenContext:
    facts = context_of(ids, answer_start=START)
    facts.removals.update(resolve(specs, adapter.config, adapter.sites).removals)
    return facts


def logits(adapter: Adapter, ids: Tensor, *texts: str) -> Tensor:
    with adapter.context(context(adapter, ids, [parse(text) for text in texts])):
        return adapter.model(ids).logits


# The text form

numbers = st.none() | st.sets(st.integers(0, 9999), min_size=1).map(lambda s: tuple(sorted(s)))
places = st.none() | st.lists(st.sampled_from(["attn", "mlp", "q_proj", "fc.1"]), min_size=1).map(tuple)
terms = st.builds(Term, st.sampled_from(["visual", "text", "multimodal", "*"]), numbers, numbers, places)
specs = st.builds(AblationSpec, st.lists(terms, min_size=1, max_size=4).map(tuple), st.sampled_from(KINDS))


@given(specs)
def test_text_there_and_back(spec: AblationSpec):
    assert parse(str(spec)) == spec


@given(st.text(max_size=40) | st.text("visualtextmean:*@/;!0123,-_ \n", max_size=20))
def test_any_text_is_a_spec_or_an_error_of_one_line(text: str):
    try:
        spec = parse(text)
    except AblationError as error:
        message = str(error)
    else:
        message = ""
        assert parse(str(spec)) == spec
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("visual:3", AblationSpec((Term("visual", (3,)),))),
        ("multimodal:0,4-6", AblationSpec((Term("multimodal", (0, 4, 5, 6)),))),
        ("text:*", AblationSpec((Term("text", None),))),
        ("*:*", AblationSpec((Term("*", None),))),
        ("visual:3@8-10", AblationSpec((Term("visual", (3,), (8, 9, 10)),))),
        ("visual:3@*", AblationSpec((Term("visual", (3,)),))),
        ("visual:3/mlp", AblationSpec((Term("visual", (3,), None, ("mlp",)),))),
        ("visual:3@8-9,11/q_proj,mlp", AblationSpec((Term("visual", (3,), (8, 9, 11), ("q_proj", "mlp")),))),
        ("renormalize!visual:3", AblationSpec((Term("visual", (3,)),), "renormalize")),
        ("mean!text:1", AblationSpec((Term("text", (1,)),), "mean")),
        ("zero!text:1", AblationSpec((Term("text", (1,)),), "zero")),
        (" visual : 3 ; text : 5-6,2 ;", AblationSpec((Term("visual", (3,)), Term("text", (2, 5, 6))))),
    ],
)
def test_the_grammar(text: str, expected: AblationSpec):
    assert parse(text) == expected


@pytest.mark.parametrize("nothing", ["", "   ", None])
def test_no_text_is_no_ablation(nothing: str | None):
    spec = parse(nothing)
    assert not spec
    assert str(spec) == ""
    assert parse("text:0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("visual", "cannot read 'visual': write group:experts, for example visual:3@8-15/mlp"),
        ("visual:", "cannot read 'visual:'"),
        ("visual:3@", "cannot read 'visual:3@'"),
        ("visual:3/mlp@2", "cannot read 'visual:3/mlp@2'"),
        ("visual:x", "cannot read 'x' in 'visual:x': write 3, 0,4-6 or *"),
        ("visual:-1", "cannot read '-1'"),
        ("visual:6-4", "cannot read '6-4'"),
        ("visual:1,,2", "cannot read ''"),
        ("visual:٣", "cannot read '٣'"),
        ("visual:0-99999999999", "cannot read '0-99999999999'"),
        ("shuffle!visual:3", "unknown kind of ablation 'shuffle': use zero!, renormalize!, mean!"),
        ("!visual:3", "unknown kind of ablation ''"),
        ("mean!", "'mean!' names no expert: write for example visual:3 or text:*"),
        (";;", "';;' names no expert"),
        ("x" * 500, "cannot read 'x{57}\\.\\.\\.'"),
    ],
)
def test_unreadable_text_is_quoted(text: str, message: str):
    with pytest.raises(AblationError, match=message.replace("*", r"\*")):
        parse(text)


# What there is to take out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("audio:0", r"no expert group 'audio': there are visual, text, multimodal"),
        ("visual:3", "no expert visual:3: each group has 0 to 2"),
        ("*:0,7", r"no expert \*:7: each group has 0 to 2"),
        ("visual:0@7", "no experts in layer 7: wrapped layers are 0-2"),
        ("visual:0/o_proj", "no projection 'o_proj': there are down_proj, q_proj, v_proj, and attn and mlp"),
        ("text:0;visual:0@2-3", "no experts in layer 3"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(text: str, message: str):
    adapter = tiny_adapter()
    with pytest.raises(AblationError, match=message):
        resolve([AblationSpec(), parse(text)], adapter.config, adapter.sites)


def test_touching_no_module_is_an_error():
    adapter = tiny_adapter(SmolaConfig(num_experts=2, rank=1, target_modules=("q_proj",)))
    with pytest.raises(AblationError, match="'visual:0/mlp' touches no module"):
        resolve([parse("visual:0/mlp")], adapter.config, adapter.sites)


def test_a_group_that_the_mixture_lacks():
    adapter = tiny_adapter(SmolaConfig(groups=("text",), num_experts=2, rank=1))
    with pytest.raises(AblationError, match=r"no expert group 'visual': there are text$"):
        resolve([parse("visual:0")], adapter.config, adapter.sites)


# Text; which (group, expert) are gone at which (layer, projection); how many of the nine modules are touched.
CASES = {
    "visual:1": (lambda _l, _p: {(VISUAL, 1)}, 9),
    "text:*": (lambda _l, _p: {(TEXT, 0), (TEXT, 1), (TEXT, 2)}, 9),
    "*:0,2@1-2/mlp": (
        lambda layer, name: (
            {(g, e) for g in range(3) for e in (0, 2)} if layer in (1, 2) and name == "down_proj" else set()
        ),
        2,
    ),
    "multimodal:0@0/attn;visual:2@2": (
        lambda layer, name: (
            ({(MULTIMODAL, 0)} if layer == 0 and name != "down_proj" else set())
            | ({(VISUAL, 2)} if layer == 2 else set())
        ),
        5,
    ),
    "text:0,1/v_proj": (lambda _layer, name: {(TEXT, 0), (TEXT, 1)} if name == "v_proj" else set(), 3),
}


@both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", CASES)
def test_every_mixture_is_the_loop_without_those_experts(config: SmolaConfig, kind: str, text: str):
    """Each mixture's input and output, caught while the model runs, against the loop on that input."""
    gone, touched = CASES[text]
    adapter, ids = tiny_adapter(config), prompt()
    spec = parse(f"{kind}!{text}")
    resolved = resolve([spec, AblationSpec()], config, adapter.sites)
    assert resolved.modules_touched == (touched, 0)
    facts = context(adapter, ids, [spec, AblationSpec()])
    caught: dict[str, tuple[Tensor, Mixture]] = {}
    for site in adapter.sites:
        site.linear.mixture.register_forward_hook(
            lambda _module, args, output, path=site.path: caught.update({path: (args[0], output)})
        )
    with adapter.context(facts), torch.no_grad():
        adapter.model(ids)
    for site in adapter.sites:
        x, output = caught[site.path]
        for row, removed in enumerate((gone(site.layer, site.projection), set())):
            expected = loop(
                x[row : row + 1].double().numpy(),
                facts.modality[row : row + 1].numpy(),
                facts.is_answer[row : row + 1].numpy(),
                values_of(site.linear.mixture),
                config.groups,
                config.routing,
                frozenset(removed),
                kind,
            )
            np.testing.assert_allclose(output.residual[row], expected.residual[0], atol=1e-4)
            np.testing.assert_allclose(output.routing_weights[row], expected.weights[0], atol=1e-5)


@both
def test_taking_all_experts_out_is_the_backbone_bit_for_bit(config: SmolaConfig):
    adapter, ids = tiny_adapter(config), prompt()
    plain = tiny_llama()(ids).logits
    assert torch.equal(logits(adapter, ids, "*:*", "renormalize!visual:*;text:*;multimodal:*"), plain)


@both
def test_a_batch_of_ablations_is_each_alone(config: SmolaConfig):
    adapter, one = tiny_adapter(config), prompt(rows=1)
    texts = ("", "visual:0", "renormalize!text:1-2", "mean!multimodal:*@1", "zero!*:0;visual:1/mlp")
    together = logits(adapter, one.expand(len(texts), -1), *texts)
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row], logits(adapter, one, text)[0], atol=1e-4, rtol=1e-4)
        others = [i for i in range(len(texts)) if i != row]
        assert not any(torch.allclose(together[row], together[i]) for i in others), text


@both
@pytest.mark.parametrize("kind", KINDS)
def test_cached_decode_equals_the_full_forward(config: SmolaConfig, kind: str):
    adapter, ids = tiny_adapter(config), prompt()
    texts = (f"{kind}!visual:1;text:0-1", f"{kind}!multimodal:2@1/down_proj")
    full = logits(adapter, ids, *texts)
    with adapter.context(context(adapter, ids, [parse(text) for text in texts])):
        out = adapter.model(ids[:, :START], use_cache=True)
        pieces = [out.logits]
        for i in range(START, ids.shape[1]):
            out = adapter.model(ids[:, i : i + 1], past_key_values=out.past_key_values, use_cache=True)
            pieces.append(out.logits)
    torch.testing.assert_close(torch.cat(pieces, 1), full, atol=1e-4, rtol=1e-4)


def test_renormalized_weights_sum_to_one_again_and_zeroed_ones_do_not():
    adapter, ids = tiny_adapter(), prompt()
    mixture = adapter.sites[0].linear.mixture
    sums = []
    mixture.register_forward_hook(lambda _m, _a, output: sums.append(output.routing_weights.sum(-1)))
    logits(adapter, ids, "zero!*:0", "renormalize!*:0")
    (weights,) = sums
    served = context_of(ids).step(0, ids.shape[1], torch.device("cpu")).serves(SMALL.groups)
    torch.testing.assert_close(weights[1][served[1]], torch.ones(int(served[1].sum())))
    assert (weights[0][served[0]] < 1).all()
    assert not weights[~served].any()


def test_nothing_stays_on_the_model():
    adapter, ids = tiny_adapter(), prompt()
    before = adapter.model(ids).logits
    state = {name: value.clone() for name, value in adapter.model.state_dict().items()}
    logits(adapter, ids, "text:*", "mean!visual:0")
    assert torch.equal(adapter.model(ids).logits, before)
    assert all(torch.equal(value, state[name]) for name, value in adapter.model.state_dict().items())


def test_linears_without_removals_get_no_mask():
    adapter = tiny_adapter()
    resolved = resolve([parse("text:0@1/q_proj"), parse("text:0@1/q_proj,v_proj")], SMALL, adapter.sites)
    touched = {site.path for site in adapter.sites if site.linear.mixture in resolved.removals}
    assert touched == {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}
    assert resolved.modules_touched == (1, 2)
    assert not resolve([AblationSpec()], SMALL, adapter.sites).removals


def test_attn_and_mlp_are_found_in_other_families_too():
    """Names of the blocks as Falcon, GPT-NeoX, OPT-like and Phi models spell them."""
    from smola_demo.ablation import _is_at
    from smola_demo.adapter import Site

    def at(path: str, name: str) -> bool:
        return _is_at(Site(path, 0, path.rsplit(".", 1)[1], None), name)  # type: ignore[arg-type]  its linear is not looked at

    assert at("model.layers.3.self_attn.o_proj", "attn")
    assert at("transformer.h.3.self_attention.dense", "attn")
    assert at("transformer.h.3.mlp.dense_4h_to_h", "mlp")
    assert not at("model.layers.3.self_attn.o_proj", "mlp")
    assert not at("model.mlp_tower.layers.3.self_attn.o_proj", "mlp")


def test_an_endless_text_is_refused_before_it_is_read():
    with pytest.raises(AblationError, match="characters: write at most"):
        AblationSpec.parse("visual:0;" * 2000)
