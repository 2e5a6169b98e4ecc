"""What a model is said to take before it is loaded, against what it takes."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
import torch
import torch.nn.functional as F
from live_bytes import LiveBytes
from tiny_families import FAMILIES, modality_of, row, tiny_config, tiny_family, with_experts
from transformers import AutoModelForImageTextToText, PretrainedConfig

from smola_demo import fit_report
from smola_demo.__main__ import main
from smola_demo.backbone import BackboneError, load_backbone
from smola_demo.backbone.base import weight_bytes
from smola_demo.backbone.counts import FitError, count
from smola_demo.backbone.fit import (
    MARGIN,
    choose_fit,
    config_of,
    free_bytes,
    known_counts,
    known_models,
    plans,
)
from smola_demo.backbone.footprint import CONTEXT, estimate
from smola_demo.backbone.quantization import Plan, PrecisionError, config_for
from smola_demo.config import SmolaConfig
from smola_demo.context import TokenContext

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PROMPT, ANSWER = 200, 96
EXACT = Plan("fp32", CPU)
ROOT = Path(__file__).resolve().parents[1]


def near(predicted, measured, tolerance):
    assert predicted == pytest.approx(measured, rel=tolerance), f"{predicted / measured:.3f} of what it takes"


def a_picture(family, counts):
    """A size that keeps the tests quick."""
    return counts.pictures[3 if family == "qwen2_5_vl" else 0]


def cache_bytes(output):
    return sum(t.nbytes for layer in output.past_key_values.layers for t in (layer.keys, layer.values))


@pytest.mark.parametrize("model", known_models(), ids=lambda model: model.name)
def test_known_models_have_the_published_number_of_parameters(model):
    assert known_counts(model.name).parameters == model.parameters
    assert model.name == "embedded" or "/" in model.id


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_of_the_loaded_model(family, tmp_path):
    """As transformers loads them, quantized through our configuration; names decide what is quantized."""
    model, counts = tiny_family(family), count(tiny_config(family))
    picture = counts.pictures[0]
    near(estimate(counts, EXACT, picture).weights, weight_bytes(model), 0.001)
    half = Plan("bf16", CUDA)
    model.save_pretrained(tmp_path)
    near(estimate(counts, half, picture).weights, weight_bytes(model.to(torch.bfloat16)), 0.001)
    decoder = next(name for name, part in model.named_modules() if part is model.get_decoder())
    outside = [f"model.{name}" for name, _ in model.model.named_children() if f"model.{name}" != decoder]
    for precision in ("nf4", "int8"):
        config = config_for(precision, CPU)
        config.llm_int8_skip_modules = [*outside, "lm_head"]
        loaded = AutoModelForImageTextToText.from_pretrained(
            tmp_path, dtype=torch.float32, device_map={"": CPU}, quantization_config=config
        )
        packed = [m for m in loaded.modules() if type(m).__name__ in ("Linear4bit", "Linear8bitLt")]
        shapes = [(m.out_features, m.in_features) for m in packed]
        assert sorted(shapes) == sorted(counts.linears.shapes)
        near(estimate(counts, Plan(precision, CPU), picture).weights, weight_bytes(loaded), 0.001)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_is_that_of_a_real_prompt(family):
    model, counts = tiny_family(family), count(tiny_config(family))
    picture = a_picture(family, counts)
    output = model(**row(family, picture, PROMPT), use_cache=True)
    told = estimate(counts, EXACT, picture, prompt_tokens=PROMPT, answer_tokens=0)
    assert told.cache == cache_bytes(output)


@pytest.mark.parametrize(
    "smola", [SmolaConfig(), SmolaConfig(routing="prefix", num_slots=2, shared_router=True, layers=(1, 3))]
)
def test_experts_and_their_training_state_are_counted_exactly(smola):
    model, counts = tiny_family("llava"), count(tiny_config("llava"), smola)
    told = estimate(counts, EXACT, counts.pictures[0])
    parameters = list(with_experts(model, smola).parameters())
    assert told.adapter == sum(p.nbytes for p in parameters)
    optimizer = torch.optim.AdamW(parameters)
    for p in parameters:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert told.gradients == sum(p.grad.nbytes for p in parameters)
    assert told.optimizer == sum(t.nbytes for state in optimizer.state.values() for t in state.values())


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_of_a_prompt_are_about_what_is_alive(family, dtype):
    """The second prompt: the first one makes the fused matrices, which stay."""
    model, counts = tiny_family(family).to(dtype), count(tiny_config(family))
    adapter, picture = with_experts(model, SmolaConfig()), a_picture(family, counts)
    inputs = row(family, picture, PROMPT, dtype)
    model(**inputs, logits_to_keep=1)
    fused = [site.linear.mixture._inward[1] for site in adapter.sites]
    with LiveBytes(model, inputs.values(), fused) as live:
        output = model(**inputs, logits_to_keep=1, use_cache=True)
    told = estimate(counts, Plan("fp32" if dtype == torch.float32 else "bf16", CUDA), picture, 1, PROMPT)
    assert told.fused == sum(t.nbytes for t in fused)
    near(told.activations, live.peak - cache_bytes(output), 0.3)


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_of_a_training_step_are_about_what_is_alive(family, checkpointing):
    model, counts = tiny_family(family).to(torch.bfloat16), count(tiny_config(family))
    adapter, picture = with_experts(model, SmolaConfig()), a_picture(family, counts)
    for parameter in adapter.parameters():
        parameter.requires_grad_(True)
    model.train()
    if checkpointing:
        model.activation_checkpointing_enable()
    inputs = row(family, picture, PROMPT + ANSWER, torch.bfloat16)
    ids = inputs["input_ids"]
    facts = TokenContext(modality_of(ids), torch.zeros_like(ids, dtype=torch.bool))
    with LiveBytes(model, inputs.values()) as live, adapter.context(facts):
        hidden = model.model(**inputs, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[0, -ANSWER - 1 : -1])
        F.cross_entropy(logits.float(), ids[0, -ANSWER:]).backward()
    gradients = sum(p.grad.nbytes for p in adapter.parameters())
    told = estimate(
        counts, Plan("bf16", CUDA), picture, 1, PROMPT, answer_tokens=ANSWER, checkpointing=checkpointing
    )
    near(told.backward, live.peak - gradients, 0.3)


@pytest.mark.parametrize("training", [False, True])
def test_more_memory_never_means_less(training):
    seen = []
    for free in range(4 * 10**9, 25 * 10**9, 4 * 10**9):
        fit = choose_fit(known_counts("SmolVLM2-2.2B"), free, plans(CUDA, "nf4"), training)
        assert fit.total == fit.estimate.total(training)
        assert fit.total * (1 + MARGIN) <= free
        seen.append(fit.picture.tokens)
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]


def test_the_best_precision_with_enough_of_a_picture_wins():
    counts = known_counts("SmolVLM2-2.2B")
    by_card = {card: choose_fit(counts, card * 10**9, plans(CUDA, "best")) for card in (4, 6, 8)}
    assert [fit.plan.precision for fit in by_card.values()] == ["nf4", "int8", "bf16"]
    assert [fit.picture.tokens for fit in by_card.values()] == [810, 1377, 1377]
    assert "larger pictures, up to 1536 × 1536, would not" in by_card[4].sentence
    here = choose_fit(counts, 16 * 10**9, plans(CPU), name="it")
    assert (here.plan, here.estimate.context) == (Plan("nf4", CPU, dequantize=True), 0)
    assert here.sentence.startswith("it fits for answering: NF4 weights, computed in fp32, pictures of 1536")
    assert choose_fit(counts, 8 * 10**9, plans(CPU)).plan == Plan("nf4", CPU)


@pytest.mark.parametrize(
    ("name", "gigabytes", "precision", "message"),
    [
        (
            "Gemma-3-4B",
            4,
            "auto",
            r"GB more than the 4.0 GB free: choose HuggingFaceTB/SmolVLM2-2.2B-Instruct in nf4",
        ),
        ("LLaVA-1.5-7B", 8, "bf16", r"with bfloat16 and pictures of 336 × 336 .*: choose nf4"),
        ("embedded", 0.1, "auto", "no smaller model that we know fits: free some memory"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, gigabytes, precision, message):
    with pytest.raises(FitError, match=message):
        choose_fit(known_counts(name), round(gigabytes * 1e9), plans(CUDA, precision), name=name)
    assert issubclass(FitError, BackboneError)


def test_training_says_whether_it_needs_checkpointing():
    counts = known_counts("Qwen3-VL-4B")
    tried = plans(CUDA, "nf4")
    told = {card: choose_fit(counts, card * 10**9, tried, True, "it").sentence for card in (8, 48)}
    assert told[8].startswith("it fits for training experts with gradient_checkpointing: 4-bit NF4")
    assert told[48].startswith("it fits for training experts with or without gradient_checkpointing: 4-bit")


def test_what_cannot_be_counted_says_so(tmp_path):
    with pytest.raises(FitError, match="no config of 'nobody/nothing' is to be had: name a folder"):
        config_of("nobody/nothing")
    tiny_config("llava").text_config.save_pretrained(tmp_path)
    with pytest.raises(FitError, match="'llama' is no vision-language model"):
        count(config_of(str(tmp_path)))
    strange = PretrainedConfig(vision_config=PretrainedConfig())
    with pytest.raises(FitError, match="no model class is known for ''"):
        count(strange)
    with pytest.raises(PrecisionError, match="no precision 'fp8'"):
        plans(CUDA, "fp8")


def test_free_memory_of_a_gpu_counts_what_torch_keeps_for_later(monkeypatch):
    """No GPU here: the sum is what can be shown."""
    told = {"mem_get_info": (5e9, 9e9), "memory_reserved": 3e9, "memory_allocated": 1e9}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, value=value: value)
    assert free_bytes(CUDA) == 5e9 + 2e9 + CONTEXT


def test_free_memory_of_a_cpu_is_some_of_it():
    assert 0 < free_bytes(CPU) <= psutil.virtual_memory().total


def test_the_command_counts_a_folder_and_prints_one_object(tmp_path, capsys):
    tiny_config("idefics3").save_pretrained(tmp_path)
    assert main(["fit", str(tmp_path), "--memory", "2GB", "--train", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["precision"], told["training"], told["free"]) == ("bf16", True, 2_000_000_000)
    assert told["total"] == told["bytes"]["training"] > told["bytes"]["weights"] > 0
    assert main(["fit", "Gemma-3-4B", "--memory", "500 mb"]) == 1
    assert "Gemma-3-4B does not fit" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", "--memory", "much"])


def test_the_committed_tables_are_the_rendered_ones(capsys):
    assert main(["fit", "--table"]) == 0
    tables = capsys.readouterr().out.strip()
    assert tables in (ROOT / "docs" / "fit.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert fit_report.cards() in readme


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "dequantize"), [("nf4", False), ("nf4", True), ("fp32", None), ("bf16", None)]
)
def test_the_embedded_model_takes_what_is_said(precision, dequantize, record_property):
    counts = known_counts("embedded")
    process = psutil.Process()
    before = process.memory_info().rss
    backbone = load_backbone(precision=precision, device="cpu", dequantize=dequantize)
    grown = process.memory_info().rss - before
    told = estimate(counts, Plan(precision, CPU, bool(dequantize)), counts.pictures[0]).weights
    record_property("rss_growth", grown)
    print(f"{backbone.compute}: weights {told:,} bytes, process grew by {grown:,}")
    near(told, weight_bytes(backbone.model), 0.02)


@pytest.mark.gpu
@torch.no_grad()
def test_a_gpu_takes_about_what_is_said():
    counts = count(tiny_config("llava"))
    picture = counts.pictures[0]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    model = tiny_family("llava").to(CUDA, torch.bfloat16)
    weights = torch.cuda.memory_allocated() - before
    told = estimate(counts, Plan("bf16", CUDA), picture, 64, PROMPT)
    near(told.weights, weights, 0.1)
    inputs = {
        name: value.to(CUDA).repeat_interleave(64, 0) for name, value in row("llava", picture, PROMPT).items()
    }
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    with_experts(model, SmolaConfig())
    output = model(**inputs, logits_to_keep=1, use_cache=True)
    peak = torch.cuda.max_memory_allocated() - before
    near(told.asking - told.context, peak, 0.3)
    assert output.logits.shape[0] == 64
    assert 0 < free_bytes(CUDA) < torch.cuda.mem_get_info()[1]
