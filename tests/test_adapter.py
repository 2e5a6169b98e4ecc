"""Experts on a model: what they leave as it was, what they change, and their files."""

from __future__ import annotations

import gc
import json
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import (
    BOTH,
    IMAGE,
    LAYERS,
    PAD_ID,
    PREFIX,
    SMALL,
    VOCABULARY,
    WIDTH,
    context_of,
    modality_of,
    prompt,
    routing_name,
    targets,
    tiny_adapter,
    tiny_llama,
)
from torch import Tensor, nn

from smola_demo import __version__
from smola_demo.adapter import Adapter, AdapterError, attach
from smola_demo.adapter_files import CONFIG_NAME, WEIGHTS_NAME, load_weights, read_config, save
from smola_demo.config import SmolaConfig
from smola_demo.smola import SmolaLinear
from smola_demo.trace import capture

both = pytest.mark.parametrize("config", BOTH, ids=routing_name)
NEW = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}


def put_on(config: SmolaConfig = SMALL, model: nn.Module | None = None, **changes) -> Adapter:
    model = model or tiny_llama()
    given = {"targets": targets(model), "decoder": model.model, "modality_of": modality_of} | changes
    return attach(model, config, **given)


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def padded(ids: Tensor, left: int) -> tuple[Tensor, Tensor]:
    """The ids with `left` padding tokens before them, and their mask."""
    pad = torch.full((len(ids), left), PAD_ID)
    return torch.cat([pad, ids], 1), torch.cat([torch.zeros_like(pad), torch.ones_like(ids)], 1)


# On and off


@both
def test_untrained_experts_are_the_backbone_bit_for_bit(config: SmolaConfig):
    ids = prompt()
    plain, adapter = tiny_llama(), tiny_adapter(config, trained=False)
    assert torch.equal(adapter.model(ids).logits, plain(ids).logits)
    assert not adapter.is_trained()


@both
def test_trained_experts_are_not_the_backbone(config: SmolaConfig):
    ids = prompt()
    adapter = tiny_adapter(config)
    assert not torch.allclose(adapter.model(ids).logits, tiny_llama()(ids).logits)
    assert adapter.is_trained()


def test_detach_restores_the_very_modules_and_leaves_no_hook():
    model = tiny_llama()
    before = dict(model.named_modules())
    logits = model(prompt()).logits
    state = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = put_on(model=model)
    assert hooks(model) == 3
    model(prompt())
    adapter.detach()
    assert dict(model.named_modules()) == before
    assert hooks(model) == 0
    assert torch.equal(model(prompt()).logits, logits)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    again = put_on(model=model)
    assert len(again.sites) == LAYERS * 3


def test_sites_are_the_linears_the_config_asks_for_in_layer_order():
    adapter = put_on(SmolaConfig(target_modules=("down_proj", "q_proj"), layers=(0, 2)))
    assert [(s.layer, s.projection) for s in adapter.sites] == [
        (0, "down_proj"),
        (0, "q_proj"),
        (2, "down_proj"),
        (2, "q_proj"),
    ]
    assert adapter.layers == (0, 2)
    assert adapter.projections == ("down_proj", "q_proj")
    for site in adapter.sites:
        assert adapter.model.get_submodule(site.path) is site.linear
    assert not isinstance(adapter.model.model.layers[1].mlp.down_proj, SmolaLinear)


def test_a_second_attach_is_refused():
    adapter = put_on()
    with pytest.raises(AdapterError, match="already carries experts: detach them first"):
        put_on(model=adapter.model)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"target_modules": ("fc1",)}, "no linear 'fc1'; it has down_proj, gate_proj, k_proj"),
        ({"layers": (0, 9)}, "no layer 9; it has 0 to 2"),
    ],
)
def test_what_does_not_exist_is_named(config: dict, message: str):
    model = tiny_llama()
    with pytest.raises(AdapterError, match=message):
        put_on(SmolaConfig(**config), model)
    assert hooks(model) == 0
    assert not any(isinstance(m, SmolaLinear) for m in model.modules())


def test_layers_and_names_that_never_meet_are_refused():
    model = tiny_llama()
    some = {path: place for path, place in targets(model).items() if place != (1, "q_proj")}
    with pytest.raises(AdapterError, match="hold no q_proj"):
        put_on(SmolaConfig(target_modules=("q_proj",), layers=(1,)), model, targets=some)


def test_only_linears_carry_experts():
    with pytest.raises(AdapterError, match=r"model\.norm is a LlamaRMSNorm, not a linear layer"):
        put_on(SmolaConfig(target_modules=("norm",)), targets={"model.norm": (0, "norm")})


def test_the_seed_makes_the_experts_and_the_global_one_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second, other = (dict(put_on(seed=seed).named_parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_shared_router_is_one_per_input():
    config = SmolaConfig(
        target_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"), shared_router=True
    )
    adapter = put_on(config)
    by_name = {s.projection: s.linear.mixture.router for s in adapter.sites if s.layer == 1}
    assert by_name["q_proj"] is by_name["k_proj"] is by_name["v_proj"]
    assert by_name["gate_proj"] is by_name["up_proj"]
    assert len({id(router) for router in by_name.values()}) == 3
    routers = {id(s.linear.mixture.router) for s in adapter.sites}
    assert len(routers) == 3 * LAYERS
    assert sum(name.endswith("phi") for name, _ in adapter.named_parameters()) == 3 * LAYERS
    assert torch.equal(adapter.model(prompt()).logits, tiny_llama()(prompt()).logits)


def test_parameters_are_counted_once_and_as_the_shapes_say():
    adapter = put_on()
    widths = {"q_proj": (WIDTH, WIDTH), "v_proj": (WIDTH, WIDTH // 2), "down_proj": (48, WIDTH)}
    groups, experts, rank = 3, SMALL.num_experts, SMALL.rank
    each = [
        groups * experts * (d + rank * d + rank * o) + groups  # phi, A, B and the scales
        for d, o in widths.values()
    ]
    assert adapter.num_parameters() == LAYERS * sum(each)
    assert len({id(p) for p in adapter.parameters()}) == len(list(adapter.parameters()))


# Training touches the experts alone


@both
def test_only_experts_get_gradients_and_change_in_a_step(config: SmolaConfig):
    adapter = tiny_adapter(config, model=tiny_llama().requires_grad_(True))
    own = {id(p) for p in adapter.parameters()}
    before = {name: p.detach().clone() for name, p in adapter.model.named_parameters()}
    ids = prompt()
    labels = ids.clone()
    labels[:, :7] = -100
    adapter.model(ids, labels=labels).loss.backward()
    for name, parameter in adapter.model.named_parameters():
        assert parameter.requires_grad == (id(parameter) in own), name
        assert (parameter.grad is not None) == (id(parameter) in own), name
    torch.optim.SGD(adapter.parameters(), lr=0.1).step()
    for name, parameter in adapter.model.named_parameters():
        unchanged = torch.equal(parameter, before[name])
        # The last layer's queries of the visual tokens reach no loss, so a few experts may rest.
        if id(parameter) not in own:
            assert unchanged, name
        elif name.endswith("B"):
            assert not unchanged, name


# A call and its facts


@both
def test_an_answer_token_changes_no_earlier_logit(config: SmolaConfig):
    adapter, ids = tiny_adapter(config), prompt()
    changed = ids.clone()
    changed[:, -1] = (ids[:, -1] + 1 - 6) % (VOCABULARY - 6) + 6
    logits = []
    for row in (ids, changed):
        with adapter.context(context_of(row, answer_start=6)):
            logits.append(adapter.model(row).logits)
    assert torch.equal(logits[0][:, :-1], logits[1][:, :-1])
    assert not torch.allclose(logits[0][:, -1], logits[1][:, -1])


@both
def test_prefill_and_cached_decode_equal_the_full_forward(config: SmolaConfig):
    adapter, ids = tiny_adapter(config), prompt()
    with adapter.context(context_of(ids, answer_start=6)):
        full = adapter.model(ids).logits
    with adapter.context(context_of(ids[:, :6])):
        out = adapter.model(ids[:, :6], use_cache=True)
        pieces = [out.logits]
        for i in range(6, ids.shape[1]):
            out = adapter.model(ids[:, i : i + 1], past_key_values=out.past_key_values, use_cache=True)
            pieces.append(out.logits)
    torch.testing.assert_close(torch.cat(pieces, 1), full, atol=1e-4, rtol=1e-4)


@both
def test_generate_untrained_says_what_the_backbone_says(config: SmolaConfig):
    ids = prompt()
    plain, adapter = tiny_llama(), tiny_adapter(config, trained=False)
    a, b = (
        model.generate(ids, attention_mask=torch.ones_like(ids), **NEW) for model in (plain, adapter.model)
    )
    assert torch.equal(a.sequences, b.sequences)
    assert all(torch.equal(x, y) for x, y in zip(a.logits, b.logits, strict=True))


@both
def test_generate_with_a_cache_is_the_full_forward_over_its_own_answer(config: SmolaConfig):
    """Greedy tokens and their logits, with the KV cache, against one pass over prompt and answer."""
    adapter, ids = tiny_adapter(config), prompt()
    out = adapter.model.generate(ids, attention_mask=torch.ones_like(ids), **NEW)
    assert out.past_key_values.get_seq_length() == ids.shape[1] + 5
    with adapter.context(context_of(out.sequences, answer_start=ids.shape[1])):
        full = adapter.model(out.sequences).logits
    generated = torch.stack(out.logits, 1)
    torch.testing.assert_close(generated, full[:, ids.shape[1] - 1 : -1], atol=1e-4, rtol=1e-4)
    assert torch.equal(generated.argmax(-1), out.sequences[:, ids.shape[1] :])


@both
def test_a_left_padded_batch_is_its_rows_one_by_one(config: SmolaConfig):
    adapter = tiny_adapter(config)
    short, long = prompt(1, images=2, text=4, seed=1), prompt(1, images=4, text=7, seed=2)
    row, mask = padded(short, long.shape[1] - short.shape[1])
    batch, mask = torch.cat([row, long]), torch.cat([mask, torch.ones_like(long)])
    together = adapter.model.generate(batch, attention_mask=mask, **NEW)
    for i, single in enumerate((short, long)):
        alone = adapter.model.generate(single, attention_mask=torch.ones_like(single), **NEW)
        assert torch.equal(alone.sequences[0, single.shape[1] :], together.sequences[i, batch.shape[1] :])
        ours, theirs = torch.stack(alone.logits, 1)[0], torch.stack(together.logits, 1)[i]
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@both
def test_labels_say_which_tokens_are_answer(config: SmolaConfig):
    """A Trainer's plain call with labels is the same as one with the facts spelled out."""
    adapter, ids = tiny_adapter(config), prompt()
    labels = ids.clone()
    labels[:, :6] = -100
    with adapter.context(context_of(ids, answer_start=6)):
        expected = adapter.model(ids).logits
    assert torch.equal(adapter.model(ids, labels=labels).logits, expected)
    if config is PREFIX:
        assert not torch.allclose(adapter.model(ids).logits, expected)


@both
def test_a_plain_call_leaves_nothing_of_its_graph(config: SmolaConfig):
    """A loss that nobody went back through must not live until the next call."""
    adapter = tiny_adapter(config)
    adapter.model(prompt())
    assert adapter.call.step is None
    kept = adapter._context.slots
    assert bool(kept) == (config.routing == "prefix")
    assert not any(value.requires_grad for value in kept.values())


def test_image_tokens_are_told_apart():
    """The same vectors, once as image and once as words: the experts make the difference."""
    adapter, ids = tiny_adapter(), prompt()
    words = context_of(ids)
    words.modality.zero_()
    with adapter.context(context_of(ids)):
        seen = adapter.model(ids).logits
    with adapter.context(words):
        read = adapter.model(ids).logits
    assert (ids[:, 0] == IMAGE).all()
    assert not torch.allclose(seen[:, 0], read[:, 0])


def test_disabled_is_the_bare_backbone_and_ends_with_the_block():
    adapter, ids = tiny_adapter(), prompt()
    trained = adapter.model(ids).logits
    with pytest.raises(KeyError), adapter.disabled():
        assert torch.equal(adapter.model(ids).logits, tiny_llama()(ids).logits)
        raise KeyError
    assert torch.equal(adapter.model(ids).logits, trained)


def test_contexts_nest_and_are_restored_after_an_exception():
    adapter, ids = tiny_adapter(), prompt()
    outer, inner = context_of(ids), context_of(ids[:1])
    with adapter.context(outer):
        with pytest.raises(KeyError), adapter.context(inner):
            adapter.model(ids[:1])
            raise KeyError
        assert adapter.call.step is None
        adapter.model(ids)
        assert adapter._context is outer
    assert adapter.call.step is None
    assert adapter._context is None
    adapter.model(ids[:1])  # a plain call makes its own facts again
    assert adapter._context is not None
    assert adapter._context is not inner


def test_an_exception_inside_the_model_leaves_the_next_call_whole():
    adapter, ids = tiny_adapter(), prompt()
    expected = adapter.model(ids).logits
    with pytest.raises(IndexError):
        adapter.model(torch.full((1, 3), VOCABULARY + 7))
    assert torch.equal(adapter.model(ids).logits, expected)
    assert hooks(adapter.model) == 3


def test_embeddings_without_ids_need_a_context():
    """They say nothing of images, and the last call's facts must not stand in."""
    adapter, ids = tiny_adapter(), prompt()
    expected = adapter.model(ids).logits
    embeddings = adapter.model.get_input_embeddings()(ids)
    with pytest.raises(RuntimeError, match="no TokenContext"):
        adapter.model(inputs_embeds=embeddings)
    with adapter.context(context_of(ids)):
        torch.testing.assert_close(adapter.model(inputs_embeds=embeddings).logits, expected)


def test_the_decoder_alone_needs_a_context():
    adapter, ids = tiny_adapter(), prompt()
    with pytest.raises(RuntimeError, match="no TokenContext"):
        adapter.decoder(ids)
    with adapter.context(context_of(ids)):
        hidden = adapter.decoder(ids).last_hidden_state
    torch.testing.assert_close(adapter.model.lm_head(hidden), adapter.model(ids).logits)


def test_the_model_dies_while_its_trace_lives():
    adapter, ids = tiny_adapter(), prompt(1)
    with capture(adapter) as recorder:
        adapter.model(ids)
    trace = recorder.trace(["x"] * ids.shape[1], torch.zeros(4, 4).numpy())
    model, experts = weakref.ref(adapter.model), weakref.ref(adapter.sites[0].linear.mixture.experts.A)
    del adapter, recorder
    gc.collect()
    assert model() is None
    assert experts() is None
    assert trace.weight.sum() > 0


# Files


@pytest.fixture
def saved(tmp_path):
    adapter = tiny_adapter()
    facts = {"base_model_name_or_path": "tiny", "revision": "r1", "steps": 7, "tasks": ["vqa"]}
    return adapter, save(adapter, tmp_path / "experts", facts)


def rewrite(folder, change) -> None:
    tensors = load_file(folder / WEIGHTS_NAME)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_NAME)


@pytest.mark.parametrize(
    "config", [*BOTH, SmolaConfig(num_experts=2, shared_router=True, groups=("text",), layers=(1,))]
)
def test_save_then_load_is_the_same_adapter(config: SmolaConfig, tmp_path):
    adapter = tiny_adapter(config)
    folder = save(adapter, tmp_path / "deep" / "experts", {"steps": 3})
    read, facts = read_config(folder)
    assert read == config
    assert facts["steps"] == 3
    fresh = tiny_adapter(read, trained=False, seed=9)
    load_weights(fresh, folder)
    before, after = dict(adapter.named_parameters()), dict(fresh.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(adapter.model(prompt()).logits, fresh.model(prompt()).logits)
    assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG_NAME, WEIGHTS_NAME])


def test_names_and_fields_follow_peft(saved):
    import peft

    adapter, folder = saved
    assert peft.utils.SAFETENSORS_WEIGHTS_NAME == WEIGHTS_NAME
    assert peft.utils.CONFIG_NAME == CONFIG_NAME
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    assert config["peft_type"] == "OMNI_SMOLA"
    assert config["smola_demo_version"] == __version__
    assert config["target_modules"] == ["q_proj", "v_proj", "down_proj"]
    assert config["base_model_name_or_path"] == "tiny"
    keys = set(load_file(folder / WEIGHTS_NAME))
    path = "base_model.model.model.layers.0.self_attn.q_proj"
    assert {key for key in keys if key.startswith(path)} == {
        f"{path}.router.phi",
        f"{path}.router.scale",
        f"{path}.experts.A",
        f"{path}.experts.B",
    }
    assert len(keys) == 4 * len(adapter.sites)


def test_half_precision_files_load(tmp_path):
    adapter = tiny_adapter()
    folder = save(adapter, tmp_path, {}, dtype=torch.bfloat16)
    assert {t.dtype for t in load_file(folder / WEIGHTS_NAME).values()} == {torch.bfloat16}
    fresh = tiny_adapter(trained=False, seed=9)
    load_weights(fresh, folder)
    for (_, a), (_, b) in zip(adapter.named_parameters(), fresh.named_parameters(), strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(b, a.to(torch.bfloat16).float())


def test_the_first_mismatch_is_named_and_nothing_is_filled(saved):
    _, folder = saved
    wider = tiny_adapter(SmolaConfig(num_experts=3, rank=4), trained=False)
    before = [p.detach().clone() for p in wider.parameters()]
    name = r"base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.experts\.A"
    needed = rf"tensor {name} has shape \(3, 3, 2, 32\), this mixture needs \(3, 3, 4, 32\)"
    with pytest.raises(AdapterError, match=needed):
        load_weights(wider, folder)
    assert all(torch.equal(p, q) for p, q in zip(wider.parameters(), before, strict=True))


LAST = "base_model.model.model.layers.2.mlp.down_proj.experts.B"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_numbers_are_refused_and_nothing_is_filled(saved, value: float):
    _, folder = saved
    rewrite(folder, lambda tensors: tensors[LAST].view(-1)[3].fill_(value))
    fresh = tiny_adapter(trained=False)
    with pytest.raises(AdapterError, match=rf"{LAST} holds NaN or infinity"):
        load_weights(fresh, folder)
    assert not fresh.is_trained()


def test_absent_and_unknown_tensors_are_named(saved):
    _, folder = saved
    rewrite(folder, lambda tensors: tensors.pop(LAST))
    with pytest.raises(AdapterError, match=f"lacks tensor {LAST}: it was made for another model or mixture"):
        load_weights(tiny_adapter(), folder)
    rewrite(folder, lambda tensors: tensors.update({LAST: torch.zeros(1), "more": torch.zeros(1)}))
    with pytest.raises(AdapterError, match="has an unknown tensor more"):
        load_weights(tiny_adapter(), folder)


def test_a_weights_file_that_is_none(saved):
    _, folder = saved
    whole = (folder / WEIGHTS_NAME).read_bytes()
    for damaged in (b"", b"no tensors here", whole[: len(whole) // 2]):
        (folder / WEIGHTS_NAME).write_bytes(damaged)
        with pytest.raises(AdapterError, match="no readable safetensors file"):
            load_weights(tiny_adapter(), folder)
    (folder / WEIGHTS_NAME).unlink()
    with pytest.raises(AdapterError, match=f"no experts at .*: {WEIGHTS_NAME} is missing"):
        load_weights(tiny_adapter(), folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"peft_type": "LORA", "r": 8}', "describes a LORA adapter, not OMNI_SMOLA"),
        ("[]", "describes a list adapter, not OMNI_SMOLA"),
        ("{}", "describes a None adapter"),
        ('{"peft_type": ', "is not valid JSON"),
        ('{"peft_type": "OMNI_SMOLA", "num_experts": "many"}', "no usable mixture: num_experts must be"),
        ('{"peft_type": "OMNI_SMOLA", "groups": ["audio"]}', "no usable mixture: groups must be"),
    ],
)
def test_a_config_of_another_kind_is_refused(saved, text: str, message: str):
    _, folder = saved
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(AdapterError, match=message):
        read_config(folder)


def test_a_config_in_no_encoding_is_refused(saved):
    _, folder = saved
    (folder / CONFIG_NAME).write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(AdapterError, match="is not valid JSON"):
        read_config(folder)


def test_no_folder_is_said_plainly(tmp_path):
    with pytest.raises(AdapterError, match=f"no experts at .*nowhere: {CONFIG_NAME} is missing"):
        read_config(tmp_path / "nowhere")


def test_saving_again_replaces_whole_files(saved):
    adapter, folder = saved
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(1)
    save(adapter, folder, {"steps": 8})
    fresh = tiny_adapter(trained=False)
    load_weights(fresh, folder)
    assert all(torch.equal(a, b) for a, b in zip(adapter.parameters(), fresh.parameters(), strict=True))
    assert read_config(folder)[1]["steps"] == 8
