"""The joints: names, order, parents and sides of the H36M-17 skeleton.

Every array of joints in the project is in this order. Reference: Human3.6M (Ionescu et al.,
TPAMI 2014), reduced to 17 joints as is common since Martinez et al. (ICCV 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

JOINT_NAMES: Final[tuple[str, ...]] = (
    "pelvis",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "spine",
    "thorax",
    "neck",
    "head",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
)
JOINT_COUNT: Final = len(JOINT_NAMES)

PARENTS: Final[tuple[int, ...]] = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
"""The parent joint of each joint; -1 for the root (pelvis)."""

BONES: Final[tuple[tuple[int, int], ...]] = tuple(
    (parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0
)
"""(parent, child) of the 16 bones."""

LEFT_JOINTS: Final[tuple[int, ...]] = (4, 5, 6, 11, 12, 13)
RIGHT_JOINTS: Final[tuple[int, ...]] = (1, 2, 3, 14, 15, 16)
LIMB_JOINTS: Final[tuple[int, ...]] = tuple(sorted(LEFT_JOINTS + RIGHT_JOINTS))
"""The twelve joints that detectors see directly; the other five are derived from them."""

LEG_JOINTS: Final[tuple[int, ...]] = (2, 3, 5, 6)
"""Knees and ankles: behind a desk nobody sees them."""

MIRROR: Final[tuple[int, ...]] = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)
"""For each joint the joint of the other side (itself on the midline)."""

BODY_UNIT_BONE_LENGTH: Final = 4.2
"""The 16 bones of a body add up to this many body units, which the lifter answers in."""

STATURE_BODY_UNITS: Final = 1.80
"""How tall a standing body is, head top to floor: 1.805 is the mean of 978 rendered people, whose
stature is known; one person is off by 1.8 % from that (standard deviation)."""


def total_bone_length(joints: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Sums the lengths of the 16 bones.

    Args:
        joints: (..., 17, 3) joints, any unit, any frame.

    Returns:
        (...,) sum of bone lengths in the unit of ``joints``.
    """
    parents = [parent for parent, _ in BONES]
    children = [child for _, child in BONES]
    bones = joints[..., children, :] - joints[..., parents, :]
    return np.asarray(np.linalg.norm(bones, axis=-1).sum(-1))


_Real = TypeVar("_Real", bound=np.floating)


def mirrored(values: npt.NDArray[_Real], across: Sequence[int]) -> npt.NDArray[_Real]:
    """What belongs to a person's joints as it belongs to those of the mirrored person.

    Args:
        values: (..., 17, C) of any precision.
        across: Which of the C point across the mirror, and change their sign.

    Returns:
        The same shape.
    """
    turned = values[..., list(MIRROR), :].copy()
    turned[..., list(across)] *= -1
    return turned
