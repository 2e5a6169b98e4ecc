"""InternVL alone: tiles and thumbnail of pictures of many shapes, as the library makes them."""

from __future__ import annotations

import pytest
import torch
from tiny_vlm import noise, tiny_folder, tiny_vlm
from tiny_vlm_internvl import library

from smola_demo.backbone.base import grid_boxes

SHAPES = {(64, 64): (1, 1), (90, 70): (2, 3), (300, 60): (1, 5), (60, 300): (5, 1), (200, 200): (2, 2)}


@pytest.mark.parametrize("size", SHAPES)
def test_tiles_are_the_librarys(size):
    backbone = tiny_vlm("internvl")
    rows, columns = SHAPES[size]
    row = backbone.encode(noise(size), "What is it?")
    text = backbone.tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    expected = library(tiny_folder("internvl"))(images=noise(size), text=text, return_tensors="pt")
    assert torch.equal(row.input_ids, expected["input_ids"][0])
    assert torch.equal(row.pixel_values, expected["pixel_values"])
    thumbnail = rows * columns > 1
    assert len(row.pixel_values) == rows * columns + thumbnail
    boxes = backbone.patch_boxes(row)
    tiles, whole = boxes[: rows * columns * 4], boxes[rows * columns * 4 :]
    assert torch.equal(whole, grid_boxes(2, 2) if thumbnail else torch.zeros(0, 4))
    assert cells(tiles) == cells(grid_boxes(rows * 2, columns * 2)), "tile by tile, the cells of one grid"


def cells(boxes):
    return {tuple(box) for box in boxes.mul(1000).round().tolist()}
