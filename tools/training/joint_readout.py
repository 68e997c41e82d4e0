"""What the image context is to know about joints: how far each is from the pelvis, and if seen.

Heat alone gives the finest level of the pyramid no reason to hold more than places. Beside the
heatmaps a linear readout of that level, at each joint, is trained to answer depth and visibility;
it ships with nothing, but what it reads the lifter then finds in its image stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.networks.cpn import JOINTS
from engines.networks.light_cpn import LightCpn
from tools.studio.shards import OUTSIDE, VISIBLE


@dataclass(frozen=True, slots=True)
class ReadoutConfig:
    """What the readout's errors cost.

    Attributes:
        weight: Cost of it all; 0 leaves the context to the heatmaps.
        depth: Cost of a depth that is wrong by a body height, beside that of one nat.
        scatter: Standard deviation of where it is read, in cells of the finest level: live, the
            context is read where a joint was found, not where it is.
    """

    weight: float = 0.15
    depth: float = 6.0
    scatter: float = 0.7


class PoseStudent(nn.Module):
    """A light CPN and the readout that is trained beside it.

    Args:
        inner: The network that ships.
    """

    def __init__(self, inner: LightCpn) -> None:
        super().__init__()
        self.inner = inner
        channels = inner.config.pyramid
        # Two answers for each joint: depth in body heights, log odds of being seen.
        self.matrix = nn.Parameter(torch.randn(JOINTS, channels, 2) * channels**-0.5)
        self.bias = nn.Parameter(torch.zeros(JOINTS, 2))

    def read(self, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and visibility as the features tell them.

        Args:
            features: (B, channels, h, w) finest level.
            cells: (B, 17, 2) x, y of each joint; a cell's centre is at + 0.5.

        Returns:
            (B, 17) depth behind the pelvis in body heights, (B, 17) log odds of being seen.
        """
        rows, columns = features.shape[2:]
        size = torch.tensor((columns, rows), device=cells.device, dtype=torch.float32)
        grid = (2 * cells / size - 1)[:, :, None]
        sampled = functional.grid_sample(
            features.float(), grid, padding_mode="border", align_corners=False
        )
        answers = torch.einsum("bcj,jco->bjo", sampled[..., 0], self.matrix) + self.bias
        return answers[..., 0], answers[..., 1]


def readout_loss(
    student: PoseStudent,
    features: Tensor,
    joints: Tensor,
    depths: Tensor,
    visibility: Tensor,
    height: int,
    config: ReadoutConfig,
) -> tuple[Tensor, Tensor]:
    """The readout's loss on a batch.

    Args:
        student: The network and its readout.
        features: (B, channels, h, w) finest level.
        joints: (B, 17, 2) in pixels of the crop.
        depths: (B, 17) behind the pelvis along the camera's axis, in body heights.
        visibility: (B, 17) as in ``tools.studio.shards``.
        height: Of the crop in pixels.
        config: What errors cost.

    Returns:
        The loss, and the mean error of the depth in body heights, without gradient.
    """
    cells = joints * (features.shape[2] / height)
    cells = cells + config.scatter * torch.randn_like(cells)
    depth, seen = student.read(features, cells)
    inside = (visibility != OUTSIDE).float()
    count = inside.sum().clamp(min=1)
    far = functional.smooth_l1_loss(depth, depths, reduction="none", beta=0.05)
    told = functional.binary_cross_entropy_with_logits(
        seen, (visibility == VISIBLE).float(), reduction="none"
    )
    loss = config.weight * (inside * (config.depth * far + told)).sum() / count
    error = (inside * (depth.detach() - depths).abs()).sum() / count
    return loss, error
