"""The mixture against a double loop, and everything that must hold whatever the numbers are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import PAD, TEXT, VISUAL, loop, values_of
from torch import Tensor, nn

from smola_demo.config import GROUPS, SmolaConfig
from smola_demo.context import Call, Removal, TokenContext
from smola_demo.smola import SmolaLinear, SmolaMixture

D, OUT = 12, 10
TOKEN = SmolaConfig(num_experts=3, rank=2)
PREFIX = SmolaConfig(num_experts=3, rank=2, num_slots=2, routing="prefix")
BOTH = pytest.mark.parametrize("config", [TOKEN, PREFIX], ids=["token", "prefix"])

# Two rows: image, question, answer; the second is shorter and padded on the left.
MODALITY = torch.tensor(
    [
        [VISUAL, VISUAL, VISUAL, TEXT, TEXT, TEXT, TEXT],
        [PAD, PAD, VISUAL, VISUAL, TEXT, TEXT, TEXT],
    ],
    dtype=torch.int8,
)
IS_ANSWER = torch.tensor([[False] * 5 + [True] * 2] * 2)


def made(config: SmolaConfig, seed: int = 0) -> SmolaMixture:
    """A mixture with random B and scales far from 1, so that routing is far from uniform."""
    torch.manual_seed(seed)
    mixture = SmolaMixture(config, D, OUT)
    with torch.no_grad():
        mixture.experts.B.normal_()
        mixture.router.scale.uniform_(2, 6)
    return mixture


def inputs(shape: torch.Size | tuple[int, ...] = MODALITY.shape, seed: int = 1) -> Tensor:
    return torch.randn(*shape, D, generator=torch.Generator().manual_seed(seed))


def context(modality: Tensor = MODALITY, is_answer: Tensor = IS_ANSWER) -> TokenContext:
    return TokenContext(modality, is_answer)


def whole(facts: TokenContext):
    return facts.step(0, facts.modality.shape[1], torch.device("cpu"))


def run(mixture: SmolaMixture, x: Tensor, facts: TokenContext | None = None):
    return mixture(x, whole(facts or context()))


def linear(
    config: SmolaConfig, base: nn.Module | None = None, facts: TokenContext | None = None
) -> SmolaLinear:
    return SmolaLinear(base or nn.Linear(D, OUT), made(config), Call(whole(facts or context())))


# The formula


@st.composite
def cases(draw: st.DrawFn):
    routing = draw(st.sampled_from(["token", "prefix"]))
    config = SmolaConfig(
        groups=tuple(draw(st.sets(st.sampled_from(GROUPS), min_size=1))),
        num_experts=draw(st.integers(1, 4)),
        rank=draw(st.integers(1, 3)),
        num_slots=draw(st.integers(1, 3)) if routing == "prefix" else 1,
        routing=routing,
    )
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    kinds = st.lists(st.sampled_from([PAD, TEXT, VISUAL]), min_size=length, max_size=length)
    modality = torch.tensor(draw(st.lists(kinds, min_size=rows, max_size=rows)), dtype=torch.int8)
    prompt_length = draw(st.integers(1, length))
    is_answer = (torch.arange(length) >= prompt_length).expand(rows, length)
    # A row without a prompt token would have nothing to pool: a call always has one.
    modality[:, 0] = draw(st.sampled_from([TEXT, VISUAL]))
    experts = [(g, e) for g in range(len(config.groups)) for e in range(config.num_experts)]
    ablation = st.tuples(
        st.frozensets(st.sampled_from(experts)), st.sampled_from(["zero", "renormalize", "mean"])
    )
    ablations = draw(st.lists(ablation, min_size=rows, max_size=rows))
    return config, modality, is_answer, ablations, draw(st.integers(0, 2**16))


def removal(config: SmolaConfig, ablations: list[tuple[frozenset[tuple[int, int]], str]]) -> Removal:
    keep = torch.ones(len(ablations), len(config.groups), config.num_experts, dtype=torch.bool)
    for row, (removed, _) in enumerate(ablations):
        for g, e in removed:
            keep[row, g, e] = False
    kinds = [kind for _, kind in ablations]
    renormalize, mean = (torch.tensor([k == name for k in kinds]) for name in ("renormalize", "mean"))
    return Removal(keep, renormalize, mean, any_mean="mean" in kinds)


@given(cases())
def test_mixture_is_the_double_loop(case):
    """Any groups, sizes, tokens and, row by row, any ablation."""
    config, modality, is_answer, ablations, seed = case
    mixture, x = made(config, seed), inputs(modality.shape, seed)
    facts = context(modality, is_answer)
    facts.removals[mixture] = removal(config, ablations)
    result = run(mixture, x, facts)
    parts = torch.einsum("btger,oger->btgeo", result.hidden, mixture.experts.B)
    for row, (removed, kind) in enumerate(ablations):
        given_row = (array[row : row + 1].numpy() for array in (x.double(), modality, is_answer))
        expected = loop(*given_row, values_of(mixture), config.groups, config.routing, removed, kind)
        np.testing.assert_allclose(result.residual[row].detach(), expected.residual[0], atol=5e-5)
        np.testing.assert_allclose(result.routing_weights[row].detach(), expected.weights[0], atol=1e-5)
        np.testing.assert_allclose(parts[row].detach(), expected.parts[0], atol=5e-5)


def test_one_expert_for_all_tokens_is_plain_lora():
    config = SmolaConfig(groups=("multimodal",), num_experts=1, rank=3)
    layer, x = linear(config, facts=context(MODALITY[:1], IS_ANSWER[:1])), inputs((1, 7))
    a, b = layer.mixture.experts.A[0, 0], layer.mixture.experts.B[:, 0, 0]
    torch.testing.assert_close(layer(x), layer.base_layer(x) + x @ a.T @ b.T)


@BOTH
def test_gradients_are_those_of_the_loop(config: SmolaConfig):
    """Central differences of the float64 loop against autograd, at some places of each parameter and of x."""
    mixture, x = made(config), inputs().requires_grad_()
    target = torch.randn(*MODALITY.shape, OUT, generator=torch.Generator().manual_seed(7))
    (run(mixture, x).residual * target).sum().backward()

    def loss(values, tokens) -> float:
        result = loop(tokens, MODALITY.numpy(), IS_ANSWER.numpy(), values, config.groups, config.routing)
        return float((result.residual * target.double().numpy()).sum())

    values, tokens = values_of(mixture), x.detach().double().numpy()
    parameters = [mixture.router.phi, mixture.router.scale, mixture.experts.A, mixture.experts.B, x]
    for array, parameter in zip([*values, tokens], parameters, strict=True):
        assert parameter.grad is not None
        flat, grad = array.reshape(-1), parameter.grad.reshape(-1)
        for i in np.linspace(0, flat.size - 1, 5).astype(int):
            flat[i] += 1e-5
            above = loss(values, tokens)
            flat[i] -= 2e-5
            slope = (above - loss(values, tokens)) / 2e-5
            flat[i] += 1e-5
            assert grad[i].item() == pytest.approx(slope, rel=2e-3, abs=2e-4)


# The router


@BOTH
def test_weights_sum_to_one_where_a_group_serves_and_are_zero_elsewhere(config: SmolaConfig):
    sums = run(made(config), inputs()).routing_weights.sum(-1)
    for g, serves in enumerate([MODALITY == VISUAL, MODALITY == TEXT, MODALITY != PAD]):
        torch.testing.assert_close(sums[..., g], serves.float())
        assert torch.equal(sums[..., g][~serves], torch.zeros(int((~serves).sum())))


def test_dispatch_weights_pool_the_prompt_of_the_group_alone():
    mixture, facts = made(PREFIX), context()
    _, dispatch = mixture.router(inputs(), whole(facts))
    prompt = ~IS_ANSWER & (MODALITY != PAD)
    for g, serves in enumerate([MODALITY == VISUAL, MODALITY == TEXT, MODALITY != PAD]):
        group = dispatch[:, :, g]
        torch.testing.assert_close(group.sum(1), torch.ones_like(group[:, 0]))
        assert not group[~(serves & prompt)].any()


def test_only_the_direction_of_phi_counts_and_logits_stay_within_the_scale():
    mixture, x = made(TOKEN), inputs()
    before = mixture.router.routing_logits(x)
    assert (before.abs() <= mixture.router.scale.view(-1, 1, 1)).all()
    with torch.no_grad():
        mixture.router.phi.mul_(3)
    torch.testing.assert_close(mixture.router.routing_logits(x), before, atol=1e-4, rtol=1e-4)


def test_scale_one_starts_nearly_uniform():
    torch.manual_seed(0)
    mixture = SmolaMixture(SmolaConfig(num_experts=8), D, OUT)
    weights = run(mixture, inputs()).routing_weights
    assert weights.max() <= np.e**2 / (np.e**2 + 7)  # cosines of 1 for one expert and -1 for the others
    assert weights[weights > 0].min() >= 1 / (1 + 7 * np.e**2)


@pytest.mark.parametrize("value", [0.0, 1e-20, 1e18])
def test_routing_of_extreme_tokens_is_finite(value: float):
    x = torch.full((*MODALITY.shape, D), value)
    for config in (TOKEN, PREFIX):
        assert run(made(config), x).routing_weights.isfinite().all()


# What must not change


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_untrained_experts_change_nothing_bit_for_bit(config: SmolaConfig, dtype: torch.dtype):
    base = nn.Linear(D, OUT).to(dtype)
    layer = SmolaLinear(base, SmolaMixture(config, D, OUT), Call(whole(context())))
    x = inputs().to(dtype)
    assert torch.equal(layer(x), base(x))


@BOTH
def test_an_answer_token_changes_no_earlier_output(config: SmolaConfig):
    mixture, x = made(config), inputs()
    changed = x.clone()
    changed[:, -1] += 3
    before, after = run(mixture, x).residual, run(mixture, changed).residual
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert not torch.allclose(before[:, -1], after[:, -1])


def test_prefix_routing_does_mix_the_prompt_and_token_routing_does_not():
    """The control of the test above: with a prompt token, prefix routing moves the others."""
    x = inputs()
    changed = x.clone()
    changed[:, 4] += 3
    moved = {}
    for config in (TOKEN, PREFIX):
        before, after = run(made(config), x).residual, run(made(config), changed).residual
        moved[config.routing] = not torch.equal(before[:, 3], after[:, 3])
    assert moved == {"token": False, "prefix": True}


@BOTH
def test_prompt_then_answer_token_by_token_equals_all_at_once(config: SmolaConfig):
    mixture, x, facts = made(config), inputs(), context()
    steps = [(0, 5), (5, 1), (6, 1)]
    device = torch.device("cpu")
    pieces = [mixture(x[:, at : at + n], facts.step(at, n, device)).residual for at, n in steps]
    torch.testing.assert_close(torch.cat(pieces, 1), run(mixture, x).residual)


@BOTH
def test_batch_mates_and_padding_change_nothing(config: SmolaConfig):
    mixture, x = made(config), inputs()
    together = run(mixture, x)
    alone = run(mixture, x[1:, 2:], context(MODALITY[1:, 2:], IS_ANSWER[1:, 2:]))
    torch.testing.assert_close(together.residual[1:, 2:], alone.residual)
    torch.testing.assert_close(together.routing_weights[1:, 2:], alone.routing_weights)
    assert not together.residual[1, :2].any()


@BOTH
def test_permuting_experts_permutes_their_weights_only(config: SmolaConfig):
    mixture, order = made(config), [2, 0, 1]
    before = run(mixture, inputs())
    with torch.no_grad():
        mixture.router.phi.copy_(mixture.router.phi[:, order])
        mixture.experts.A.copy_(mixture.experts.A[:, order])
        mixture.experts.B.copy_(mixture.experts.B[:, :, order])
    after = run(mixture, inputs())
    torch.testing.assert_close(after.residual, before.residual)
    torch.testing.assert_close(after.routing_weights, before.routing_weights[..., order])
    assert not torch.allclose(after.routing_weights, before.routing_weights)


@BOTH
def test_a_visual_token_is_untouched_by_the_text_group(config: SmolaConfig):
    mixture, visual = made(config), MODALITY == VISUAL
    before = run(mixture, inputs()).residual
    text = config.groups.index("text")
    with torch.no_grad():
        for parameter in (mixture.router.phi, mixture.router.scale, mixture.experts.A):
            parameter[text] = torch.randn_like(parameter[text]) + 1
        mixture.experts.B[:, text] += 1
    after = run(mixture, inputs()).residual
    assert torch.equal(before[visual], after[visual])
    assert not torch.allclose(before[MODALITY == TEXT], after[MODALITY == TEXT])


@BOTH
def test_without_an_image_everything_is_finite(config: SmolaConfig):
    layer = linear(config, facts=context(torch.where(MODALITY == VISUAL, TEXT, MODALITY)))
    y = layer(inputs())
    y.square().sum().backward()
    assert y.isfinite().all()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    grads = layer.mixture.experts.B.grad, layer.mixture.experts.A.grad
    assert not grads[0][:, 0].any()  # the visual group served nothing and learned nothing
    assert not grads[1][0].any()
    assert grads[0][:, 1].any()


@BOTH
def test_a_row_of_padding_is_finite_and_untouched(config: SmolaConfig):
    modality = MODALITY.clone()
    modality[1] = PAD
    mixture = made(config)
    result = run(mixture, inputs(), context(modality))
    result.residual.sum().backward()
    assert not result.residual[1].any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixture.parameters())


# The wrapped linear


@BOTH
def test_two_dimensional_input_is_the_same_as_three_dimensional(config: SmolaConfig):
    layer, x = linear(config), inputs()
    flat = layer(x.flatten(0, 1))
    assert flat.shape == (14, OUT)
    torch.testing.assert_close(flat, layer(x).flatten(0, 1))


@BOTH
def test_nf4_base(config: SmolaConfig):
    import bitsandbytes as bnb

    torch.manual_seed(0)
    base = bnb.nn.Linear4bit(64, 32, compute_dtype=torch.float32, quant_type="nf4")
    base.load_state_dict({"weight": torch.randn(32, 64), "bias": torch.randn(32)})
    base.to("cpu")  # quantizes
    check_quantized(config, base, inputs_64())
    assert base.weight.dtype == torch.uint8


@BOTH
def test_int8_base(config: SmolaConfig):
    import bitsandbytes as bnb

    torch.manual_seed(0)
    base = bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False)
    base.load_state_dict({"weight": torch.randn(32, 64), "bias": torch.randn(32)})
    base.to("cpu")
    check_quantized(config, base, inputs_64())
    assert base.weight.dtype == torch.int8


def inputs_64() -> Tensor:
    return torch.randn(*MODALITY.shape, 64, generator=torch.Generator().manual_seed(3))


def check_quantized(config: SmolaConfig, base: nn.Module, x: Tensor) -> None:
    torch.manual_seed(1)
    layer = SmolaLinear(base, SmolaMixture(config, 64, 32), Call(whole(context())))
    assert torch.equal(layer(x), base(x))
    with torch.no_grad():
        layer.mixture.experts.B.normal_()
    y = layer(x)
    residual = layer.mixture(x, whole(context())).residual
    assert y.dtype == base(x).dtype
    torch.testing.assert_close(y, base(x) + residual)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.mixture.parameters())


@BOTH
def test_autocast_computes_experts_in_bf16_and_routes_in_float32(config: SmolaConfig):
    layer, x = linear(config), inputs()
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        mixture = layer.mixture(x, whole(context()))
    assert y.dtype == torch.bfloat16
    assert mixture.hidden.dtype == torch.bfloat16
    assert torch.equal(mixture.routing_weights, layer.mixture(x, whole(context())).routing_weights)
    torch.testing.assert_close(y.float(), exact, atol=0.15, rtol=0.05)


@BOTH
def test_bf16_base_keeps_its_dtype(config: SmolaConfig):
    layer, x = linear(config, nn.Linear(D, OUT).to(torch.bfloat16)), inputs().to(torch.bfloat16)
    y = layer(x)
    assert y.dtype == torch.bfloat16
    residual = layer.mixture(x.float(), whole(context())).residual
    torch.testing.assert_close(y, layer.base_layer(x) + residual.to(torch.bfloat16))


def test_switched_off_is_the_base_layer_and_needs_no_context():
    layer, x = linear(TOKEN), inputs()
    layer.call.enabled, layer.call.step = False, None
    assert torch.equal(layer(x), layer.base_layer(x))


def test_a_call_without_facts_says_what_to_do():
    layer = linear(TOKEN)
    layer.call.step = None
    with pytest.raises(RuntimeError, match="no TokenContext: call the model itself"):
        layer(inputs())


def test_prefix_routing_refuses_to_decode_before_a_prompt():
    step = context().step(5, 1, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="run the prompt before its answer"):
        made(PREFIX)(inputs((2, 1)), step)


def test_merge_raises_and_says_why():
    with pytest.raises(NotImplementedError, match="depends on the token and cannot be merged"):
        linear(TOKEN).merge()


# The facts of a call


def test_steps_cut_the_context_and_go_on_with_generated_text():
    facts = context()
    step = facts.step(5, 4, torch.device("cpu"))
    assert step.modality.tolist() == [[TEXT] * 4] * 2
    assert not step.is_prompt.any()
    assert not step.reads_prompt
    first = facts.step(0, 3, torch.device("cpu"))
    assert first.modality.tolist() == [[VISUAL] * 3, [PAD, PAD, VISUAL]]
    assert first.is_prompt.tolist() == [[True] * 3, [False, False, True]]
    assert first.reads_prompt
    far = facts.step(40, 1, torch.device("cpu"))
    assert far.modality.tolist() == [[TEXT], [TEXT]]
    assert not far.is_prompt.any()


def test_who_serves_whom():
    serves = whole(context()).serves(GROUPS)
    assert GROUPS == ("visual", "text", "multimodal")
    assert serves[0, 0].tolist() == [True, False, True]
    assert serves[0, 3].tolist() == [False, True, True]
    assert serves[1, 0].tolist() == [False, False, False]


def test_slots_live_in_the_call_and_nowhere_else():
    mixture, facts = made(PREFIX), context()
    state = {name: value.clone() for name, value in mixture.state_dict().items()}
    run(mixture, inputs(), facts)
    assert facts.slots[mixture].shape == (2, 3, 3, 2, 2)
    assert not run(mixture, inputs(), dataclasses.replace(facts, slots={})).residual.isnan().any()
    assert all(torch.equal(value, state[name]) for name, value in mixture.state_dict().items())
    assert not list(mixture.buffers())
