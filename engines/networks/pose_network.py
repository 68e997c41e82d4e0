"""A 2D pose network (CPN or light CPN) as an engine sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from engines.networks.cpn import JOINTS
from engines.networks.engine_network import VIEWS, EngineNetwork, NetworkInfo, Port
from engines.networks.joint_context import BY_JOINT


@dataclass(frozen=True, slots=True)
class FeatureMaps:
    """What a pose network gives beside its heatmaps.

    Attributes:
        channels: of them all.
        stride: pixels of the crop that a cell takes.
        by_joint: each of the 17 joints has its own share of the channels, one after the other,
            which are read where that joint was found (``engines.networks.joint_context``).
    """

    channels: int
    stride: int = 4
    by_joint: bool = False


class PoseNetwork(EngineNetwork):
    """Crops in, heatmaps and features out.

    Args:
        network: gives ``PoseMaps``.
        name: its module in the catalogue.
        options: what it was built with.
        height: of the crops in pixels.
        width: of the crops in pixels.
        features: what it gives beside the heatmaps.
        joints: which joints: ``coco17`` or ``h36m17``.
        peak: value of a heatmap where the network is certain.

    Raises:
        ValueError: ``joints`` is neither of the two.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        options: Mapping[str, object],
        height: int,
        width: int,
        features: FeatureMaps,
        joints: str,
        peak: float,
    ) -> None:
        super().__init__()
        if joints not in ("coco17", "h36m17"):
            raise ValueError(f"joints '{joints}' are neither coco17 nor h36m17")
        self.inner = network
        stride = features.stride
        facts = {"joints": joints, "heatmap_peak": str(peak)}
        if features.by_joint:
            facts["features"] = BY_JOINT
        self.info = NetworkInfo(
            network=name,
            options=options,
            kind="pose2d",
            inputs=(Port("images", (VIEWS, 3, height, width)),),
            outputs=(
                Port("heatmaps", (VIEWS, JOINTS, height // 4, width // 4)),
                Port("features", (VIEWS, features.channels, height // stride, width // stride)),
            ),
            facts=facts,
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps images (B, 3, H, W), RGB/255 minus CPN's mean, to heatmaps and features."""
        maps = self.inner(inputs[0])
        return maps.heatmaps, maps.features
