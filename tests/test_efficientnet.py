"""The vision tower against an independent implementation of the same network."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from smola_demo.backbone.efficientnet import (
    LITE2_STAGES,
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
    from_published,
    pad_same,
)

WIDTHS = {8: 48, 16: 120, 32: 352}


@pytest.fixture(scope="module")
def reference():
    """Another package's Lite2, random in its weights and in its batch-norm statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EfficientNet.from_name(
            "efficientnet-lite2", image_size=256
        ).eval()  # it pads for one size only
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 2)
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return model


@pytest.fixture(scope="module")
def tower(reference):
    model = EfficientNetLiteModel(EfficientNetLiteConfig()).eval().requires_grad_(False)
    model.load_state_dict(from_published(reference.state_dict()))
    return model


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_feature_maps_equal_the_reference(reference, tower, pixels):
    x = reference._swish(reference._bn0(reference._conv_stem(pixels)))
    expected = {}
    for block in reference._blocks:
        x = block(x)
        expected[256 // x.shape[-1]] = x
    maps = tower.feature_maps(pixels)
    for stride, width in WIDTHS.items():
        assert maps[stride].shape == (2, width, 256 // stride, 256 // stride)
        scale = expected[stride].abs().max()
        torch.testing.assert_close(maps[stride] / scale, expected[stride] / scale, rtol=0, atol=1e-5)


def test_a_token_holds_the_three_scales_of_its_cell(tower, pixels):
    maps = tower.feature_maps(pixels)
    tokens = tower(pixels).hidden_states[-1]
    assert tokens.shape == (2, 64, 1600)
    for row, column in ((0, 0), (2, 5), (7, 7)):
        token = tokens[1, row * 8 + column]
        assert torch.equal(token[:352], maps[32][1, :, row, column])
        two = maps[16][1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(token[352:832], two.flatten())
        four = maps[8][1, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.equal(token[832:], four.flatten())


def test_a_patch_reaches_its_own_token_first(tower):
    """A mark in one cell moves that cell's stroke-level numbers more than those of a far cell."""
    blank = torch.zeros(1, 3, 256, 256)
    marked = blank.clone()
    marked[..., 96:128, 160:192] = 1  # cell (3, 5)
    moved = (tower(marked).last_hidden_state - tower(blank).last_hidden_state)[0, :, 832:].norm(dim=-1)
    assert moved.argmax() == 3 * 8 + 5


def test_features_come_back_as_they_are(tower):
    features = torch.randn(2, 64, 1600)
    assert tower(features).hidden_states[-1] is features


def test_batch_norm_never_learns_statistics(tower, pixels):
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    tower.train()
    tower(pixels)
    assert not tower.training
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_gradients_reach_the_stem():
    model = EfficientNetLiteModel(
        EfficientNetLiteConfig(stages=((1, 3, 2, 1, 4), (1, 3, 2, 2, 4), (1, 5, 2, 2, 8), (1, 3, 2, 2, 8)))
    )
    model.train()
    model(torch.randn(1, 3, 64, 64)).last_hidden_state.square().sum().backward()
    assert model.stem.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(256, 3, 2), (65, 5, 2), (16, 5, 1), (7, 3, 2), (8, 1, 1)]
)
def test_padding_is_tensorflows(size, kernel, stride):
    """Output is ceil(size / stride), and of an odd amount the larger half goes right and down."""
    x = torch.ones(1, 1, size, size)
    padded = pad_same(x, kernel, stride)
    total = padded.shape[-1] - size
    assert (padded.shape[-1] - kernel) // stride + 1 == -(-size // stride)
    before = int((padded[0, 0, padded.shape[-2] // 2] != 0).float().argmax())
    assert before == total // 2
    assert torch.equal(padded, F.pad(x, [before, total - before] * 2))


def test_config_round_trip_and_registration(tmp_path):
    config = EfficientNetLiteConfig(image_size=384)
    assert config.hidden_size == 1600
    assert config.token_parts() == [352, 480, 768]
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, EfficientNetLiteConfig)
    assert (again.image_size, again.hidden_size, again.patch_size) == (384, 1600, 32)
    assert [tuple(stage) for stage in again.stages] == list(LITE2_STAGES)
    assert isinstance(AutoModel.from_config(again), EfficientNetLiteModel)


def test_token_statistics_are_those_of_independent_blocks():
    """With one block per stage and no shortcut, the promise is the last norm's own bias and weight."""
    model = EfficientNetLiteModel(EfficientNetLiteConfig())
    mean, deviation = model.token_statistics()
    assert mean.shape == deviation.shape == (1600,)
    torch.nn.init.constant_(model.blocks[20].project.norm.bias, 3.0)
    torch.nn.init.constant_(model.blocks[20].project.norm.weight, -2.0)
    for block in model.blocks[4:7]:  # stride 8: one plain block, then two with a shortcut
        torch.nn.init.constant_(block.project.norm.bias, 1.0)
        torch.nn.init.constant_(block.project.norm.weight, 2.0)
    mean, deviation = model.token_statistics()
    assert mean[:352].unique().tolist() == [3.0]
    assert deviation[:352].unique().tolist() == [2.0]
    assert mean[832:].unique().tolist() == [3.0]
    torch.testing.assert_close(deviation[832:].unique(), torch.tensor([12.0]).sqrt())
