"""From one source of poses to another, or from one rig to a better one, without a jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.rig.types import Floats

BLEND_S: Final = 1.0
_LONGEST_GAP_S: Final = 0.5
"""Somebody who comes back after a longer pause is where they are at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A skeleton and where it stands.

    Attributes:
        joints: (17, 3) root-relative, metres.
        root: (3,) in the room, or None while it is not known.
    """

    joints: Floats
    root: Floats | None


class ChangeOver:
    """Bumpless transfer: what differs at the moment of change fades within a second."""

    def __init__(self, blend_s: float = BLEND_S) -> None:
        """Starts with no source.

        Args:
            blend_s: how long a change takes.
        """
        self._blend_s = blend_s
        self._source: object = None
        self._changed_s = -np.inf
        self._last: Placed | None = None
        self._last_s = -np.inf
        self._joint_gap = np.zeros((1, 3))
        self._root_gap = np.zeros(3)

    def update(
        self, time_s: float, source: object, pose: Placed, before: Placed | None = None
    ) -> Placed:
        """Takes the pose of the present source.

        Args:
            time_s: its instant, ascending.
            source: anything that tells one source from another (compared with ``==``).
            pose: what the source says.
            before: what it says of the last instant, where it is new; without it the motion since
                then counts as a difference, too.

        Returns:
            The pose to show: that of the source once a change is over, or after a pause.
        """
        if time_s - self._last_s > _LONGEST_GAP_S:
            self._last, self._changed_s = None, -np.inf
        self._last_s = time_s
        if source != self._source and self._last is not None:
            self._changed_s = time_s
            then = pose if before is None else before
            self._joint_gap = self._last.joints - then.joints
            old, new = self._last.root, then.root
            self._root_gap = np.zeros(3) if old is None or new is None else old - new
        self._source = source
        done = np.clip((time_s - self._changed_s) / self._blend_s, 0.0, 1.0)
        left = 1 - done * done * (3 - 2 * done)
        root = None if pose.root is None else pose.root + left * self._root_gap
        shown = Placed(pose.joints + left * self._joint_gap, root)
        self._last = shown
        return shown


class RootSmoother:
    """A constant-velocity Kalman filter of the root: less shake, and no lag in steady motion.

    Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation", 6.2 (white noise
    acceleration).
    """

    def __init__(self, acceleration: float = 4.0, longest_gap_s: float = 0.5) -> None:
        """Starts with no root.

        Args:
            acceleration: of people's pelvises, m/s² (standard deviation).
            longest_gap_s: after a longer pause it starts anew.
        """
        self._q = acceleration**2
        self._longest_gap_s = longest_gap_s
        self._time_s: float | None = None
        self._state = np.zeros((2, 3))  # position and velocity
        self._spread = np.zeros((2, 2))

    def update(self, time_s: float, root: Floats, sigma_m: float) -> Floats:
        """Takes one measured root.

        Args:
            time_s: its instant.
            root: (3,) metres.
            sigma_m: expected error along one axis.

        Returns:
            (3,) the smoothed root at that instant.
        """
        noise = max(sigma_m, 1e-3) ** 2
        step = None if self._time_s is None else time_s - self._time_s
        if step is None or not 0 <= step <= self._longest_gap_s:
            self._state = np.stack([np.asarray(root, np.float64), np.zeros(3)])
            self._spread = np.diag([noise, 1.0])
        else:
            move = np.array([[1.0, step], [0.0, 1.0]])
            added = self._q * np.array([[step**4 / 4, step**3 / 2], [step**3 / 2, step**2]])
            self._state = move @ self._state
            self._spread = move @ self._spread @ move.T + added
            gain = self._spread[:, 0] / (self._spread[0, 0] + noise)
            self._state = self._state + gain[:, None] * (root - self._state[0])
            self._spread = self._spread - np.outer(gain, self._spread[0])
        self._time_s = time_s
        return np.array(self._state[0])
