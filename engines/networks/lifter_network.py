"""The two lifters as engines see them: the authors' DSVTformer and the rig-agnostic one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from engines.networks.dsvtformer import Dsvtformer, DsvtformerConfig
from engines.networks.engine_network import BATCH, VIEWS, EngineNetwork, NetworkInfo, Port
from engines.networks.rig_lifter import RigLifter, RigLifterConfig
from engines.skeleton import JOINT_COUNT


class DsvtformerNetwork(EngineNetwork):
    """The authors' DSVTformer; its views are fixed, its batch of windows is free.

    Args:
        config: its size.
        options: what ``NetworkInfo.options`` shall say.
    """

    def __init__(self, config: DsvtformerConfig, options: Mapping[str, object]) -> None:
        super().__init__()
        self.inner = Dsvtformer(config)
        frames, views = config.frames, config.views
        self.info = NetworkInfo(
            network="dsvtformer",
            options=options,
            kind="lifter",
            inputs=(
                Port("joints", (BATCH, frames, views, JOINT_COUNT, 2)),
                Port("context", (BATCH, frames, views, 256)),
            ),
            outputs=(Port("joints_3d", (BATCH, frames, JOINT_COUNT, 3)),),
            facts={"axes": "world", "unit": "metre"},
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps joints (B, F, V, 17, 2) and context (B, F, V, 256) to joints (B, F, 17, 3)."""
        return (self.inner(inputs[0], inputs[1]),)


class RigLifterNetwork(EngineNetwork):
    """The rig-agnostic lifter for one window; the number of views is free.

    Args:
        config: its size.
        options: what ``NetworkInfo.options`` shall say.
        context: whether the image stream is part of it.
    """

    def __init__(
        self, config: RigLifterConfig, options: Mapping[str, object], context: bool
    ) -> None:
        super().__init__()
        network = RigLifter(config)
        frames = config.frames
        inputs = [
            Port("keypoints", (1, frames, VIEWS, JOINT_COUNT, 3)),
            Port("view_mask", (1, VIEWS)),
        ]
        if context:
            inputs += [
                Port("context", (1, frames, VIEWS, JOINT_COUNT, config.context_channels)),
                Port("context_mask", (1, frames, VIEWS)),
            ]
        else:
            del network.context_stream
        self.inner = network
        self.info = NetworkInfo(
            network="rig_lifter",
            options=options,
            kind="lifter",
            inputs=tuple(inputs),
            outputs=(
                Port("joints", (1, frames, VIEWS, JOINT_COUNT, 3)),
                Port("log_sigma", (1, frames, VIEWS, JOINT_COUNT)),
            ),
            facts={"axes": "camera", "unit": "body"},
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Lifts one window; arguments and results as in ``RigLifter.forward``."""
        joints, log_sigma = self.inner(*inputs)
        return joints, log_sigma
