"""Where nothing is trained, one product reads a token for router and experts: same numbers, never stale."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_smola import IS_ANSWER, MODALITY, PREFIX, TOKEN, context, inputs, made, removal, run

from smola_demo.context import PAD, TEXT, VISUAL, TokenContext
from smola_demo.smola import SmolaMixture


@pytest.fixture
def products(monkeypatch):
    """How many mixtures took the one product."""
    taken = []
    fuses = SmolaMixture._fuses

    def counted(self, x, experts):
        taken.append(fuses(self, x, experts))
        return taken[-1]

    monkeypatch.setattr(SmolaMixture, "_fuses", counted)
    return taken


@pytest.mark.parametrize("kind", ["nothing", "zero", "renormalize", "mean"])
def test_one_product_is_the_two(kind, products):
    mixture, x = made(TOKEN), inputs()

    def facts():
        found = context()
        if kind != "nothing":
            found.removals[mixture] = removal(TOKEN, [(frozenset({(0, 1), (2, 0)}), kind)] * len(x))
        return found

    apart = run(mixture, x, facts())
    with torch.no_grad():
        fused = run(mixture, x, facts())
    with torch.inference_mode():
        inferred = run(mixture, x, facts())
    assert products == [False, True, True]
    for one, other, third in zip(apart[:3], fused[:3], inferred[:3], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
        assert torch.equal(other, third)


@pytest.mark.parametrize(
    ("order", "kind", "at_work"),
    [
        (("visual", "text", "multimodal"), TEXT, slice(1, 3)),
        (("visual", "text", "multimodal"), VISUAL, slice(0, 3)),
        (("visual", "text"), VISUAL, slice(0, 1)),
        (("visual", "text"), TEXT, slice(1, 2)),
        (("text", "multimodal"), VISUAL, slice(1, 2)),
        (("visual",), TEXT, slice(0, 1)),
        (("visual", "text", "multimodal"), PAD, slice(0, 1)),
    ],
)
def test_groups_that_work_on_no_token_are_left_out(order, kind, at_work):
    """A decode step has no visual token: what is run is less, what comes out the same."""
    mixture, x = made(replace(TOKEN, groups=order)), inputs()
    facts = TokenContext(torch.full(MODALITY.shape, kind, dtype=torch.int8), IS_ANSWER)
    every = run(mixture, x, facts)
    with torch.inference_mode():
        less = run(mixture, x, facts)
    assert (every.groups, less.groups) == (slice(0, len(order)), at_work)
    torch.testing.assert_close(less.residual, every.residual, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(less.hidden, every.hidden[:, :, at_work], atol=1e-6, rtol=1e-5)
    left = [g for g in range(len(order)) if not at_work.start <= g < at_work.stop]
    assert not every.routing_weights[:, :, left].any()


@pytest.mark.parametrize("name", ["router.phi", "router.scale", "experts.A"])
def test_a_changed_parameter_is_seen(name):
    mixture, x = made(TOKEN), inputs()
    with torch.inference_mode():
        before = run(mixture, x).residual
    with torch.no_grad():
        mixture.get_parameter(name).mul_(torch.linspace(0.2, 1.5, mixture.get_parameter(name).shape[-1]))
    expected = run(mixture, x).residual
    with torch.inference_mode():
        after = run(mixture, x).residual
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=1e-5)


def test_a_step_that_torch_does_not_count_is_seen():
    """8-bit optimizers write through a pointer: a tensor's version stays as it was."""
    mixture, x = made(TOKEN), inputs()
    for _ in range(3):
        with torch.no_grad():
            run(mixture, x)
        run(mixture, x).residual.sum().backward()
        for parameter in mixture.parameters():
            version = parameter._version
            parameter.data.mul_(1.3)
            assert parameter._version == version
        with torch.no_grad():
            after = run(mixture, x).residual
        torch.testing.assert_close(after, run(mixture, x).residual.detach(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_where_it_cannot_be_one_product_it_is_not(products):
    run(made(PREFIX), inputs())
    run(made(TOKEN).to(torch.bfloat16), inputs().to(torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        run(made(TOKEN), inputs())
    assert products == [False] * 3


@pytest.mark.parametrize("config", [TOKEN, PREFIX])
def test_scaling_is_a_factor_on_every_residual(config):
    """As LoRA's alpha / rank: on what experts add, not on what routers decide."""
    plain, scaled = made(config), made(replace(config, scaling=2.5))
    scaled.load_state_dict(plain.state_dict())
    for quiet in (torch.enable_grad, torch.inference_mode):
        with quiet():
            one, other = run(plain, inputs()), run(scaled, inputs())
        torch.testing.assert_close(other.residual, 2.5 * one.residual, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(other.hidden, 2.5 * one.hidden, atol=1e-5, rtol=1e-5)
        assert torch.equal(other.routing_weights, one.routing_weights)
        assert one.residual.abs().max() > 0.01
