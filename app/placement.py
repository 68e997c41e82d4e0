"""Where the root-relative skeleton stands in the room."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from app.messages import Pose
from engines.skeleton import JOINT_COUNT

_ANKLES: Final = (3, 6)
_ANKLE_HEIGHT_M: Final = 0.075  # of the ankle's centre above the sole
_USUAL_PELVIS_M: Final = 0.92


class Placer:
    """Puts poses on the floor (z = 0)."""

    def __init__(self) -> None:
        """Starts at a usual standing height."""
        self._height = _USUAL_PELVIS_M

    def place(self, pose: Pose) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The skeleton in the room.

        With a known root it stands there. Otherwise the pelvis is above the origin, so high that
        the lower known ankle stands on the floor; while no ankle is known the height stays.

        Args:
            pose: of any kind; one that is not valid, or without joints, gives confidence 0
                everywhere.

        Returns:
            (17, 3) joints in metres, z up, and (17,) confidence 0…1, which is 0 where a joint is
            not known (its place is then meaningless).
        """
        whole = len(pose.joints) == len(pose.confidence) == JOINT_COUNT
        if not (pose.valid and whole):
            return np.zeros((JOINT_COUNT, 3)), np.zeros(JOINT_COUNT)
        joints = np.array(pose.joints, dtype=np.float64)
        confidence = np.array(pose.confidence, dtype=np.float64)
        known = np.isfinite(joints).all(axis=1) & np.isfinite(confidence)
        confidence = np.clip(np.where(known, confidence, 0.0), 0.0, 1.0)
        joints = np.where(known[:, None], joints, 0.0)
        if pose.root is not None and all(math.isfinite(value) for value in pose.root):
            return joints + np.array(pose.root), confidence
        return joints + np.array([0.0, 0.0, self.stand(joints, confidence)]), confidence

    def stand(self, joints: npt.NDArray[np.float64], confidence: npt.NDArray[np.float64]) -> float:
        """How high above the floor the pelvis is.

        Args:
            joints: (17, 3) metres, relative to the pelvis, z up.
            confidence: (17,) 0 where a joint is not known.

        Returns:
            Metres, so that the lower known ankle stands on the floor; as before where none is.
        """
        standing = [ankle for ankle in _ANKLES if confidence[ankle] > 0.0]
        if standing:
            self._height = _ANKLE_HEIGHT_M - float(joints[standing, 2].min())
        return self._height
