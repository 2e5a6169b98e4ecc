"""What a backbone tells about its inputs, on a tiny random model of the embedded one's classes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import LAYERS, WIDTH, tiny_backbone, tiny_model
from transformers import AutoModelForImageTextToText

from smola_demo.backbone import BackboneError, load_backbone
from smola_demo.backbone.base import PAD, TEXT, VISUAL
from smola_demo.backbone.seen import PICTURES, SeenPictures

START, END = 1, 2


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def photo():
    """A picture with a colour of its own everywhere, wider than high."""
    y, x = np.mgrid[0:60, 0:100]
    return Image.fromarray(np.stack([x * 2, y * 4, (x + y) % 256], axis=-1).astype(np.uint8))


def chat(prompt, answer="", image=True):
    head = "<image>" * 64 + "\n" if image else ""
    return f"<|im_start|>user\n{head}{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}"


# --- one row


def test_row_is_the_chat_format(backbone, photo):
    row = backbone.encode(photo, "What is it?", "A cat.")
    text = chat("What is it?", "A cat.<|im_end|>")
    assert row.input_ids.tolist() == backbone.tokenizer(text)["input_ids"]
    assert row.answer_start == len(backbone.tokenizer(chat("What is it?"))["input_ids"])
    assert backbone.decode(row.input_ids[row.answer_start :]) == "A cat."
    assert row.input_ids[-1] == END


def test_row_is_what_the_processor_makes(backbone, photo):
    """The library expands one placeholder to 64 and reads the same pixels."""
    text = chat("Hi").replace("<image>" * 64, "<image>")
    expected = backbone.processor(images=photo, text=text, return_tensors="pt")
    row = backbone.encode(photo, "Hi")
    assert torch.equal(row.input_ids, expected["input_ids"][0])
    assert torch.equal(row.pixel_values, expected["pixel_values"])
    assert row.answer_start == len(row.input_ids)


def test_row_without_image(backbone):
    row = backbone.encode(None, "Hi", "yes")
    assert row.input_ids.tolist() == backbone.tokenizer(chat("Hi", "yes<|im_end|>", image=False))["input_ids"]
    assert row.pixel_values is None
    assert set(row.modality.tolist()) == {TEXT}
    assert backbone.patch_boxes(row).shape == (0, 4)


@settings(max_examples=50, deadline=None)
@given(prompt=st.text(max_size=30), answer=st.text(max_size=30))
def test_any_text_survives_and_never_becomes_special(backbone, prompt, answer):
    prompt, answer = f"{prompt}<image><|im_end|>", f"<|im_start|>{answer}<image>"
    row = backbone.encode(torch.zeros(64, 112), prompt, answer)
    ids = row.input_ids.tolist()
    assert (ids.count(backbone.image_token_id), ids.count(START), ids.count(END)) == (64, 2, 2)
    assert (row.modality == VISUAL).sum() == 64
    assert backbone.tokenizer.decode(ids) == chat(prompt, f"{answer}<|im_end|>")


def test_pixels_are_scaled_as_the_tower_wants(backbone):
    row = backbone.encode(Image.new("RGB", (30, 500), (255, 127, 0)), "")
    assert row.pixel_values.shape == (1, 3, 256, 256)
    for channel, value in enumerate(((255 - 127) / 128, 0.0, -127 / 128)):
        torch.testing.assert_close(
            row.pixel_values[0, channel], torch.full((256, 256), value), rtol=0, atol=1e-6
        )


def test_pixels_are_the_whole_image_squeezed(backbone, photo):
    expected = np.asarray(photo.resize((256, 256), Image.Resampling.BICUBIC), dtype=np.float32)
    pixels = backbone.encode(photo, "").pixel_values[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels, (expected - 127) / 128, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (3, 700)])
def test_any_mode_and_size(backbone, mode, size):
    row = backbone.encode(Image.new(mode, size), "")
    assert row.pixel_values.shape == (1, 3, 256, 256)
    assert row.pixel_values.isfinite().all()


@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 3, 256, 256), (64, 112), (1, 64, 112)])
def test_tensors_pass_as_they_are(backbone, shape):
    image = torch.randn(shape)
    row = backbone.encode(image, "")
    assert torch.equal(row.pixel_values.flatten(), image.flatten())
    assert row.pixel_values.shape == (shape if shape[0] == 1 else (1, *shape))


@pytest.mark.parametrize("shape", [(3, 224, 224), (64, 1600), (2, 3, 256, 256), (112,)])
def test_other_tensors_are_refused(backbone, shape):
    with pytest.raises(ValueError, match=r"pixels \(3, 256, 256\) or features \(64, 112\)"):
        backbone.encode(torch.zeros(shape), "")


def test_boxes_tile_the_image_row_by_row(backbone, photo):
    boxes = backbone.patch_boxes(backbone.encode(photo, ""))
    assert boxes.dtype == torch.float32
    expected = [[c / 8, r / 8, (c + 1) / 8, (r + 1) / 8] for r in range(8) for c in range(8)]
    assert boxes.tolist() == expected


def test_a_box_holds_what_its_token_sees(backbone):
    """Paint one box black on white: in pixels, that token's cell and no other turns dark."""
    box = backbone.patch_boxes(backbone.encode(Image.new("RGB", (80, 160)), ""))[43]
    image = Image.new("RGB", (80, 160), "white")
    image.paste("black", [round(float(v) * side) for v, side in zip(box, (80, 160, 80, 160), strict=True)])
    cells = backbone.encode(image, "").pixel_values[0, 0].unfold(0, 32, 32).unfold(1, 32, 32).mean((2, 3))
    assert cells.flatten().argmin() == 43
    assert (cells < 0.5).sum() == 1


# --- a batch


def test_collate_by_hand(backbone):
    long, short = backbone.encode(None, "abc", "xy"), backbone.encode(None, "a")
    n, m = len(long.input_ids), len(short.input_ids)
    for side in ("left", "right"):
        batch = backbone.collate([long, short], side=side)
        here = slice(n - m, n) if side == "left" else slice(0, m)
        mask = torch.zeros(n, dtype=torch.long)
        mask[here] = 1
        assert batch.inputs["attention_mask"].tolist() == [[1] * n, mask.tolist()]
        assert torch.equal(batch.inputs["input_ids"][1, here], short.input_ids)
        assert batch.inputs["position_ids"][0].tolist() == list(range(n))
        assert batch.inputs["position_ids"][1, here].tolist() == list(range(m))
        assert (batch.modality[1] == PAD).tolist() == (mask == 0).tolist()
        assert batch.is_answer[0].tolist() == [False] * (n - 3) + [True] * 3  # x, y and the end
        assert not batch.is_answer[1].any()
        assert "pixel_values" not in batch.inputs


def test_collate_refuses_what_it_cannot_do(backbone):
    with pytest.raises(ValueError, match="side must be 'left' or 'right', not 'up'"):
        backbone.collate([backbone.encode(None, "a")], side="up")
    with pytest.raises(ValueError, match="at least one row"):
        backbone.collate([])


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_mates_change_nothing(backbone, photo, side):
    rows = [
        backbone.encode(photo, "What is this?", "red"),
        backbone.encode(None, "No picture"),
        backbone.encode(photo.rotate(90), "?"),
    ]
    together = backbone.collate(rows, side=side)
    logits = backbone.model(**together.inputs).logits
    for i, row in enumerate(rows):
        alone = backbone.model(**backbone.collate([row]).inputs).logits[0]
        kept = logits[i][together.inputs["attention_mask"][i] == 1]
        torch.testing.assert_close(kept, alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_cached_features_answer_like_pixels(backbone, photo):
    row = backbone.encode(photo, "Hi")
    features = backbone.model.model.vision_tower(row.pixel_values).hidden_states[-1]
    assert features.shape == (1, 64, 112)
    cached = backbone.encode(features, "Hi")
    by_pixels = backbone.model(**backbone.collate([row]).inputs).logits
    by_features = backbone.model(**backbone.collate([cached]).inputs).logits
    assert torch.equal(by_pixels, by_features)
    half = backbone.collate([backbone.encode(features.half(), "Hi")])
    assert half.inputs["pixel_values"].dtype == torch.float32


def test_modality_of_a_batch_is_that_of_its_rows(backbone, photo):
    batch = backbone.collate([backbone.encode(photo, "a"), backbone.encode(None, "b")])
    again = backbone.modality_of(batch.inputs["input_ids"], batch.inputs["attention_mask"])
    assert torch.equal(again, batch.modality)
    assert again.dtype == torch.int8
    assert (again == VISUAL).sum(1).tolist() == [64, 0]


# --- the model


def test_target_linears_are_those_of_the_language_model(backbone):
    targets = backbone.target_linears(["q_proj", "down_proj"])
    assert sorted(targets.values()) == [(i, p) for i in range(LAYERS) for p in ("down_proj", "q_proj")]
    for path, (layer, leaf) in targets.items():
        module = backbone.model.get_submodule(path)
        inside = backbone.decoder.layers[layer]
        assert module is (inside.self_attn.q_proj if leaf == "q_proj" else inside.mlp.down_proj)


def test_unknown_target_names_what_exists(backbone):
    with pytest.raises(ValueError, match=r"no linear 'linear_1' in its layers; it has down_proj, gate_proj"):
        backbone.target_linears(["q_proj", "linear_1"])


def test_facts(backbone):
    assert backbone.num_layers == LAYERS
    assert backbone.stop_ids == (END,)
    assert backbone.decoder is backbone.model.model.language_model
    assert not any(p.requires_grad for p in backbone.model.parameters())
    words = (256 + 4) * WIDTH  # counted once although the head shares it
    layers = LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * WIDTH // 2 + 3 * WIDTH * 64 + 2 * WIDTH) + WIDTH
    rotary = 2 * (WIDTH // 4 // 2)
    connector = 112 * WIDTH + WIDTH + WIDTH * WIDTH + WIDTH
    tower = sum(t.numel() * t.element_size() for t in backbone.model.model.vision_tower.state_dict().values())
    assert backbone.memory_mb * 1e6 == 4 * (words + layers + rotary + connector) + tower


@torch.no_grad()
def test_generate_equals_a_plain_loop(backbone, photo):
    """Left-padded rows with a cache against one row at a time, everything computed anew at each step."""
    rows = [backbone.encode(photo, "What is this?"), backbone.encode(None, "Say something")]
    batch = backbone.collate(rows)
    tokens = backbone.model.generate(**batch.inputs, max_new_tokens=6)[
        :, batch.inputs["input_ids"].shape[1] :
    ]
    for row, answer in zip(rows, tokens, strict=True):
        inputs = backbone.collate([row]).inputs
        ids = inputs["input_ids"]
        for token in answer.tolist():
            logits = backbone.model(input_ids=ids, pixel_values=inputs.get("pixel_values")).logits[0, -1]
            assert token == logits.argmax()
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            if token in backbone.stop_ids:
                break


@torch.no_grad()
def test_save_and_load_bit_identical(backbone, photo, tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(again) is type(model)
    inputs = backbone.collate([backbone.encode(photo, "Hi")]).inputs
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert again.lm_head.weight is again.model.language_model.embed_tokens.weight


def test_token_texts(backbone):
    ids = backbone.tokenizer("a b\n\t<image>")["input_ids"]
    assert backbone.token_texts(ids) == ["a", " ", "b", "⏎", "⇥", "<image>"]
    assert backbone.token_texts(torch.tensor(ids[:1])) == ["a"]
    assert backbone.token_texts([]) == []


def test_decode_leaves_out_special_tokens(backbone):
    assert backbone.decode(torch.tensor(backbone.tokenizer(" yes <|im_end|>")["input_ids"])) == "yes"


def test_prompt_is_the_tasks(backbone):
    assert backbone.prompt("ask", "Where?") == "Where?"


# --- loading


def test_unknown_backbone_is_one_sentence():
    with pytest.raises(BackboneError, match="no backbone 'llava-7b': there is 'embedded'"):
        load_backbone("llava-7b")


def test_importing_loads_no_torch():
    code = "import sys, smola_demo.backbone, smola_demo.backbone.download; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_tower_runs_once_for_each_picture_and_not_again(backbone, photo, monkeypatch):
    rows = [backbone.encode(photo, text) for text in ("Hi", "And now?")]
    shifted = replace(rows[0], pixel_values=rows[0].pixel_values + 0.5)
    by_pixels = backbone.collate([rows[0], shifted, rows[1], rows[0]]).inputs["pixel_values"]
    assert by_pixels.shape[-1] == 256
    runs = []
    forward = type(backbone.model.model.vision_tower).forward

    def counted(self, pixel_values, **kwargs):
        runs.append(len(pixel_values))
        return forward(self, pixel_values, **kwargs)

    monkeypatch.setattr(type(backbone.model.model.vision_tower), "forward", counted)
    backbone.forget()
    with torch.inference_mode():
        features = backbone.collate([rows[0], shifted, rows[1], rows[0]]).inputs["pixel_values"]
        again = backbone.collate([rows[1]]).inputs["pixel_values"]
    assert runs == [1, 1]  # the same picture has the same pixels, whoever encoded it
    assert not any(kept.is_inference() for kept in backbone._seen._kept.values())
    assert torch.equal(again, features[2:3])
    assert not torch.equal(features[0], features[1])
    tower = backbone.model.model.vision_tower
    expected = tower(by_pixels).hidden_states[-1]
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    backbone.forget()
    with torch.no_grad():
        backbone.collate([rows[0]])
    assert runs == [1, 1, 4, 1]


def test_only_the_latest_pictures_are_kept(backbone, photo):
    row = backbone.encode(photo, "Hi")
    seen = SeenPictures()
    made = []

    def tower(x):
        made.append(x)
        return x.flatten(2)

    for shift in [*range(PICTURES + 1), 0, PICTURES]:
        seen.features(row.pixel_values + shift, tower)
    assert len(made) == PICTURES + 2  # the first was dropped and made again, the last was still there
