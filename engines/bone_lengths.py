"""Bones do not change their length: what a person's bones measure over time steadies each pose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.skeleton import BONES, LEFT_JOINTS, MIRROR

Floats = npt.NDArray[np.float64]

_MEMORY_S = 20.0
_TRUST = 0.8
# Not all the way: an uncertain network shortens a bone along the line of sight, and stretching it
# fully would exaggerate its guess of the direction.
_SWEEPS = 16
_PARENTS = [parent for parent, _ in BONES]
_CHILDREN = [child for _, child in BONES]
_LEFT = [bone for bone, child in enumerate(_CHILDREN) if child in LEFT_JOINTS]
_RIGHT = [_CHILDREN.index(MIRROR[_CHILDREN[bone]]) for bone in _LEFT]


class BoneLengths:
    """Keeps the usual length of each bone and moves poses towards it."""

    def __init__(self) -> None:
        """Starts knowing nothing."""
        self._sum = np.zeros(len(BONES))
        self._weight = np.zeros(len(BONES))
        self._last_ns: int | None = None

    def steady(self, time_ns: int, joints: Floats, sigma: Floats) -> Floats:
        """Takes one pose and gives it back with steadier bones.

        Args:
            time_ns: its instant.
            joints: (17, 3) root-relative, any axes, any unit that does not change.
            sigma: (17,) expected distance from the truth, same unit.

        Returns:
            (17, 3) root-relative joints, moved as little as makes the bones nearly as long as
            they have been so far, the same left and right; uncertain joints move more.
        """
        elapsed = 0.03
        if self._last_ns is not None:
            elapsed = min(max((time_ns - self._last_ns) * 1e-9, 0.0), 0.3)
        self._last_ns = time_ns
        keep = np.exp(-elapsed / _MEMORY_S)
        bones = joints[_CHILDREN] - joints[_PARENTS]
        lengths = np.maximum(np.linalg.norm(bones, axis=-1), 1e-9)
        weight = elapsed / np.maximum(sigma[_CHILDREN] ** 2 + sigma[_PARENTS] ** 2, 1e-12)
        self._sum = self._sum * keep + weight * lengths
        self._weight = self._weight * keep + weight
        usual = self._both_sides(self._sum) / np.maximum(self._both_sides(self._weight), 1e-12)
        # From the first pose on: that both sides are the same is true of it already.
        target = lengths + _TRUST * (usual - lengths)
        out = _fit_lengths(joints, target, sigma)
        return np.asarray(out - out[:1])

    @staticmethod
    def _both_sides(values: Floats) -> Floats:
        """Adds the two sides up, so that left and right share one length."""
        out = values.copy()
        out[_LEFT] = out[_RIGHT] = values[_LEFT] + values[_RIGHT]
        return out


def _fit_lengths(joints: Floats, target: Floats, sigma: Floats) -> Floats:
    """Position-based dynamics (Müller et al. 2007): each bone moves its two ends, in sweeps."""
    mobility = np.maximum(sigma, 1e-9) ** 2
    both = mobility[_CHILDREN] + mobility[_PARENTS]
    child_share = mobility[_CHILDREN] / both
    bones_at = np.bincount(_PARENTS + _CHILDREN, minlength=len(joints))
    # How far each joint goes with each bone. Several bones pull at a joint at once: their mean,
    # somewhat over-relaxed, converges.
    bone = np.arange(len(_CHILDREN))
    pull = np.zeros((len(joints), len(bone)))
    pull[_CHILDREN, bone] = child_share
    pull[_PARENTS, bone] = child_share - 1
    pull *= 1.5 / bones_at[:, None]
    out = joints.astype(np.float64)
    for _ in range(_SWEEPS):
        bones = out[_CHILDREN] - out[_PARENTS]
        lengths = np.maximum(np.linalg.norm(bones, axis=-1), 1e-9)
        wanted = bones * (target / lengths - 1)[:, None]
        out += pull @ wanted
    return out
