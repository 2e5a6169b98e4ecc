"""Every family does what the embedded model does: all checks on a tiny model of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from family_checks import CHECKS, request
from tiny_vlm import experts_on, noise, tiny_folder, tiny_models, tiny_vlm
from tokenizers.processors import TemplateProcessing

from smola_demo.backbone import load_backbone
from smola_demo.backbone.families import FAMILIES
from smola_demo.backbone.pictures import pictures
from smola_demo.engine import Engine


@pytest.mark.parametrize("name", sorted(tiny_models()))
@pytest.mark.parametrize("check", CHECKS)
def test_family(name, check):
    CHECKS[check](name)


@pytest.mark.parametrize("name", [name for name, tiny in sorted(tiny_models().items()) if tiny.library])
def test_rows_are_what_the_library_makes(name):
    """The library's own processor writes the same ids and reads the same pixels."""
    tiny, backbone = tiny_models()[name], tiny_vlm(name)
    image = noise((90, 70))
    row = backbone.encode(image, "What is it?")
    library = tiny.library(tiny_folder(name))
    text = "<image>What is it?"
    if backbone.chats:
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
        text = library.apply_chat_template([turn], add_generation_prompt=True)
    expected = library(images=image, text=text, add_special_tokens=False)
    ours = backbone.collate([row]).inputs
    assert {"input_ids", "pixel_values"} <= ours.keys() & expected.keys()
    for part in ours.keys() & expected.keys():
        np.testing.assert_array_equal(ours[part].numpy(), np.array(expected[part]), part)


def test_a_picture_read_whole_and_in_tiles_counts_all_its_tokens():
    """The largest that LLaVA-OneVision makes of a square picture; the count may be more, not less."""
    backbone = tiny_vlm("llava_onevision")
    (most,) = pictures(backbone.model.config)
    made = [backbone.picture(noise((side, side))) for side in (64, 128, 400)]
    tokens = max(len(picture.boxes) for picture in made)
    assert tokens <= most.tokens <= 1.3 * tokens
    assert max(len(picture.pixels) for picture in made) == most.tiles


def test_a_tokenizer_that_begins_by_itself_begins_once():
    """Published PaliGemma tokenizers put the begin token first; the text has its own, behind the picture."""
    backbone = load_backbone(str(tiny_folder("paligemma")), "fp32")
    begin = backbone.tokenizer.bos_token
    first = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, backbone.tokenizer.bos_token_id)]
    )
    backbone.tokenizer._tokenizer.post_processor = first
    for image in (noise((64, 64)), None):
        ids = backbone.encode(image, "What is it?", "A cat.").input_ids.tolist()
        assert ids.count(backbone.tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", sorted(tiny_models()))
def test_an_answer_is_learned_up_to_its_end(name):
    backbone = tiny_vlm(name)
    row = backbone.encode(noise((64, 64)), "What is it?", "A cat.")
    asked = backbone.encode(noise((64, 64)), "What is it?")
    assert row.answer_start == asked.answer_start == len(asked.input_ids)
    assert torch.equal(row.input_ids[: row.answer_start], asked.input_ids)
    answer = row.input_ids[row.answer_start :].tolist()
    assert backbone.decode(answer) == "A cat."
    assert [i for i, token in enumerate(answer) if token in backbone.stop_ids] == [len(answer) - 1]
    own = backbone.model.generation_config.eos_token_id
    assert answer[-1] in (own if isinstance(own, list) else [own])


@pytest.mark.parametrize("name", sorted(tiny_models()))
def test_words_make_no_special_tokens(name):
    backbone = tiny_vlm(name)
    special = [token.content for token in backbone.tokenizer.added_tokens_decoder.values()]
    plain = backbone.encode(None, "x", "y").input_ids.tolist()
    row = backbone.encode(None, "x" + "".join(special), "".join(special) + "y").input_ids.tolist()
    marks = {token for token, kind in backbone.tokenizer.added_tokens_decoder.items() if kind.special}
    assert [t for t in row if t in marks] == [t for t in plain if t in marks]


@pytest.mark.parametrize("name", sorted(tiny_models()))
@pytest.mark.parametrize("precision", ["int8", "bf16", "fp32", "auto"])
def test_every_precision_answers(name, precision):
    backbone = load_backbone(str(tiny_folder(name)), precision=precision, device="cpu")
    with experts_on(backbone) as adapter:
        *_, answer = Engine(backbone, adapter, "tiny", {}, 0.0).answer(request(name))
    assert 1 <= len(answer.tokens) <= 5
    assert np.isfinite(answer.logprob)
    assert answer.compute == {"auto": "NF4 weights, computed in fp32"}.get(precision, backbone.compute)


def test_the_table_is_that_of_these_families_and_checks():
    """`python tests/make_families.py` writes it anew."""
    text = (Path(__file__).parents[1] / "docs" / "families.md").read_text(encoding="utf-8")
    head, _, *rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert head == ["model_type", *CHECKS]
    assert [row[0] for row in rows] == list(FAMILIES)
    assert sorted(FAMILIES) == sorted(tiny_models()), "each family has a tiny model, and the other way round"
    assert {cell for row in rows for cell in row[1:]} == {"yes"}
