"""The person's way over the last half minute, densely: what level and floor are found from.

The adjustment keeps few instants, as different as can be. A foot that stands still is told by its
speed, and for that the sets must follow each other closely.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final

import numpy as np

from engines.rig.local_fit import person_size
from engines.rig.monitor import between_sets
from engines.rig.noise import JOINT_FACTORS
from engines.rig.projection import undistort
from engines.rig.triangulation import Cameras, triangulate
from engines.rig.types import Bools, Floats, Observation
from engines.skeleton import JOINT_COUNT

_SETS: Final = 400
_SPACING_S: Final = 0.06
_LONGEST_STEP_S: Final = 0.35
_MIN_CONFIDENCE: Final = 0.3
_NEEDED: Final = (0, 1, 2, 3, 4, 5, 6, 8, 10)  # trunk, legs and head: what stands upright


class Trail:
    """Keeps the newest sets, and triangulates them with any rig."""

    def __init__(self) -> None:
        """Starts empty."""
        self._sets: deque[Observation] = deque(maxlen=_SETS)

    def add(self, observation: Observation) -> None:
        """Takes a set; times must ascend."""
        if not self._sets or observation.time_s >= self._sets[-1].time_s + _SPACING_S:
            self._sets.append(observation)

    def clear(self) -> None:
        """Forgets everything."""
        self._sets.clear()

    def skeletons(self, cameras: Cameras) -> tuple[Floats, Floats]:
        """The person at the instants half-way between the sets.

        Args:
            cameras: of a rig.

        Returns:
            (N, 17, 3) joints in the rig's world and (N, 17, 3) their speeds per second, of the
            instants at which trunk, legs and head were seen by two views.
        """
        times, seen = self._instants(cameras.offsets)
        if len(times) < 2:
            return np.zeros((0, JOINT_COUNT, 3)), np.zeros((0, JOINT_COUNT, 3))
        points, solved = _triangulate(cameras, seen)
        step = np.diff(times)
        close: Bools = np.asarray((step > 0) & (step < _LONGEST_STEP_S))
        speed = np.diff(points, axis=0) / np.where(close, step, 1.0)[:, None, None]
        middle = 0.5 * (points[1:] + points[:-1])
        whole: Bools = np.asarray(solved[:, list(_NEEDED)].all(axis=1))
        usable = close & whole[1:] & whole[:-1]
        return middle[usable], speed[usable]

    def _instants(self, offsets: Floats) -> tuple[Floats, Floats]:
        times, seen = [], []
        sets = list(self._sets)
        for before, after in pairwise(sets):
            if after.time_s - before.time_s < _LONGEST_STEP_S:
                middle, keypoints = between_sets(before, after, offsets)
                times.append(middle)
                seen.append(keypoints)
        views = len(offsets)
        return np.array(times), np.array(seen).reshape(-1, views, JOINT_COUNT, 3)


def _triangulate(cameras: Cameras, seen: Floats) -> tuple[Floats, Bools]:
    size = person_size(seen)
    usable = (seen[..., 2] > _MIN_CONFIDENCE) & np.isfinite(size)[..., None]
    usable &= cameras.known[:, None]
    xy = np.where(usable[..., None], seen[..., :2] - cameras.principal[:, None], 0.0)
    xn = undistort(xy, cameras.focal[:, None], cameras.k1[:, None])
    spread = (cameras.noise / cameras.focal * np.nan_to_num(size, nan=1.0))[..., None]
    sigma = np.where(usable, spread * JOINT_FACTORS, np.inf)
    count, views = seen.shape[:2]
    made = triangulate(
        np.swapaxes(xn, 1, 2).reshape(-1, views, 2),
        np.swapaxes(sigma, 1, 2).reshape(-1, views),
        cameras.rotations,
        cameras.positions,
    )
    return made.points.reshape(count, JOINT_COUNT, 3), made.solved.reshape(count, JOINT_COUNT)
