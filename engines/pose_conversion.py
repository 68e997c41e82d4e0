"""From detectors' joint sets to H36M-17.

The twelve limb joints are taken over as they are. The five on the midline are constructed points
that no detector reports. They are written here as affine combinations of what it does report, with
weights adding up to one: such a combination may be formed in three dimensions or in any (weak
perspective) picture of them and is the same point, so it stays right from every side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.skeleton import JOINT_COUNT

Array = npt.NDArray[np.float32]

COCO_COUNT: Final = 17
COCO_MIRROR: Final = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""Each COCO joint's partner on the other side."""
BLAZEPOSE_COUNT: Final = 33

_COCO_LIMBS: Final = {
    1: 12, 2: 14, 3: 16, 4: 11, 5: 13, 6: 15, 11: 5, 12: 7, 13: 9, 14: 6, 15: 8, 16: 10,
}  # fmt: skip
_BLAZEPOSE_LIMBS: Final = {
    1: 24, 2: 26, 3: 28, 4: 23, 5: 25, 6: 27, 11: 11, 12: 13, 13: 15, 14: 12, 15: 14, 16: 16,
}  # fmt: skip

# Where motion capture puts the midline joints, from the middle of the hips (0) along the trunk to
# the middle of the shoulders (1) as detectors see them, which is some 2 cm higher than in motion
# capture. The weights of neck and head are fitted to the built-in clip, whose joints are defined as
# in motion capture.
_SPINE: Final = 0.52
_THORAX: Final = 1.05


def _combination(*terms: tuple[float, tuple[int, ...]]) -> dict[int, float]:
    """Adds up weighted means of landmarks."""
    weights: dict[int, float] = {}
    for weight, landmarks in terms:
        for landmark in landmarks:
            weights[landmark] = weights.get(landmark, 0.0) + weight / len(landmarks)
    return weights


def _trunk(fraction: float, hips: tuple[int, ...], shoulders: tuple[int, ...]) -> dict[int, float]:
    return _combination((1 - fraction, hips), (fraction, shoulders))


def _matrix(
    count: int, limbs: Mapping[int, int], midline: Mapping[int, Mapping[int, float]]
) -> Array:
    matrix = np.zeros((JOINT_COUNT, count), np.float32)
    for joint, landmark in limbs.items():
        matrix[joint, landmark] = 1.0
    for joint, weights in midline.items():
        for landmark, weight in weights.items():
            matrix[joint, landmark] = weight
    return matrix


_COCO: Final = _matrix(
    COCO_COUNT,
    _COCO_LIMBS,
    {
        0: _trunk(0.0, (11, 12), (5, 6)),
        7: _trunk(_SPINE, (11, 12), (5, 6)),
        8: _trunk(_THORAX, (11, 12), (5, 6)),
        9: _combination((0.75, (0,)), (0.25, (5, 6))),
        10: _combination((1.24, (3, 4)), (-0.24, (5, 6))),
    },
)
_BLAZEPOSE: Final = _matrix(
    BLAZEPOSE_COUNT,
    _BLAZEPOSE_LIMBS,
    {
        0: _trunk(0.0, (23, 24), (11, 12)),
        7: _trunk(_SPINE, (23, 24), (11, 12)),
        8: _trunk(_THORAX, (23, 24), (11, 12)),
        9: _combination((0.9, (9, 10)), (0.1, (11, 12))),
        # Half from the neck's direction, half from the face's, which follows nods.
        10: _combination((0.6, (2, 5)), (0.8, (7, 8)), (-0.28, (9, 10)), (-0.12, (11, 12))),
    },
)


def coco_to_h36m(joints: Array) -> Array:
    """Converts COCO-17 joints.

    Args:
        joints: (..., 17, 3) x, y in any unit, then confidence 0…1.

    Returns:
        (..., 17, 3) H36M-17 joints in the same unit. A constructed joint has the least of the
        confidences of those that it is made of.
    """
    return _convert(joints, _COCO)


def coco_rivals_to_h36m(rivals: Array) -> Array:
    """Converts other places where COCO-17 joints may be.

    Args:
        rivals: (..., 17, R, 3) x, y in any unit, then heat 0…1, where 0 is none.

    Returns:
        (..., 17, R, 3) those of H36M-17's limb joints; a constructed joint has none.
    """
    converted = np.zeros(rivals.shape, np.float32)
    converted[..., list(_COCO_LIMBS), :, :] = rivals[..., list(_COCO_LIMBS.values()), :, :]
    return converted


def blazepose_to_h36m(landmarks: Array) -> Array:
    """Converts BlazePose's 33 landmarks.

    Args:
        landmarks: (..., 33, 3) x, y in any unit, then confidence 0…1.

    Returns:
        (..., 17, 3) H36M-17 joints in the same unit. A constructed joint has the least of the
        confidences of those that it is made of.
    """
    return _convert(landmarks, _BLAZEPOSE)


def _convert(joints: Array, matrix: Array) -> Array:
    if joints.shape[-2:] != (matrix.shape[1], 3):
        raise ValueError(f"expected (..., {matrix.shape[1]}, 3), not {joints.shape}")
    places = matrix @ np.asarray(joints[..., :2], np.float32)
    used = matrix != 0
    confidence = np.where(used, joints[..., None, :, 2], np.inf).min(axis=-1)
    return np.concatenate([places, confidence[..., None]], axis=-1).astype(np.float32)
