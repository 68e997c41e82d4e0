"""What flows in self-calibration: sets of 2D joints in, a rig with its uncertainties out.

Picture coordinates are half-width units, x = 2u/w − 1 and y = (2v − h)/w (x right, y down), so
that a focal length in them does not depend on the resolution. Camera axes are x right, y down,
z forward. The world is z up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

Quality = Literal["good", "fair", "poor"]

CAMERA_PARAMETERS: Final = 9
"""Rotation (3), translation or position (3), log focal length, k1, time offset."""


@dataclass(frozen=True, slots=True)
class CameraModel:
    """How one camera sees.

    A point at (X, Y, Z) in camera axes has xn = (X, Y)/Z and is seen at
    ``principal + focal · xn · (1 + k1 |xn|²)``: OpenCV's model with one radial term and square
    pixels.

    Attributes:
        focal: in half-widths of the picture.
        principal: where the optical axis meets the picture, half-width units; (0, 0) is its centre.
        k1: radial distortion.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """

    focal: float
    principal: tuple[float, float] = (0.0, 0.0)
    k1: float = 0.0
    width: int = 640
    height: int = 480

    @property
    def horizontal_fov_deg(self) -> float:
        """Field of view across the picture, without distortion."""
        return float(np.degrees(2 * np.arctan(1 / self.focal)))


@dataclass(frozen=True, slots=True, eq=False)
class RigCamera:
    """One camera of a rig.

    Attributes:
        id: its name.
        model: how it sees.
        rotation: (3, 3) from world to camera axes.
        position: (3,) of its centre in the world, metres.
        time_offset_s: its pictures show what happened so much later than their time stamps say.
        covariance: (9, 9) of: rotation vector in camera axes (radians), position (metres), log
            focal length, k1, time offset (seconds).
        noise: standard deviation of its 2D joints along one axis, as a share of the person's size
            in the picture.
    """

    id: str
    model: CameraModel
    rotation: Floats
    position: Floats
    time_offset_s: float
    covariance: Floats
    noise: float = 0.01

    @property
    def rotation_sigma_deg(self) -> float:
        """Expected error of the rotation."""
        return float(np.degrees(np.sqrt(max(np.trace(self.covariance[:3, :3]), 0.0))))

    @property
    def position_sigma_m(self) -> float:
        """Expected error of the position."""
        return float(np.sqrt(max(np.trace(self.covariance[3:6, 3:6]), 0.0)))

    @property
    def focal_sigma(self) -> float:
        """Expected relative error of the focal length."""
        return float(np.sqrt(max(self.covariance[6, 6], 0.0)))

    @property
    def time_sigma_s(self) -> float:
        """Expected error of the time offset."""
        return float(np.sqrt(max(self.covariance[8, 8], 0.0)))


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """Where the cameras stand and how they see.

    Attributes:
        cameras: one entry a configured camera, in their order; None where it is not known yet.
        expected_error_mm: root-relative joint error to be expected of a triangulation with this
            rig, standard deviation over 3D.
        quality: the same in one word.
        levelled: whether the world's z is vertical (else the first known camera counts as level).
        body_height_m: the stature that gave the scale.
        bone_lengths: (16,) of the person who was seen, metres, in the order of
            ``engines.skeleton.BONES``; empty where not known.
        rig_error_mm: the part of that error that the rig itself makes; the rest is the 2D joints'.
    """

    cameras: tuple[RigCamera | None, ...]
    expected_error_mm: float
    quality: Quality
    levelled: bool
    body_height_m: float
    bone_lengths: Floats
    rig_error_mm: float = 15.0

    @property
    def known(self) -> tuple[int, ...]:
        """Indices of the cameras that are known."""
        return tuple(i for i, camera in enumerate(self.cameras) if camera is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One set: what all cameras saw at about one time.

    Attributes:
        time_s: the common time.
        view_times_s: (V,) each picture's own time stamp; anything where the view is missing.
        keypoints: (V, 17, 3) x, y in half-width units, confidence 0…1 (0: missing).
        lifted: (V, 17, 3) the lifter's answer in each view's camera axes, root-relative, body
            units; None where there is none for this set.
        lifted_sigma: (V, 17) expected distance of ``lifted`` from the truth; infinite where a view
            has no answer.
    """

    time_s: float
    view_times_s: Floats
    keypoints: Floats
    lifted: Floats | None = None
    lifted_sigma: Floats | None = None


@dataclass(frozen=True, slots=True)
class KnownCamera:
    """What is known of a camera beforehand; None where it is not.

    Attributes:
        focal: in half-widths.
        focal_sigma: relative uncertainty of ``focal``.
        k1: radial distortion.
        principal: principal point, half-width units.
        rotation: (3, 3) world to camera; given together with ``position`` for a camera that is
            fixed.
        position: (3,) in the world, metres.
    """

    focal: float | None = None
    focal_sigma: float = 0.02
    k1: float | None = None
    principal: tuple[float, float] = (0.0, 0.0)
    rotation: Floats | None = None
    position: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RigResult:
    """The answer of one estimation.

    Attributes:
        rig: the rig, or None while there is none to be trusted.
        reason: why there is no rig, or what would make it better: one line for the user; empty
            where all is well.
        warnings: what else the user should know, one line each.
        keyframes: how many instants were used.
        seconds: time from the first to the last of them.
    """

    rig: Rig | None
    reason: str
    warnings: tuple[str, ...]
    keyframes: int
    seconds: float
