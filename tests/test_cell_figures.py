"""How much visual tokens tell of their cells: by hand, on a tiny model, and of the shipped one."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import tiny_backbone

from smola_demo.__main__ import main
from smola_demo.cell_figures import cell_figures, figures
from smola_demo.cells import CellBatch, CellWordsLoss
from smola_demo.data import GENERATORS

NONE, STAR, RED = 7, 3, 5


def batch_of(shares):
    """Pictures of three cells; a cell's shares are of NONE, STAR and RED."""
    told = torch.ones(len(shares), dtype=torch.bool)
    return CellBatch(torch.zeros(0), torch.tensor([NONE, STAR, RED]), torch.tensor(shares), told)


def test_figures_counted_by_hand():
    empty = [1.0, 0.0, 0.0]
    batch = batch_of([[[0.0, 1.0, 0.0], empty, empty], [[0.0, 0.5, 0.5], empty, [0.0, 0.0, 1.0]]])
    nearness = torch.tensor(
        [
            [[0.1, 0.9, 0.2], [0.8, 0.1, 0.2], [0.8, 0.7, 0.2]],  # all as it is
            [[0.4, 0.9, 0.2], [0.3, 0.1, 0.5], [0.8, 0.1, 0.7]],  # one word of two, one too many, one missed
        ]
    )
    assert figures(nearness, batch, NONE) == pytest.approx({"found": 0.5, "counted": 1.0, "exact": 0.5})


def test_a_token_that_says_nothing_everywhere_finds_nothing():
    batch = batch_of([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    nearness = torch.tensor([0.9, 0.1, 0.0]).expand(1, 3, 3)
    assert figures(nearness, batch, NONE) == {"found": 0.0, "counted": 0.0, "exact": 0.0}


def test_a_words_own_embedding_is_nearest_to_it_however_long():
    backbone = tiny_backbone()
    loss = CellWordsLoss(backbone)
    vocabulary = torch.arange(backbone.model.get_input_embeddings().weight.shape[0])
    words = backbone.model.get_input_embeddings().weight.detach().float()
    longer = loss.middle + 3.0 * (words - loss.middle)
    assert torch.equal(loss.nearness(longer, vocabulary).argmax(-1), vocabulary)


def test_the_shipped_visual_tokens_tell_shapes():
    found = cell_figures(drawings=4)
    assert list(found) == list(GENERATORS)
    assert all(0 <= f[key] <= 1 for f in found.values() for key in ("found", "counted", "exact"))
    assert all(f["exact"] <= f["counted"] and f["n"] == 4 for f in found.values())
    assert found["shapes"]["found"] > 0.7


def test_the_command_names_each_base(monkeypatch, capsys):
    asked = []

    def made_up(base, progress):
        asked.append(base)
        return {"shapes": {"found": 0.5, "counted": 0.25, "exact": 0.125, "n": 48}}

    monkeypatch.setattr("smola_demo.cell_figures.cell_figures", made_up)
    assert main(["cells", "runs/one", "runs/two", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["bases"]) == asked == ["runs/one", "runs/two"]
    assert main(["cells"]) == 0
    assert capsys.readouterr().out == "shipped  shapes  found 0.50, counted 0.25, exact 0.12\n"


def test_a_folder_without_a_connector_is_one_sentence(tmp_path, capsys):
    assert main(["cells", str(tmp_path)]) == 1
    assert str(tmp_path) in (said := capsys.readouterr().err.strip().splitlines()[-1])
    assert said.startswith("smola_demo: ")
