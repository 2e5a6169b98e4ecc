"""What every family must do, each as one check on a tiny model: the tests run them, the table lists them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from bitsandbytes.nn import Linear4bit
from family_pictures import overlay, shapes
from peft import LoraConfig, inject_adapter_in_model
from tiny_vlm import CONFIG, experts_on, noise, tiny_folder, tiny_models, tiny_vlm
from torch import nn

from smola_demo.ablation import AblationSpec
from smola_demo.adapter_files import load_weights, save
from smola_demo.backbone import load_backbone
from smola_demo.backbone.base import VISUAL
from smola_demo.config import SmolaConfig
from smola_demo.context import TokenContext
from smola_demo.engine import Engine
from smola_demo.generation import generate
from smola_demo.losses import AnswerLoss
from smola_demo.results import Answer, Request, Step, Sweep
from smola_demo.scoring import score

NEW_TOKENS = 5
PLAIN = AblationSpec()


def request(name: str, **values) -> Request:
    return Request(noise(tiny_models()[name].size), "vqa", "What is it?", max_new_tokens=NEW_TOKENS, **values)


def engine_of(backbone, adapter) -> Engine:
    return Engine(backbone, adapter, "tiny-experts", {"steps": 3}, 0.5)


def answer_of(engine: Engine, asked: Request) -> Answer:
    *_, last = engine.answer(asked)
    return last


def three_rows(name: str, backbone):
    """Rows of different lengths: a picture of another shape, a long question, no picture at all."""
    width, height = tiny_models()[name].size
    return [
        backbone.encode(noise((height, width * 2), 1), backbone.prompt("caption"), "A red cat."),
        backbone.encode(noise((width, height)), backbone.prompt("vqa", "What is it, and where?"), "no"),
        backbone.encode(None, "Hello"),
    ]


def load_nf4(name: str) -> None:
    """4-bit are all linears of the language model's layers, and no other."""
    backbone = tiny_vlm(name)
    packed = {path for path, module in backbone.model.named_modules() if isinstance(module, Linear4bit)}
    linears = {path for path, module in backbone.model.named_modules() if isinstance(module, nn.Linear)}
    inside = {path for path in linears if path.startswith(f"{backbone.decoder_path}.layers.")}
    leaves = [leaf for _, leaf in backbone.target_linears(("q_proj", "down_proj")).values()]
    assert packed == inside
    assert linears - inside, "a vision tower has linears too"
    assert leaves.count("q_proj") == leaves.count("down_proj") == backbone.num_layers == 2
    assert backbone.memory_mb > 0
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def ask(name: str) -> None:
    """The answer's log-probs are those of one full pass over prompt and answer: decoding changes nothing."""
    backbone = tiny_vlm(name)
    asked = request(name)
    row = backbone.encode(asked.image, backbone.prompt("vqa", asked.question))
    with experts_on(backbone) as adapter:
        answer = answer_of(engine_of(backbone, adapter), asked)
        (generated,) = generate(backbone, adapter, [row], [PLAIN], NEW_TOKENS).rows
        ((scored,), _) = score(backbone, adapter, [row.answered(generated.ids)], [PLAIN])
    assert tuple(token.id for token in answer.tokens) == generated.ids
    assert scored.greedy
    np.testing.assert_allclose(scored.logprobs, generated.logprobs, atol=1e-4)
    bare = answer_of(engine_of(backbone, None), asked)
    assert bare.logprob != answer.logprob, "these experts matter"


def stream(name: str) -> None:
    """Every token comes as a step, then the answer."""
    backbone = tiny_vlm(name)
    with experts_on(backbone) as adapter:
        *steps, answer = engine_of(backbone, adapter).answer(request(name))
    assert all(isinstance(step, Step) for step in steps)
    assert tuple(step.token for step in steps) == answer.tokens
    assert steps[-1].text == answer.text


def untrained(name: str) -> None:
    """Untrained experts leave every bit of the scores as it was."""
    backbone = tiny_vlm(name)
    batch = backbone.collate(three_rows(name, backbone))
    with torch.no_grad():
        bare = backbone.model(**batch.inputs).logits
        with experts_on(backbone, strength=0.0):
            attached = backbone.model(**batch.inputs).logits
        assert torch.equal(backbone.model(**batch.inputs).logits, bare), "detached is restored"
    assert torch.equal(attached, bare)


def capture(name: str) -> None:
    """Weights cover every token and sum to 1 where a group serves; boxes go with visual tokens."""
    backbone = tiny_vlm(name)
    with experts_on(backbone) as adapter:
        answer = answer_of(engine_of(backbone, adapter), request(name))
    trace = answer.trace
    row = backbone.encode(request(name).image, backbone.prompt("vqa", "What is it?"))
    assert len(trace.tokens) == len(row.input_ids) + len(answer.tokens) - 1
    visual = trace.modality == VISUAL
    assert visual[: len(row.input_ids)].tolist() == (row.input_ids == backbone.image_token_id).tolist()
    np.testing.assert_array_equal(trace.boxes, backbone.patch_boxes(row))
    total = trace.weight.sum(-1)
    for g, group in enumerate(trace.groups):
        served = {"visual": visual, "text": ~visual, "multimodal": visual | True}[group]
        np.testing.assert_allclose(total[g][..., served], 1, atol=1e-5)
        np.testing.assert_array_equal(total[g][..., ~served], 0)


def ablate(name: str) -> None:
    """All experts out is the bare model, to the last bit; one out is not."""
    backbone = tiny_vlm(name)
    bare = answer_of(engine_of(backbone, None), request(name))
    with experts_on(backbone) as adapter:
        engine = engine_of(backbone, adapter)
        none = answer_of(engine, request(name, ablation="text:*;visual:*;multimodal:*"))
        one = answer_of(engine, request(name, ablation="multimodal:1"))
        *_, comparison = engine.compare(request(name, ablation="visual:*"))
        full = answer_of(engine, request(name))
    assert none.tokens == bare.tokens
    assert one.logprob != full.logprob
    assert comparison.baseline.tokens == full.tokens
    assert comparison.delta_logprob != 0


def sweep(name: str) -> None:
    """Removals side by side have the effects, and the answers, that they have alone."""
    backbone = tiny_vlm(name)
    with experts_on(backbone) as adapter:
        engine = engine_of(backbone, adapter)
        *_, found = engine.sweep(request(name))
        *_, alone = engine.compare(request(name, ablation="visual:1"))
        specs = [PLAIN, AblationSpec.parse("visual:0"), AblationSpec.parse("mean!text:*")]
        row = backbone.encode(noise(tiny_models()[name].size), backbone.prompt("vqa", "What is it?"))
        alone_rows = [generate(backbone, adapter, [row], [spec], NEW_TOKENS).rows[0] for spec in specs]
        ids = list(alone_rows[0].ids)
        words = backbone.encode(None, "red cat no").input_ids.tolist()
        ids[1] = next(word for word in words if word != ids[1])  # so that all go on by themselves
        other = row.answered(ids)
        scored, _ = score(backbone, adapter, [other] * 3, specs, max_new_tokens=NEW_TOKENS)
    assert isinstance(found, Sweep)
    assert [row.own for row in scored] == [row.ids for row in alone_rows]
    assert len(found.effects) == len(CONFIG.groups) * CONFIG.num_experts
    (same,) = [effect for effect in found.effects if (effect.group, effect.expert) == ("visual", 1)]
    np.testing.assert_allclose(same.delta_logprob, alone.delta_logprob, atol=1e-4)


def order(name: str) -> None:
    """Later tokens reach earlier ones only inside a prompt that attends both ways; an answer's never do."""
    backbone = tiny_vlm(name)
    row = three_rows(name, backbone)[1]
    with experts_on(backbone) as adapter, torch.no_grad():
        full = scores_of(backbone, adapter, backbone.collate([row]))[0]
        for at, reaches in ((row.answer_start - 1, backbone.bidirectional_prompt), (row.answer_start, False)):
            ids = row.input_ids.clone()
            ids[at] = 20
            other = scores_of(backbone, adapter, backbone.collate([replace(row, input_ids=ids)]))[0]
            assert torch.allclose(other[:at], full[:at], atol=1e-5) is not reaches
            assert not torch.allclose(other[at:], full[at:], atol=1e-3)


def batch(name: str) -> None:
    """Batch-mates and padding, left or right, leave a row's answer and scores as they are alone."""
    backbone = tiny_vlm(name)
    rows = three_rows(name, backbone)
    asked = [
        replace(row, input_ids=row.input_ids[: row.answer_start], modality=row.modality[: row.answer_start])
        for row in rows
    ]
    with experts_on(backbone) as adapter:
        together = generate(backbone, adapter, asked, [PLAIN] * 3, NEW_TOKENS).rows
        for row, found in zip(asked, together, strict=True):
            (alone,) = generate(backbone, adapter, [row], [PLAIN], NEW_TOKENS).rows
            assert found.ids == alone.ids
            np.testing.assert_allclose(found.logprobs, alone.logprobs, atol=1e-4)
        with torch.no_grad():
            for side in ("left", "right"):
                padded = backbone.collate(rows, side)
                scores = scores_of(backbone, adapter, padded)
                for i, row in enumerate(rows):
                    kept = scores[i][padded.inputs["attention_mask"][i] == 1]
                    alone = scores_of(backbone, adapter, backbone.collate([row]))[0]
                    torch.testing.assert_close(kept, alone, rtol=1e-3, atol=1e-3)


def scores_of(backbone, adapter, batch):
    with adapter.context(TokenContext(batch.modality, batch.is_answer)):
        return backbone.model(**batch.inputs).logits


def train_step(name: str) -> None:
    """A step makes the loss smaller, changes experts and leaves every weight of the model alone."""
    backbone = tiny_vlm(name)
    rows = three_rows(name, backbone)[:2]
    batch = backbone.collate(rows, side="right")
    frozen = [parameter.clone() for parameter in backbone.model.parameters()]
    with experts_on(backbone) as adapter:
        own = dict(adapter.named_parameters())
        before = {key: value.detach().clone() for key, value in own.items()}
        for parameter in own.values():
            parameter.requires_grad_(True)
        loss = AnswerLoss(backbone, adapter)
        first = loss(batch)
        np.testing.assert_allclose(float(first.detach()), reference_loss(backbone, adapter, rows), rtol=1e-4)
        first.backward()
        torch.optim.SGD(own.values(), lr=0.01).step()
        assert float(loss(batch).detach()) < float(first.detach())
        unmoved = [key for key, value in own.items() if torch.equal(value, before[key])]
        assert not unmoved
    assert all(torch.equal(a, b) for a, b in zip(frozen, backbone.model.parameters(), strict=True))


def reference_loss(backbone, adapter, rows) -> float:
    """Each answer alone by the model's own loss; an answer of n tokens weighs √n."""
    total = weight = 0.0
    for row in rows:
        one = backbone.collate([row])
        with adapter.context(TokenContext(one.modality, one.is_answer)), torch.no_grad():
            mean = backbone.model(**one.inputs, labels=one.labels).loss
        n = len(row.input_ids) - row.answer_start
        total, weight = total + float(mean) * n**0.5, weight + n**0.5
    return total / weight


def save_load(name: str) -> None:
    """Experts written and read again answer the same, on the model loaded anew."""
    backbone = tiny_vlm(name)
    with tempfile.TemporaryDirectory() as folder:
        with experts_on(backbone) as adapter:
            facts = {"base_model_name_or_path": backbone.id, "revision": backbone.revision}
            save(adapter, folder, facts)
            answer = answer_of(engine_of(backbone, adapter), request(name))
        engine = Engine.load(str(tiny_folder(name)), folder, "nf4", "cpu")
        again = answer_of(engine, request(name))
        assert engine.info().experts_state == "trained"
        engine.adapter.detach()
        with experts_on(engine.backbone, strength=0.0) as adapter:
            load_weights(adapter, folder)
            once_more = answer_of(engine_of(engine.backbone, adapter), request(name))
    assert again.tokens == answer.tokens == once_more.tokens


def peft(name: str) -> None:
    """One expert of the group that serves every token is a LoRA: PEFT's gives the same scores."""
    backbone = tiny_vlm(name, "fp32")
    batch = backbone.collate(three_rows(name, backbone))
    config = SmolaConfig(
        groups=("multimodal",), num_experts=1, rank=2, target_modules=("q_proj", "down_proj")
    )
    with torch.no_grad(), experts_on(backbone, config) as adapter:
        ours = scores_of(backbone, adapter, batch)
        factors = {site.path: site.linear.mixture.experts for site in adapter.sites}
        factors = {path: (own.A.clone(), own.B.clone()) for path, own in factors.items()}
        with adapter.disabled():
            bare = backbone.model(**batch.inputs).logits
    other = load_backbone(str(tiny_folder(name)), "fp32", "cpu")
    lora = LoraConfig(r=2, lora_alpha=2, target_modules=sorted(factors), lora_dropout=0.0)
    model = inject_adapter_in_model(lora, other.model).eval()
    with torch.no_grad():
        for path, (a, b) in factors.items():
            layer = model.get_submodule(path)
            layer.lora_A["default"].weight.copy_(a.view(2, -1))
            layer.lora_B["default"].weight.copy_(b.view(-1, 2))
        theirs = model(**batch.inputs).logits
    real = batch.inputs["attention_mask"] == 1
    torch.testing.assert_close(ours[real], theirs[real], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours[real], bare[real], atol=1e-2)


CHECKS: dict[str, Callable[[str], None]] = {
    "load NF4": load_nf4,
    "ask": ask,
    "stream": stream,
    "capture": capture,
    "overlay": overlay,
    "shapes": shapes,
    "ablate": ablate,
    "sweep": sweep,
    "batch": batch,
    "order": order,
    "untrained": untrained,
    "train step": train_step,
    "save/load": save_load,
    "as PEFT": peft,
}
