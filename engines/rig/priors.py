"""What is expected before anything was seen: webcams, human bodies, and what the user knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.errors import UserError
from engines.rig.types import CAMERA_PARAMETERS, Bools, Floats, KnownCamera
from engines.rig.unknowns import Priors
from engines.skeleton import BODY_UNIT_BONE_LENGTH, BONES

BONE_SHARES: Final = np.array(
    [
        0.0225, 0.0965, 0.1140, 0.0225, 0.0965, 0.1140, 0.0600, 0.0690,
        0.0360, 0.0330, 0.0375, 0.0725, 0.0585, 0.0375, 0.0725, 0.0585,
    ]
)  # fmt: skip
"""Typical share of each bone (order of ``BONES``) in their sum; means over motion capture."""

TYPICAL_FOV_DEG: Final = 63.0
_FOCAL_SIGMA: Final = 0.25  # of the logarithm: 45 to 85 degrees are well within two of it
_K1_SIGMA: Final = 0.05
_KNOWN_K1_SIGMA: Final = 0.01
_OFFSET_SIGMA_S: Final = 0.03
_SHARE_SIGMA: Final = 0.2
_MIDLINE: Final = frozenset({0, 7, 8, 9, 10})
_LIMB_SIGMA_M: Final = 0.02
_MIDLINE_SIGMA_M: Final = 0.04


def focal_of_fov(horizontal_fov_deg: float) -> float:
    """Focal length in half-widths for a horizontal field of view."""
    return float(1 / np.tan(np.radians(horizontal_fov_deg) / 2))


def typical_focal(aspect: float) -> float:
    """What a webcam of unknown make has; aspect is height over width (over 1: turned upright)."""
    return focal_of_fov(TYPICAL_FOV_DEG) * max(1.0, aspect)


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """Everything known beforehand about V cameras and the person.

    Attributes:
        cameras: (V) what the user gave.
        aspects: (V,) height over width of the pictures.
        stature: of the person, metres.
        body_unit_m: one body unit of the lifter's answers for this person, metres.
        bone_share: bone between the 2D joints, as a share of that between the lifter's.
        levelled: whether the world that fixed cameras are given in has z up.
    """

    cameras: tuple[KnownCamera, ...]
    aspects: Floats
    stature: float
    body_unit_m: float
    bone_share: float = 1.0
    levelled: bool = True

    @property
    def fixed(self) -> Bools:
        """(V,) cameras whose place and direction are given."""
        return np.array([camera.position is not None for camera in self.cameras])

    @property
    def bone_sum(self) -> float:
        """Sum of the bone lengths between the 2D joints, metres."""
        return BODY_UNIT_BONE_LENGTH * self.body_unit_m * self.bone_share


def check_knowledge(knowledge: Knowledge) -> None:
    """Refuses what cannot be.

    Raises:
        UserError: a focal length, position or stature is impossible.
    """
    if not 0.4 <= knowledge.stature <= 2.6:
        raise UserError(f"body height {knowledge.stature:g} m is not a person's; give metres")
    for index, camera in enumerate(knowledge.cameras):
        name = f"camera {index + 1}"
        if camera.focal is not None and not 0.15 < camera.focal < 30:
            raise UserError(f"{name}: focal length {camera.focal:g} half-widths is not possible")
        if (camera.rotation is None) != (camera.position is None):
            raise UserError(f"{name}: give its rotation and position together or neither")
        if camera.rotation is not None:
            error = np.abs(camera.rotation @ camera.rotation.T - np.eye(3)).max()
            if error > 1e-3 or np.linalg.det(camera.rotation) < 0:
                raise UserError(f"{name}: its rotation is not a rotation matrix")


def make_priors(
    knowledge: Knowledge, views: tuple[int, ...], reference: int, release: Bools | None = None
) -> Priors:
    """Expectations for the adjustment of some cameras.

    Args:
        knowledge: what is known.
        views: which cameras take part, n of them.
        reference: index into ``views`` of the one whose axes are used.
        release: (V,) cameras whose given focal length is not to be believed; None for none.

    Returns:
        Priors over those cameras.
    """
    count = len(views)
    cameras = [knowledge.cameras[v] for v in views]
    fixed = knowledge.fixed[list(views)]
    free = np.ones((count, CAMERA_PARAMETERS), bool)
    free[fixed, :6] = False
    free[reference, 8] = False
    if not fixed.any():
        free[reference, :6] = False
    focal = np.empty(count)
    sigma = np.empty(count)
    k1, k1_sigma = np.zeros(count), np.full(count, _K1_SIGMA)
    rotations = np.tile(np.eye(3), (count, 1, 1))
    for i, (view, camera) in enumerate(zip(views, cameras, strict=True)):
        believed = release is None or not release[view]
        if camera.focal is not None and believed:
            focal[i], sigma[i] = camera.focal, max(camera.focal_sigma, 1e-4)
        else:
            focal[i], sigma[i] = typical_focal(float(knowledge.aspects[view])), _FOCAL_SIGMA
        if camera.k1 is not None:
            k1[i], k1_sigma[i] = camera.k1, _KNOWN_K1_SIGMA
    bone_sigma = np.array(
        [_MIDLINE_SIGMA_M if {a, b} & _MIDLINE else _LIMB_SIGMA_M for a, b in BONES]
    )
    return Priors(
        free=free,
        log_focal=np.log(focal),
        log_focal_sigma=sigma,
        k1=k1,
        k1_sigma=k1_sigma,
        offset_sigma=_OFFSET_SIGMA_S,
        rotations=rotations,
        rotation_sigma=np.full(count, np.inf),
        bone_share=BONE_SHARES / BONE_SHARES.sum(),
        bone_share_sigma=_SHARE_SIGMA,
        bone_sum=None if fixed.sum() >= 2 else knowledge.bone_sum,
        bone_measured=np.ones(len(BONES), bool),
        bone_sigma=bone_sigma * knowledge.stature / 1.7,
    )
