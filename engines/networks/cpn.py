"""The Cascaded Pyramid Network (Chen et al., CVPR 2018) with ResNet-50 or -101.

Parameter names are those of the public COCO checkpoints, so that they load as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from torch import Tensor, cat, nn
from torch.nn import functional

JOINTS: Final = 17
WIDTH: Final = 256
"""Channels of every pyramid level."""

RESNET_BLOCKS: Final[dict[int, tuple[int, int, int, int]]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class PoseMaps(NamedTuple):
    """What a 2D pose network gives for a batch of crops.

    Attributes:
        heatmaps: (B, 17, H/4, W/4); a joint of full certainty peaks near the target scale.
        features: image features: (B, C, H/4, W/4), the finest pyramid level, or what is told of
            joints (``engines.networks.light_cpn``).
    """

    heatmaps: Tensor
    features: Tensor


@dataclass(frozen=True, slots=True)
class CpnSize:
    """Depth of the ResNet and size of the input crop in pixels (multiples of 32)."""

    depth: Literal[50, 101]
    height: int
    width: int


class Bottleneck(nn.Module):
    """A residual bottleneck, ``expansion`` times as wide outside as inside."""

    def __init__(
        self, in_channels: int, inner: int, expansion: int, stride: int, project: bool
    ) -> None:
        super().__init__()
        outer = inner * expansion
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, inner·expansion, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """The trunk: four maps at 1/4 to 1/32, 256 to 2048 channels."""

    def __init__(self, depth: Literal[50, 101]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        counts = RESNET_BLOCKS[depth]
        self.layer1 = _stage(64, 64, counts[0], 1)
        self.layer2 = _stage(256, 128, counts[1], 2)
        self.layer3 = _stage(512, 256, counts[2], 2)
        self.layer4 = _stage(1024, 512, counts[3], 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps (B, 3, H, W) to the maps at 1/32, 1/16, 1/8 and 1/4 (coarsest first)."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.max_pool2d(x, 3, 2, 1)
        fine = self.layer1(x)
        middle = self.layer2(fine)
        coarse = self.layer3(middle)
        return self.layer4(coarse), coarse, middle, fine


class GlobalNet(nn.Module):
    """The feature pyramid and, for training, a heatmap prediction at each level."""

    def __init__(self, channels: tuple[int, ...], output_size: tuple[int, int]) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU())
            for count in channels
        )
        self.upsamples = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True),
                nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
                nn.BatchNorm2d(WIDTH),
            )
            for _ in channels[1:]
        )
        self.predict = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
                nn.BatchNorm2d(WIDTH),
                nn.ReLU(),
                nn.Conv2d(WIDTH, JOINTS, 3, padding=1, bias=False),
                nn.Upsample(size=output_size, mode="bilinear", align_corners=True),
                nn.BatchNorm2d(JOINTS),
            )
            for _ in channels
        )

    def forward(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """Merges the trunk's maps (coarsest first) into levels (B, 256, H, W)."""
        levels: list[Tensor] = []
        for index, lateral in enumerate(self.laterals):
            level = lateral(maps[index])
            if index:
                level = level + self.upsamples[index - 1](levels[-1])
            levels.append(level)
        return levels

    def predictions(self, levels: list[Tensor]) -> list[Tensor]:
        """The heatmaps of each level, all at the output size (B, 17, H/4, W/4)."""
        return [head(level) for head, level in zip(self.predict, levels, strict=True)]


class RefineNet(nn.Module):
    """Brings all levels to the output size and predicts from their concatenation."""

    def __init__(self, output_size: tuple[int, int], levels: int = 4) -> None:
        super().__init__()
        self.cascade = nn.ModuleList(
            nn.Sequential(
                *(Bottleneck(WIDTH, 128, 2, 1, project=True) for _ in range(levels - 1 - index)),
                nn.Upsample(size=output_size, mode="bilinear", align_corners=True)
                if index < levels - 1
                else nn.Identity(),
            )
            for index in range(levels)
        )
        self.final_predict = nn.Sequential(
            Bottleneck(levels * WIDTH, 128, 2, 1, project=True),
            nn.Conv2d(WIDTH, JOINTS, 3, padding=1, bias=False),
            nn.BatchNorm2d(JOINTS),
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Maps the levels (coarsest first) to heatmaps (B, 17, H/4, W/4)."""
        maps = [stage(level) for stage, level in zip(self.cascade, levels, strict=True)]
        heatmaps: Tensor = self.final_predict(cat(maps, 1))
        return heatmaps


class Cpn(nn.Module):
    """The whole network.

    Args:
        size: which ResNet, and the input size that it is built for.
    """

    def __init__(self, size: CpnSize) -> None:
        super().__init__()
        self.size = size
        output_size = (size.height // 4, size.width // 4)
        self.resnet = ResNet(size.depth)
        self.global_net = GlobalNet((2048, 1024, 512, 256), output_size)
        self.refine_net = RefineNet(output_size)

    def forward(self, images: Tensor) -> PoseMaps:
        """Predicts joints.

        Args:
            images: (B, 3, H, W) RGB crops, /255 minus CPN's mean colour.

        Returns:
            Heatmaps and the finest pyramid level (256 channels).
        """
        levels = self.global_net(self.resnet(images))
        return PoseMaps(self.refine_net(levels), levels[-1])

    def training_outputs(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The GlobalNet's heatmaps of each level and the RefineNet's, for the training loss."""
        levels = self.global_net(self.resnet(images))
        return self.global_net.predictions(levels), self.refine_net(levels)


def _stage(in_channels: int, inner: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, inner, 4, stride, project=True)
    rest = (Bottleneck(4 * inner, inner, 4, 1, project=False) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
