"""Uses a found rig: triangulation fused with the lifter, a root in the room, no jump on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from app.tracks import JointTrack
from engines.rig.change_over import ChangeOver, Placed, RootSmoother
from engines.rig.expected_view import expected_boxes
from engines.rig.fusion import pose_with_rig
from engines.rig.triangulation import Cameras, cameras_of
from engines.rig.types import Rig

Floats = npt.NDArray[np.float64]
Stage = Literal["lifter", "rig"]

_LEAST_ROOT_SIGMA_M: Final = 0.003


@dataclass(frozen=True, slots=True)
class StagedPose:
    """A skeleton and what it was made with.

    Attributes:
        joints: (17, 3) metres, root-relative, world axes.
        sigma: (17,) expected distance from the truth, metres.
        root: (3,) pelvis in the room, or None.
        stage: what it was made with.
        expected: (V, 4) where the person should be in the views, half-width units
            (``engines.rig.expected_view``), or None where it was made without a rig.
    """

    joints: Floats
    sigma: Floats
    root: Floats | None
    stage: Stage
    expected: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Instant:
    """What a pose is made of, but for the tracks; see ``RigUse.pose``."""

    time_ns: int
    alone: StagedPose
    aspects: Floats
    lifted: Floats
    lifted_sigma: Floats
    keypoints: npt.NDArray[np.float32] | None


class RigUse:
    """Holds the newest rig and decides what a pose is made with.

    Attributes:
        levelled: whether the rig's z is known to be vertical.
        world: tells the axes apart that a person has set.
    """

    def __init__(self) -> None:
        """Starts without a rig."""
        self._cameras: Cameras | None = None
        self._rig_error_m = 0.0
        self._version = self.world = 0
        self.levelled = False
        self._change = ChangeOver()
        self._root = RootSmoother()
        self._source: tuple[Stage, int] = ("lifter", 0)
        self._last: _Instant | None = None

    def set_rig(self, version: int, world: int, rig: Rig | None) -> None:
        """Takes a rig, or takes it away.

        Args:
            version: tells rigs apart.
            world: tells the axes apart that a person has set; to others there is no passing over.
            rig: for as many cameras as there are views; None for none.
        """
        self._version = version
        self._cameras = None if rig is None else cameras_of(rig)
        if rig is not None:
            self._rig_error_m = rig.rig_error_mm / 1000
            self.levelled = rig.levelled
        if world != self.world:
            self.world = world
            self._change, self._root = ChangeOver(), RootSmoother()

    @property
    def version(self) -> int:
        """Of the rig that is used now; 0 for none."""
        return self._version

    def to_world(self, reference: int, rotations: Floats) -> Floats | None:
        """The turn from a view's camera axes to the world's.

        Args:
            reference: the view.
            rotations: (V, 3, 3) from each view's axes to that one's; NaN where unknown. A view
                whose camera is not known itself is turned as one is that is.

        Returns:
            (3, 3), or None while no camera is known that it can be turned as.
        """
        cameras = self._cameras
        if cameras is None:
            return None
        usable = cameras.known & ~np.isnan(rotations[:, 0, 0])
        if not usable.any():
            return None
        view = reference if usable[reference] else int(np.flatnonzero(usable)[0])
        return np.asarray(cameras.rotations[view].T @ rotations[view].T)

    def instants(self, time_ns: int) -> npt.NDArray[np.int64] | None:
        """(V,) by each view's own time stamps, an instant of the rig's; None without a rig."""
        if self._cameras is None:
            return None
        # A picture shows what happened an offset later than its stamp says.
        return time_ns - np.round(self._cameras.offsets * 1e9).astype(np.int64)

    def pose(
        self,
        time_ns: int,
        alone: StagedPose,
        tracks: list[JointTrack],
        aspects: Floats,
        lifted: Floats,
        lifted_sigma: Floats,
        keypoints: npt.NDArray[np.float32] | None = None,
    ) -> StagedPose:
        """The pose of one instant.

        Args:
            time_ns: the instant.
            alone: what the lifter says alone.
            tracks: each view's joints over time, half-width units.
            aspects: (V,) height over width of the pictures.
            lifted: (V, 17, 3) the lifter's answers in camera axes, root-relative, metres.
            lifted_sigma: (V, 17) expected distances of those, metres; infinite where none.
            keypoints: (V, 17, 3) the tracks at ``instants(time_ns)``, if they were read already.

        Returns:
            The fused pose, or the lifter's where there is no rig or too little is seen; in the
            second after a change it passes from the one to the other.
        """
        instant = _Instant(time_ns, alone, aspects, lifted, lifted_sigma, keypoints)
        made = self._made(instant, tracks)
        source = (made.stage, self._version if made.stage == "rig" else 0)
        before: StagedPose | None = None
        if source != self._source and self._last is not None:
            # What the new source would have said of the instant before: that is compared with
            # what was shown then, so that no motion in between is taken for a difference.
            before = self._made(replace(self._last, keypoints=None), tracks)
            if before.stage != made.stage:
                before = None
        self._source, self._last = source, instant
        shown = self._change.update(
            time_ns * 1e-9,
            source,
            Placed(made.joints, made.root),
            None if before is None else Placed(before.joints, before.root),
        )
        root = shown.root
        if root is not None:
            sigma_m = max(float(made.sigma[0]), _LEAST_ROOT_SIGMA_M)
            root = self._root.update(time_ns * 1e-9, root, sigma_m)
        return replace(made, joints=shown.joints, root=root)

    def _made(self, instant: _Instant, tracks: list[JointTrack]) -> StagedPose:
        """What is known of an instant now: with the rig where there is one, else by the lifter."""
        cameras, times_ns = self._cameras, self.instants(instant.time_ns)
        if cameras is None or times_ns is None:
            return instant.alone
        keypoints = instant.keypoints
        if keypoints is None:
            keypoints = np.stack([t.sample(times_ns[[v]])[0] for v, t in enumerate(tracks)])
        pose = pose_with_rig(
            cameras,
            keypoints.astype(np.float64),
            instant.aspects,
            self._rig_error_m,
            instant.lifted,
            instant.lifted_sigma,
        )
        if pose is None:
            return instant.alone
        sigma = np.where(pose.known, pose.sigma, np.inf)
        # Relative to a pelvis that is off itself.
        sigma[1:] = np.hypot(sigma[1:], pose.sigma[0])
        return StagedPose(
            pose.joints - pose.joints[:1],
            sigma,
            pose.joints[0],
            "rig",
            expected_boxes(cameras, pose),
        )
