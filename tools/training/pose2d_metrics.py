"""How well 2D joints are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.skeleton import LIMB_JOINTS
from tools.studio.shards import HIDDEN, VISIBLE

NEAR: Final = 0.05
"""A joint counts as found within this fraction of the body height."""

_Array = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class KeypointScore:
    """Joints found within 5 % of body height, in per cent, and other figures.

    Attributes:
        crops: So many people.
        visible: Of the visible joints.
        visible_limbs: Of the visible joints of arms and legs.
        hidden: Of those hidden but inside the picture.
        by_joint: (17,) of the visible ones.
        error: Mean distance of the visible joints in per cent of body height.
        median: Median of the same.
        visible_confidence: Mean confidence of the visible joints.
        hidden_confidence: Of the hidden ones.
        outside_confidence: Of those outside the picture.
    """

    crops: int
    visible: float
    visible_limbs: float
    hidden: float
    by_joint: tuple[float, ...]
    error: float
    median: float
    visible_confidence: float
    hidden_confidence: float
    outside_confidence: float


def score_keypoints(
    places: _Array,
    confidence: _Array,
    joints: _Array,
    visibility: npt.NDArray[np.uint8],
    stature: _Array,
) -> KeypointScore:
    """Compares found joints with true ones.

    Args:
        places: (B, 17, 2) found joints.
        confidence: (B, 17).
        joints: (B, 17, 2) true ones, in the same pixels.
        visibility: (B, 17).
        stature: (B,) body height at the person's distance, in the same pixels.
    """
    error = np.linalg.norm(places - joints, axis=-1) / stature[:, None]
    found = error < NEAR
    seen, behind = visibility == VISIBLE, visibility == HIDDEN
    limbs = np.zeros(error.shape[1], np.bool_)
    limbs[list(LIMB_JOINTS)] = True
    return KeypointScore(
        crops=len(error),
        visible=_per_cent(found[seen]),
        visible_limbs=_per_cent(found[seen & limbs]),
        hidden=_per_cent(found[behind]),
        by_joint=tuple(_per_cent(found[seen[:, j], j]) for j in range(error.shape[1])),
        error=_per_cent(error[seen]),
        median=100 * float(np.median(error[seen])) if seen.any() else float("nan"),
        visible_confidence=_mean(confidence[seen]),
        hidden_confidence=_mean(confidence[behind]),
        outside_confidence=_mean(confidence[~seen & ~behind]),
    )


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _per_cent(values: npt.NDArray[np.generic]) -> float:
    return 100 * _mean(values)
