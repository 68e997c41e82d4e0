"""Uses a found rig: triangulation fused with the lifter, a root in the room, no jump on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from app.tracks import JointTrack
from engines.rig.change_over import ChangeOver, Placed, RootSmoother
from engines.rig.fusion import pose_with_rig
from engines.rig.triangulation import Cameras, cameras_of
from engines.rig.types import Rig

Floats = npt.NDArray[np.float64]
Stage = Literal["lifter", "rig"]


@dataclass(frozen=True, slots=True)
class StagedPose:
    """A skeleton and what it was made with.

    Attributes:
        joints: (17, 3) metres, root-relative, world axes.
        sigma: (17,) expected distance from the truth, metres.
        root: (3,) pelvis in the room, or None.
        stage: what it was made with.
    """

    joints: Floats
    sigma: Floats
    root: Floats | None
    stage: Stage


class RigUse:
    """Holds the newest rig and decides what a pose is made with."""

    def __init__(self) -> None:
        """Starts without a rig."""
        self._cameras: Cameras | None = None
        self._rig_error_m = 0.0
        self._version = 0
        self.levelled = False
        self._change = ChangeOver()
        self._root = RootSmoother()

    def set_rig(self, version: int, rig: Rig | None) -> None:
        """Takes a rig, or takes it away.

        Args:
            version: tells rigs apart.
            rig: for as many cameras as there are views; None for none.
        """
        self._version = version
        self._cameras = None if rig is None else cameras_of(rig)
        if rig is not None:
            self._rig_error_m = rig.expected_error_mm / 1000
            self.levelled = rig.levelled

    @property
    def version(self) -> int:
        """Of the rig that is used now; 0 for none."""
        return self._version

    def pose(
        self,
        time_ns: int,
        alone: StagedPose,
        tracks: list[JointTrack],
        aspects: Floats,
        lifted: Floats,
        lifted_sigma: Floats,
        heading: Floats,
    ) -> StagedPose:
        """The pose of one instant.

        Args:
            time_ns: the instant.
            alone: what the lifter says alone.
            tracks: each view's joints over time, half-width units.
            aspects: (V,) height over width of the pictures.
            lifted: (V, 17, 3) the lifter's answers in camera axes, root-relative, metres.
            lifted_sigma: (V, 17) expected distances of those, metres; infinite where none.
            heading: (3, 3) turn about z to the front that the user has set.

        Returns:
            The fused pose, or the lifter's where there is no rig or too little is seen; in the
            second after a change it passes from the one to the other.
        """
        made = alone
        if self._cameras is not None:
            found = self._with_rig(time_ns, tracks, aspects, lifted, lifted_sigma, heading)
            if found is not None:
                made = found
        source = (made.stage, self._version if made.stage == "rig" else 0)
        shown = self._change.update(time_ns * 1e-9, source, Placed(made.joints, made.root))
        return StagedPose(shown.joints, made.sigma, shown.root, made.stage)

    def _with_rig(
        self,
        time_ns: int,
        tracks: list[JointTrack],
        aspects: Floats,
        lifted: Floats,
        lifted_sigma: Floats,
        heading: Floats,
    ) -> StagedPose | None:
        cameras = self._cameras
        assert cameras is not None
        # A picture shows what happened an offset later than its stamp says.
        keypoints = np.stack(
            [
                track.sample(np.array([time_ns - round(float(offset) * 1e9)]))[0]
                for track, offset in zip(tracks, cameras.offsets, strict=True)
            ]
        ).astype(np.float64)
        pose = pose_with_rig(cameras, keypoints, aspects, self._rig_error_m, lifted, lifted_sigma)
        if pose is None:
            return None
        joints = pose.joints @ heading.T
        root = self._root.update(time_ns * 1e-9, joints[0], max(float(pose.sigma[0]), 0.003))
        sigma = np.where(pose.known, pose.sigma, np.inf)
        return StagedPose(joints - joints[:1], sigma, root, "rig")
