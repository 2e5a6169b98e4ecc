"""EfficientNet-Lite2 as a vision tower: one image in, an 8 x 8 grid of visual tokens out.

Inverted-bottleneck blocks with ReLU6 and no squeeze-excite, TensorFlow "same" padding (asymmetric at
stride 2) and batch-norm epsilon 1e-3, so that the published ImageNet weights fit. A token joins what three
strides see in its cell: the stride-32 feature, its 2 x 2 stride-16 features and its 4 x 4 stride-8 features.

Knows nothing of language, prompts or files.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

# Stages of Lite2 (width 1.1, depth 1.2): repeats, kernel, stride, expansion, channels.
LITE2_STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
STEM_CHANNELS = 32
NORM_EPSILON = 1e-3
PIXEL_MEAN = 127.0  # the published weights want (pixel - 127) / 128
PIXEL_STD = 128.0
STRIDES = (32, 16, 8)  # of the feature maps that make a token, in its order
CELL = 32  # pixels along one side of a token's cell


class EfficientNetLiteConfig(PreTrainedConfig):
    """Shape of the tower. `hidden_size` (width of a visual token) follows from the stages."""

    model_type = "smola_efficientnet_lite"

    def __init__(self, stages: Any = LITE2_STAGES, image_size: int = 256, **kwargs: Any) -> None:
        self.stages = [list(stage) for stage in stages]
        self.image_size = image_size
        self.patch_size = CELL
        kwargs.pop("hidden_size", None)
        kwargs.pop("patch_size", None)
        self.hidden_size = sum(self.token_parts())
        super().__init__(**kwargs)

    def token_parts(self) -> list[int]:
        """How many numbers of a token come from strides 32, 16 and 8, in this order."""
        stride, channels = 2, {}
        for _, _, step, _, width in self.stages:
            stride *= step
            channels[stride] = width
        return [channels[stride] * (CELL // stride) ** 2 for stride in STRIDES]

    @property
    def widest_map(self) -> int:
        """Numbers in the largest feature map of one image, which is a widened one."""
        side, width, widest = self.image_size // 2, STEM_CHANNELS, STEM_CHANNELS * (self.image_size // 2) ** 2
        for _, _, step, expansion, channels in self.stages:
            widest = max(widest, width * expansion * side**2)
            side, width = side // step, channels
        return widest


class ConvNorm(nn.Module):
    """Convolution with "same" padding, batch norm and, if `active`, ReLU6."""

    def __init__(
        self, wide_in: int, wide_out: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide_in, wide_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(wide_out, eps=NORM_EPSILON, momentum=0.01)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c', ceil(h / stride), ceil(w / stride))."""
        x = self.norm(self.conv(pad_same(x, self.conv.kernel_size[0], self.conv.stride[0])))
        return F.relu6(x) if self.active else x


class Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; with a shortcut where the shape allows it."""

    def __init__(self, wide_in: int, wide_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = wide_in * expansion
        self.expand = ConvNorm(wide_in, middle, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(middle, middle, kernel, stride, groups=middle)
        self.project = ConvNorm(middle, wide_out, 1, active=False)
        self.shortcut = stride == 1 and wide_in == wide_out

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) -> (b, c', ceil(h / stride), ceil(w / stride))."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLiteModel(PreTrainedModel):
    """The tower, fit for LlavaForConditionalGeneration with `vision_feature_layer=-1`, strategy "full"."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "vision_tower"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, 2)
        width, blocks = STEM_CHANNELS, []
        for repeats, kernel, stride, expansion, channels in config.stages:
            for repeat in range(repeats):
                blocks.append(Block(width, channels, kernel, stride if repeat == 0 else 1, expansion))
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.post_init()

    def train(self, mode: bool = True) -> EfficientNetLiteModel:
        """Stay in evaluation mode: batch-norm statistics stay ImageNet's, also while weights are tuned."""
        return super().train(False)

    def late_parameters(self) -> set[str]:
        """Names of the parameters that pay to tune: the blocks of stride 16 and 32.

        What lies before them, filters near the pixels, holds few parameters and most of a backward pass.
        """
        stride, late = 2, set[str]()
        for i, block in enumerate(cast("list[Block]", list(self.blocks))):
            stride *= block.depthwise.conv.stride[0]
            if stride > min(STRIDES):
                late |= {f"blocks.{i}.{name}" for name, _ in block.named_parameters()}
        return late

    def token_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation, each (hidden_size,), of a token's numbers, as the batch norms promise them."""
        mean = variance = torch.zeros(())
        stride, maps = 2, {}
        for block in cast("list[Block]", list(self.blocks)):
            if not block.shortcut:
                mean = variance = torch.zeros(())
            norm = block.project.norm
            mean, variance = mean + norm.bias, variance + norm.weight**2
            stride *= block.depthwise.conv.stride[0]
            maps[stride] = torch.stack([mean, variance.sqrt()])
        parts = [maps[s].repeat_interleave((CELL // s) ** 2, dim=1) for s in STRIDES]
        mean, deviation = torch.cat(parts, dim=1).detach()
        return mean, deviation

    def feature_maps(self, pixel_values: Tensor) -> dict[int, Tensor]:
        """(b, 3, h, w) normalised pixels -> for each stride its last map, (b, c, h / stride, w / stride)."""
        x = self.stem(pixel_values)
        maps: dict[int, Tensor] = {}
        for block in self.blocks:
            x = block(x)
            maps[math.ceil(pixel_values.shape[-1] / x.shape[-1])] = x
        return maps

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:
        """(b, 3, h, w) normalised pixels -> (b, h/32 * w/32, hidden_size) tokens, row by row.

        h and w are multiples of 32. What already is tokens, (b, n, hidden_size), comes back as it is, so that
        training can cache the tower's output.
        """
        if pixel_values.ndim == 3:
            tokens = pixel_values
        else:
            maps = self.feature_maps(pixel_values)
            levels = [F.pixel_unshuffle(maps[s], CELL // s) if s < CELL else maps[s] for s in STRIDES]
            tokens = torch.cat(levels, dim=1).flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero-pad (b, c, h, w) as TensorFlow's "same" does: an odd rest goes right and down."""
    pads: list[int] = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published Lite2 state dict to ours, without its classifier head."""
    layers = {
        "_expand_conv": "expand.conv",
        "_depthwise_conv": "depthwise.conv",
        "_project_conv": "project.conv",
    }
    norms = {"_bn0": "expand.norm", "_bn1": "depthwise.norm", "_bn2": "project.norm"}
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part == "_conv_stem":
            renamed[f"stem.conv.{rest}"] = value
        elif part == "_bn0":
            renamed[f"stem.norm.{rest}"] = value
        elif part == "_blocks":
            index, layer, leaf = rest.split(".")
            renamed[f"blocks.{index}.{(layers | norms)[layer]}.{leaf}"] = value
    return renamed


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
