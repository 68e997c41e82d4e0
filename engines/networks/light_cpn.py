"""A light Cascaded Pyramid Network for CPUs: depthwise backbone, the same two-stage idea.

GlobalNet merges a feature pyramid top-down, RefineNet deepens the coarse levels and predicts from
all of them at once (Chen et al., CVPR 2018); the ResNet gives way to inverted residuals (Sandler
et al., CVPR 2018) and every 3×3 convolution to a depthwise one followed by a 1×1. Which leg is the
left one is told by the rest of the body: transformer blocks over all places of the two coarsest
maps look at it as a whole, where a convolution only sees what is near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

from engines.networks.attention import TransformerBlock
from engines.networks.cpn import JOINTS, PoseMaps
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.strided_depthwise import depthwise_convolution

_HEAD_CHANNELS: Final = 32
_MIXER_MLP: Final = 3.0


@dataclass(frozen=True, slots=True)
class LightCpnConfig:
    """Size of the network.

    Attributes:
        height: of the crop in pixels, a multiple of 32.
        width: of the crop in pixels, a multiple of 16.
        stem: channels at 1/2.
        stages: channels at 1/4, 1/8, 1/16 and 1/32.
        blocks: inverted residuals in each of them.
        expansion: how many times wider a block is inside.
        pyramid: channels of each pyramid level.
        mixers: transformer blocks behind the inverted residuals at 1/16 and 1/32.
        context_width: channels of what the image context is told from.
    """

    height: int = 256
    width: int = 192
    stem: int = 16
    stages: tuple[int, int, int, int] = (24, 48, 96, 160)
    blocks: tuple[int, int, int, int] = (2, 3, 4, 3)
    expansion: int = 3
    pyramid: int = 64
    mixers: tuple[int, int] = (0, 0)
    context_width: int = 96


class TrainingMaps(NamedTuple):
    """What a loss needs.

    Attributes:
        coarse: Each level's heatmaps at that level's own size, coarsest first.
        final: (B, 17, H/4, W/4) heatmaps.
        features: (B, 17 · ``JOINT_CHANNELS``, H/8, W/8) the image context.
    """

    coarse: list[Tensor]
    final: Tensor
    features: Tensor


class InvertedResidual(nn.Module):
    """1×1 up, 3×3 depthwise, 1×1 down without activation; a shortcut where the shape allows."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = _pointwise(in_channels, inner)
        self.depthwise = _depthwise(inner, stride)
        self.project = _pointwise(inner, out_channels)
        self.residual = stride == 1 and in_channels == out_channels
        if self.residual:
            # It begins as if it were not there, so that a trained network can be deepened.
            nn.init.zeros_(cast(nn.BatchNorm2d, self.project[-1]).weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H/stride, W/stride)."""
        y = functional.relu(self.expand(x))
        y = functional.relu(self.depthwise(y))
        projected: Tensor = self.project(y)
        return x + projected if self.residual else projected


class Mixer(nn.Module):
    """Transformer blocks over all places of a map; they begin as if they were not there.

    They need no code for places: zero padding tells the convolutions before them (Islam et al.,
    ICLR 2020), and so the map may have any size.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        most = max(1, channels // _HEAD_CHANNELS)
        heads = next(count for count in range(most, 0, -1) if channels % count == 0)
        self.blocks = nn.ModuleList(
            TransformerBlock(channels, heads, _MIXER_MLP) for _ in range(blocks)
        )
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            for last in (block.attention.out, block.mlp[-1]):
                assert isinstance(last, nn.Linear)
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        tokens = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)


class Separable(nn.Module):
    """3×3 depthwise, then 1×1, each with activation; RefineNet's bottleneck made light."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = _depthwise(in_channels, 1)
        self.pointwise = _pointwise(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H, W)."""
        x = functional.relu(self.depthwise(x))
        return functional.relu(self.pointwise(x))


class JointContext(nn.Module):
    """Tells of each joint what ``joint_context`` lists, on maps at 1/8.

    It reads the backbone's own maps, the coarser of which have looked at the whole body.

    Args:
        stages: channels of the backbone's maps at 1/8, 1/16 and 1/32.
        width: channels inside.
    """

    def __init__(self, stages: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(_pointwise(channels, width) for channels in reversed(stages))
        self.mix = nn.ModuleList(Separable(width, width) for _ in stages[1:])
        self.tell = nn.Conv2d(width, JOINTS * JOINT_CHANNELS, 1)
        nn.init.normal_(self.tell.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.tell.bias))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps of the backbone at 1/8, 1/16 and 1/32 to (B, 17 · ``JOINT_CHANNELS``, H/8, W/8)."""
        coarse, *finer = reversed(maps)
        x = functional.relu(self.laterals[0](coarse))
        for lateral, mix, level in zip(self.laterals[1:], self.mix, finer, strict=True):
            part = lateral(level)
            x = mix(functional.relu(part + _enlarged(x, part)))
        told: Tensor = self.tell(x)
        return told


class LightCpn(nn.Module):
    """The whole network.

    Args:
        config: its size.
    """

    def __init__(self, config: LightCpnConfig | None = None) -> None:
        super().__init__()
        config = config or LightCpnConfig()
        self.config = config
        width = config.pyramid
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem, 3, 2, 1, bias=False), nn.BatchNorm2d(config.stem), nn.ReLU()
        )
        channels = (config.stem, *config.stages)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    InvertedResidual(
                        channels[i] if block == 0 else channels[i + 1],
                        channels[i + 1],
                        2 if block == 0 else 1,
                        # Wide maps at 1/2 would cost as much as everything behind them.
                        1 if i == block == 0 else config.expansion,
                    )
                    for block in range(count)
                )
            )
            for i, count in enumerate(config.blocks)
        )
        self.mixers = nn.ModuleList(
            Mixer(channels, count)
            for channels, count in zip(config.stages[-2:], config.mixers, strict=True)
        )
        self.laterals = nn.ModuleList(_pointwise(c, width) for c in reversed(config.stages))
        self.predict = nn.ModuleList(
            nn.Sequential(Separable(width, width), nn.Conv2d(width, JOINTS, 1))
            for _ in config.stages
        )
        self.refine = nn.ModuleList(
            nn.Sequential(*(Separable(width, width) for _ in range(depth))) for depth in (3, 2, 1)
        )
        self.fuse = nn.ModuleList(_pointwise(width, width) for _ in config.stages)
        self.heatmaps = nn.Sequential(Separable(width, width), nn.Conv2d(width, JOINTS, 1))
        self.context = JointContext(config.stages[1:], config.context_width)

    def forward(self, images: Tensor) -> PoseMaps:
        """Predicts joints.

        Args:
            images: (B, 3, H, W) RGB crops, /255 minus CPN's mean colour.

        Returns:
            Heatmaps (B, 17, H/4, W/4) and the image context (B, 17 · ``JOINT_CHANNELS``, H/8, W/8).
        """
        maps = self._backbone(images)
        return PoseMaps(self._refined(self._pyramid(maps)), self.context(maps[1:]))

    def training_outputs(self, images: Tensor) -> TrainingMaps:
        """What a loss needs of (B, 3, H, W) crops."""
        maps = self._backbone(images)
        levels = self._pyramid(maps)
        coarse = [head(level) for head, level in zip(self.predict, levels, strict=True)]
        return TrainingMaps(coarse, self._refined(levels), self.context(maps[1:]))

    def _backbone(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)
        maps: list[Tensor] = []
        unmixed = len(self.stages) - len(self.mixers)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index >= unmixed:
                x = self.mixers[index - unmixed](x)
            maps.append(x)
        return maps

    def _pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        levels: list[Tensor] = []
        for index, lateral in enumerate(self.laterals):
            level = lateral(maps[-1 - index])
            if index:
                level = level + _enlarged(levels[-1], level)
            levels.append(functional.relu(level))
        return levels

    def _refined(self, levels: list[Tensor]) -> Tensor:
        refined = [net(x) for net, x in zip(self.refine, levels, strict=False)] + [levels[-1]]
        # A 1×1 convolution over all levels side by side is the sum of one on each, and those of
        # the coarse levels cost next to nothing before they are enlarged, step by step.
        total = self.fuse[0](refined[0])
        for net, x in zip(self.fuse[1:], refined[1:], strict=True):
            part = net(x)
            total = _enlarged(total, part) + part
        heatmaps: Tensor = self.heatmaps(functional.relu(total))
        return heatmaps


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    rows, columns = int(like.shape[2]), int(like.shape[3])
    factor = rows // int(x.shape[2])
    if (rows, columns) == (factor * int(x.shape[2]), factor * int(x.shape[3])):
        # A whole factor makes a simpler graph, which engines run faster, than a size does.
        return functional.interpolate(x, scale_factor=float(factor), mode="nearest")
    return functional.interpolate(x, size=(rows, columns), mode="nearest")


def _pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
    )


def _depthwise(channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(depthwise_convolution(channels, stride=stride), nn.BatchNorm2d(channels))
