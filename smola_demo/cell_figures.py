"""How much of what lies in its cell a visual token tells, on development drawings. No language model runs.

Nearness to the embeddings of words is measured as the stage "cells" trains it, so this says what that stage
reached, and what a later stage left of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from smola_demo.backbone import load_backbone
from smola_demo.cells import CellPictures, CellWordsLoss
from smola_demo.config import ConfigError, DataSource
from smola_demo.data import GENERATORS
from smola_demo.data.mixture import Mixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from smola_demo.cells import CellBatch

SEED = 77
DRAWINGS = 48  # of each generator


def cell_figures(
    base: str | None = None,
    drawings: int = DRAWINGS,
    progress: Callable[[int], Any] | None = None,
) -> dict[str, dict[str, float]]:
    """Per generator the figures of `figures`, with "n" drawings.

    base   folder of a connector (and tower); None for the shipped one

    Raises ConfigError where the folder holds none.
    """
    backbone = load_backbone("embedded", base=base)
    if backbone.state:
        raise ConfigError(f"no trained connector in {base}: name the output of a training run")
    told = CellWordsLoss(backbone)
    found: dict[str, dict[str, float]] = {}
    for name in GENERATORS:
        mixture = Mixture([DataSource(name)], seed=SEED, split="dev")
        pictures = CellPictures(backbone, mixture, drawings)
        batch = pictures.join([pictures[i] for i in range(drawings)]).to(backbone.device)
        with torch.no_grad():
            nearness = told.nearness(told.visual(batch.pixel_values), batch.vocabulary)
        found[name] = {**figures(nearness, batch, told.nothing), "n": drawings}
        if progress:
            progress(drawings)
    return found


def figures(nearness: Tensor, batch: CellBatch, nothing: int) -> dict[str, float]:
    """Of pictures that tell, three shares from 0 to 1.

    nearness (b, v, w) of each visual token to the batch's w words · nothing the id of an empty cell's word

    found     of the k words in a filled cell, those among the k nearest of its token; mean over filled cells
    counted   pictures with as many tokens nearest to another word than "nothing" as there are filled cells
    exact     pictures of which these tokens are those of the filled cells
    """
    empty_word = batch.vocabulary == nothing
    filled = batch.shares[..., empty_word].sum(-1) == 0
    said = ~empty_word[nearness.argmax(-1)]
    shares = []
    for row, wanted in zip(nearness[filled], batch.shares[filled] > 0, strict=True):
        k = int(wanted.sum())
        shares.append(float(wanted[row.topk(k).indices].float().mean()))
    return {
        "found": sum(shares) / max(1, len(shares)),
        "counted": float((said.sum(-1) == filled.sum(-1)).float().mean()),
        "exact": float((said == filled).all(-1).float().mean()),
    }
