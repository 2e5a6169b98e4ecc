"""What only the Qwen models have: positions in three dimensions, grids of any shape, windows, older files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from family_checks import NEW_TOKENS, PLAIN, scores_of
from safetensors.torch import load_file, save_file
from tiny_vlm import experts_on, noise, tiny_folder, tiny_vlm

from smola_demo.backbone import BackboneError, load_backbone
from smola_demo.backbone.pictures import Picture
from smola_demo.data.images import ImageError
from smola_demo.generation import generate

NAMES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
each = pytest.mark.parametrize("name", NAMES)


def rows_of(backbone):
    """Rows whose positions fall behind their lengths by much, by less and not at all."""
    return [
        backbone.encode(noise((96, 112), 1), "What is it?"),
        backbone.encode(noise((48, 32)), "And what may this be, I wonder?"),
        backbone.encode(None, "Hello"),
    ]


def places(row, image_token_id, answered):
    """(3, t) time, height, width: words count on; a picture's tokens spread from where it starts."""
    found, now, seen = [], 0, False
    for token in row.input_ids.tolist():
        if token != image_token_id:
            found.append((now, now, now))
            now += 1
        elif not seen:
            seen = True
            _, high, wide = (row.more["image_grid_thw"][0] // torch.tensor([1, 2, 2])).tolist()
            found += [(now, now + y, now + x) for y in range(high) for x in range(wide)]
            now += max(high, wide)
    return torch.tensor(found + [(now + i,) * 3 for i in range(answered)]).T


@each
def test_places_of_a_batch_are_those_of_each_row(name):
    """While generating, padded at the left, rows with different offsets; and in one pass over the same."""
    backbone = tiny_vlm(name)
    rows, seen = rows_of(backbone), []
    hook = backbone.decoder.rotary_emb.register_forward_pre_hook(lambda *call: seen.append(call[1][1]))
    generate(backbone, None, rows, [PLAIN] * 3, NEW_TOKENS)
    with torch.no_grad():
        backbone.model(**backbone.collate(rows).inputs)
    hook.remove()
    *steps, whole = seen
    generated = torch.cat(steps, dim=-1)
    length = whole.shape[-1]
    assert generated.shape[-1] == length + NEW_TOKENS - 1
    for i, row in enumerate(rows):
        expected = places(row, backbone.image_token_id, NEW_TOKENS - 1)
        assert torch.equal(generated[:, i, length - len(row.input_ids) :], expected)
        assert torch.equal(whole[:, i, length - len(row.input_ids) :], expected[:, : len(row.input_ids)])


@each
def test_nothing_of_a_call_is_left_to_the_next(name):
    """Whatever ran before, with pictures or without, in batches of any size: the same bits."""
    backbone = tiny_vlm(name)
    rows = rows_of(backbone)
    words = [backbone.encode(None, "Hello"), backbone.encode(None, "Hello, how are you?")]

    def outcomes(given):
        with torch.no_grad():
            scores = backbone.model(**backbone.collate(given).inputs).logits.tolist()
        return generate(backbone, None, given, [PLAIN] * len(given), NEW_TOKENS).rows, scores

    backbone.model.model.rope_deltas = None  # as after loading
    fresh = outcomes(words)
    backbone.model.model.rope_deltas = None
    shown = outcomes(rows)
    assert outcomes(words) == fresh
    assert outcomes(rows) == shown
    assert outcomes(rows[1:2])[0][0].ids == shown[0][1].ids


@each
def test_rows_without_pictures_may_be_padded(name):
    backbone = tiny_vlm(name)
    rows = [backbone.encode(None, "Hello"), backbone.encode(None, "Hello, how are you?")]
    with experts_on(backbone) as adapter, torch.no_grad():
        together = scores_of(backbone, adapter, backbone.collate(rows))
        for i, row in enumerate(rows):
            alone = scores_of(backbone, adapter, backbone.collate([row]))[0]
            torch.testing.assert_close(together[i, -len(row.input_ids) :], alone, rtol=1e-3, atol=1e-3)


@each
def test_what_leaves_the_tower_is_in_the_order_of_the_rectangles(name):
    """Without attention a token depends on its cell alone, whatever windows the tower sorts cells into."""
    backbone = load_backbone(str(tiny_folder(name)), "fp32", "cpu")
    tower = backbone.model.model.visual
    with torch.no_grad():
        for block in tower.blocks:
            for parameter in block.attn.proj.parameters():
                parameter.zero_()
    image = noise((112, 80))
    row = backbone.encode(image, "Hi")
    boxes = backbone.patch_boxes(row) * torch.tensor(image.size * 2)
    assert len(boxes) == 7 * 5
    before = features(backbone, row)
    for i in (0, 8, 13, 34):
        painted = image.copy()
        painted.paste("white", tuple(boxes[i].round().int().tolist()))
        changed = (features(backbone, backbone.encode(painted, "Hi")) != before).any(-1)
        assert changed.nonzero().flatten().tolist() == [i]


def features(backbone, row):
    with torch.no_grad():
        (found,) = backbone.model.get_image_features(
            row.pixel_values, row.more["image_grid_thw"]
        ).pooler_output
    return found


@each
def test_a_picture_becomes_no_more_tokens_than_set(name, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_folder(name), tmp_path / "model")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 64 * 16**2, "longest_edge": 16384 * 16**2}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    backbone = load_backbone(str(folder), "fp32", "cpu")

    def count(size):
        return len(backbone.prepare(noise(size)).boxes)

    assert 400 < count((1600, 1200)) <= 512
    assert count((16, 16)) == 64, "the model's own least"
    monkeypatch.setenv("SMOLA_VISUAL_TOKENS", "20")
    assert 10 < count((1600, 1200)) <= 20
    assert count((16, 16)) <= 20
    monkeypatch.setenv("SMOLA_VISUAL_TOKENS", "1000000")
    monkeypatch.setattr(
        backbone.processor.image_processor, "size", settings["size"] | {"longest_edge": 99 * 256}
    )
    assert 70 < count((1600, 1200)) <= 99, "the model's own most"
    for wrong in ("0", "-3", "many", "2.5"):
        monkeypatch.setenv("SMOLA_VISUAL_TOKENS", wrong)
        with pytest.raises(
            BackboneError, match=f"SMOLA_VISUAL_TOKENS is '{wrong}': set it to a whole number"
        ):
            load_backbone(str(folder), "fp32", "cpu")


@each
def test_a_picture_like_a_thread_is_refused_in_one_sentence(name):
    backbone = tiny_vlm(name)
    assert len(backbone.prepare(noise((200, 1))).boxes) > 0
    with pytest.raises(
        ImageError, match=r"no picture of 201 × 1 pixels, .* 200 times as long as wide: cut it"
    ):
        backbone.prepare(noise((201, 1)))


@pytest.mark.parametrize("name", NAMES[:2])
def test_files_as_they_were_published_load(name, tmp_path):
    """The older ones: one flat config, the language model's names without its own, pixels as min and max."""
    folder = shutil.copytree(tiny_folder(name), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    flat = {key: value for key, value in text.items() if key != "model_type"} | config
    flat |= {"rope_theta": rope["rope_theta"]}
    flat |= {"rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}
    flat["vision_config"].pop("model_type")
    (folder / "config.json").write_text(json.dumps(flat))
    names = {"model.language_model.": "model.", "model.visual.": "visual."}
    weights = folder / "model.safetensors"
    old = {}
    for path, value in load_file(weights).items():
        start = next((start for start in names if path.startswith(start)), "")
        old[path.replace(start, names.get(start, ""), 1)] = value
    assert any(path.startswith("model.layers.0.") for path in old)
    save_file(old, weights, metadata={"format": "pt"})
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    size = settings.pop("size")
    settings |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    settings["image_processor_type"] = "Qwen2VLImageProcessor"
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    published, ours = load_backbone(str(folder), "nf4", "cpu"), tiny_vlm(name)
    image = noise((300, 200))
    with torch.no_grad():
        expected, found = (
            backbone.model(**backbone.collate([backbone.encode(image, "What?")]).inputs).logits
            for backbone in (ours, published)
        )
    np.testing.assert_array_equal(found, expected)


@each
def test_pictures_are_kept_to_what_fits(name):
    """What loading found to fit in memory holds, and a larger size after it does not loosen it."""
    backbone = load_backbone(str(tiny_folder(name)), "fp32", "cpu")
    before = len(backbone.prepare(noise((1600, 1200))).boxes)
    backbone.limit(Picture("small", 1, 64, 64, 16))
    kept = len(backbone.prepare(noise((1600, 1200))).boxes)
    assert kept <= 16 < before
    backbone.limit(Picture("large", 1, 640, 6400, 1600))
    assert len(backbone.prepare(noise((1600, 1200))).boxes) == kept
