"""What a bundle adjustment solves for, what it is adjusted to, and what is known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engines.rig.rotations import exponential
from engines.rig.types import Bools, Floats
from engines.skeleton import BONES, JOINT_COUNT

PARENTS: Final = np.array([a for a, _ in BONES])
CHILDREN: Final = np.array([b for _, b in BONES])
BONE_COUNT: Final = len(BONES)
POINT_UNKNOWNS: Final = 3 * JOINT_COUNT


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The unknowns.

    Attributes:
        rotations: (V, 3, 3) world to camera.
        translations: (V, 3); a point X is at R X + t in camera axes.
        log_focal: (V,).
        k1: (V,).
        offsets: (V,) seconds.
        points: (K, 17, 3) joints at the instants.
        bones: (16,) lengths.
    """

    rotations: Floats
    translations: Floats
    log_focal: Floats
    k1: Floats
    offsets: Floats
    points: Floats
    bones: Floats

    @property
    def positions(self) -> Floats:
        """(V, 3) of the cameras' centres."""
        return np.asarray(-np.einsum("vji,vj->vi", self.rotations, self.translations))

    def moved(self, camera_step: Floats, bone_step: Floats, point_step: Floats) -> State:
        """The state after a step: (V, 9), (16,), (K, 17, 3); rotations turn from the left."""
        turn = exponential(camera_step[:, :3])
        return State(
            rotations=turn @ self.rotations,
            translations=np.einsum("vij,vj->vi", turn, self.translations) + camera_step[:, 3:6],
            log_focal=self.log_focal + camera_step[:, 6],
            k1=self.k1 + camera_step[:, 7],
            offsets=self.offsets + camera_step[:, 8],
            points=self.points + point_step,
            bones=np.maximum(self.bones + bone_step, 0.01),
        )

    def with_points(self, points: Floats) -> State:
        """The same cameras with other joints."""
        return replace(self, points=points)


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """What was seen at K instants by V cameras.

    Attributes:
        xy: (K, V, 17, 2) relative to the principal point, read at the instant minus ``read_at``.
        speed: (K, V, 17, 2) per second.
        sigma: (K, V, 17) standard deviation along one axis; infinite where there is nothing.
        read_at: (V,) time offsets that ``xy`` was read with.
    """

    xy: Floats
    speed: Floats
    sigma: Floats
    read_at: Floats

    @property
    def held(self) -> Bools:
        """(K, 17) joints that at least two views measured."""
        return np.asarray(np.isfinite(self.sigma).sum(1) >= 2)


@dataclass(frozen=True, slots=True, eq=False)
class Priors:
    """What is known beforehand, as normal distributions; unknowns with ``free`` False stay.

    Attributes:
        free: (V, 9) which camera unknowns are solved for.
        log_focal: (V,) expected.
        log_focal_sigma: (V,).
        k1: (V,) expected.
        k1_sigma: (V,).
        offset_sigma: seconds, around 0.
        rotations: (V, 3, 3) expected, world to camera.
        rotation_sigma: (V,) radians; infinite where nothing is expected.
        bone_share: (16,) expected lengths as shares of their sum.
        bone_share_sigma: relative.
        bone_sum: the sum of the lengths, which fixes the scale; None where the scale is fixed
            otherwise.
        bone_measured: (16,) bones whose length is seen; the scale is fixed by these alone, which
            are to be their share of the sum. Others follow the expectation.
        bone_sigma: (16,) how constant each bone is over time, metres.
    """

    free: Bools
    log_focal: Floats
    log_focal_sigma: Floats
    k1: Floats
    k1_sigma: Floats
    offset_sigma: float
    rotations: Floats
    rotation_sigma: Floats
    bone_share: Floats
    bone_share_sigma: float
    bone_sum: float | None
    bone_measured: Bools
    bone_sigma: Floats
