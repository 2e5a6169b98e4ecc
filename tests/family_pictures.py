"""Checks of every family: rectangles of visual tokens against what the vision tower really reads."""

from __future__ import annotations

import numpy as np
import torch
from tiny_vlm import noise, tiny_models, tiny_vlm


def overlay(name: str) -> None:
    """A white spot changes exactly the patch embeddings of the tokens whose rectangles it touches."""
    tiny, backbone = tiny_models()[name], tiny_vlm(name)
    image = noise(tiny.size)
    before, boxes = patch_rows(tiny, backbone, image)
    scale = np.array(tiny.size * 2)
    real = [i for i, box in enumerate(boxes) if box[2] > box[0] and box[3] > box[1]]
    for i in (real[0], real[len(real) // 2], real[-2]):
        x0, y0, x1, y1 = boxes[i] * scale
        third = ((x1 - x0) / 3, (y1 - y0) / 3)
        spot = np.round([x0 + third[0], y0 + third[1], x1 - third[0], y1 - third[1]]).astype(int)
        painted = image.copy()
        painted.paste("white", tuple(spot.tolist()))
        after, _ = patch_rows(tiny, backbone, painted)
        left, top, right, bottom = spot / scale
        covers = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
        changed = (after != before).any(-1).numpy()
        covers &= boxes[:, 2] > boxes[:, 0]  # a line's end is learned, not seen
        assert np.flatnonzero(changed).tolist() == np.flatnonzero(covers).tolist()


def patch_rows(tiny, backbone, image):
    """What the tower makes of an image before any attention, per visual token, and their rectangles."""
    seen = []
    hook = tiny.patches(backbone.model).register_forward_hook(lambda *call: seen.append(call[2]))
    row = backbone.encode(image, "Hi")
    with torch.no_grad():
        backbone.model(**backbone.collate([row]).inputs)
    hook.remove()
    (output,) = seen
    values, boxes = tiny.rows(output, backbone, row), backbone.patch_boxes(row).numpy()
    assert len(values) == len(boxes)
    return values, boxes


def shapes(name: str) -> None:
    """Pictures of any shape get as many placeholders as the model has features, and boxes inside the picture.

    A spot painted on them changes most what its rectangle is in, although resampling smears it a little.
    """
    tiny, backbone = tiny_models()[name], tiny_vlm(name)
    for size in ((1, 1), (50, 200), (333, 97), (130, 131), (640, 480)):
        image = noise(size)
        before, boxes = patch_rows(tiny, backbone, image)
        assert boxes.min() >= 0
        assert boxes.max() <= 1
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        if min(size) < 90:
            continue
        middle = boxes[np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - (0.4, 0.6)).sum(1).argmin()]
        spot = (middle * (size * 2)).round().astype(int)
        painted = image.copy()
        painted.paste("white", tuple(spot.tolist()))
        after, _ = patch_rows(tiny, backbone, painted)
        left, top, right, bottom = spot / (size * 2)
        covers = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
        change = (after - before).flatten(1).norm(dim=-1).numpy()
        assert covers[change > 0.5 * change.max()].all()
