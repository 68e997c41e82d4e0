"""Which way is up: from how the person balances, and from how cameras are usually put up.

Over time the body's centre of mass is above the feet (``engines.balance``). In the first seconds
the cameras help: each is tilted, but around a person their tilts cancel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.balance import balance_axis, trunk_axis, upright_axis

Floats = npt.NDArray[np.float64]

_HIPS, _KNEES, _ANKLES = (1, 4), (2, 5), (3, 6)
_MEMORY_S = 30.0
# Seconds of standing that one camera's own top counts for. Tops of four webcams around a person are
# off by 8° in the mean of them; with this share up is off least after one to four seconds.
_CAMERA_S = 0.12
_STRAIGHT = (0.85, 0.95)
# The trunk is asked where legs are not seen; it leans, so it never counts more than the cameras.
_TRUNK_WEIGHT = 0.024


class LevelEstimator:
    """Keeps the direction of up in the reference camera's axes (x right, y down, z forward)."""

    def __init__(self) -> None:
        """Starts from a level camera."""
        self._sum = np.zeros(3)
        self._trunk = np.zeros(3)
        self._cameras = np.array([0.0, -_CAMERA_S, 0.0])
        self._seconds = 0.0
        self._last_ns: int | None = None
        self._fixed: Floats | None = None
        self._front: float | None = None

    @property
    def known(self) -> bool:
        """Whether the person has been seen upright for long enough, or has set the level."""
        return self._fixed is not None or bool(self._seconds > 1.0)

    @property
    def up(self) -> Floats:
        """(3,) unit vector that points up, in the reference camera's axes."""
        if self._fixed is not None:
            return self._fixed
        cameras = float(np.linalg.norm(self._cameras))
        trunk = self._trunk * min(1.0, cameras / max(float(np.linalg.norm(self._trunk)), 1e-9))
        direction = self._sum + self._cameras + trunk
        return np.asarray(direction / np.linalg.norm(direction))

    def update(
        self, time_ns: int, joints: Floats, rotations: Floats, legs_seen: bool = True
    ) -> None:
        """Takes one skeleton.

        Args:
            time_ns: its instant.
            joints: (17, 3) in the reference camera's axes, any unit.
            rotations: (V, 3, 3) from each camera's axes to the reference camera's; NaN where
                unknown.
            legs_seen: whether its legs are more than a guess.
        """
        elapsed = 0.03
        if self._last_ns is not None:
            elapsed = min(max((time_ns - self._last_ns) * 1e-9, 0.0), 0.3)
        self._last_ns = time_ns
        tops = -rotations[:, :, 1]
        self._cameras = _CAMERA_S * tops[~np.isnan(tops[:, 0])].sum(0)
        axis = balance_axis(joints) if legs_seen else trunk_axis(joints)
        # Somebody who lies is straight as well: what is far from up so far counts little.
        agreement = float(np.clip(2 * (axis @ self.up) - 1, 0.0, 1.0))
        if not legs_seen:
            self._trunk *= np.exp(-elapsed / _MEMORY_S)
            self._trunk += elapsed * _TRUNK_WEIGHT * agreement * axis
            return
        # Who sits down tells nothing, and takes nothing away of what they told while they stood.
        weight = elapsed * _stance(joints) * agreement
        keep = np.exp(-weight / _MEMORY_S)
        self._sum = self._sum * keep + weight * axis
        self._seconds = self._seconds * keep + weight

    def turn(self, rotation: Floats) -> None:
        """The reference camera is another from now on.

        Args:
            rotation: (3, 3) from the old one's axes to the new one's.
        """
        base = self._camera_heading()
        self._sum = rotation @ self._sum
        self._trunk = rotation @ self._trunk
        self._cameras = rotation @ self._cameras
        if self._fixed is not None:
            self._fixed = rotation @ self._fixed
        if self._front is not None:  # it was told for the old one's heading
            ahead = np.array([np.sin(self._front), -np.cos(self._front), 0.0])
            self._front = _bearing(self._camera_heading() @ rotation @ base.T @ ahead)

    def set_level(self, joints: Floats, legs_seen: bool = True) -> None:
        """The person is upright now: take their axis as vertical from now on.

        Args:
            joints: (17, 3) in the reference camera's axes, any unit.
            legs_seen: whether its legs are more than a guess; else the trunk tells.
        """
        self._fixed = upright_axis(joints) if legs_seen else trunk_axis(joints)

    def set_front(self, joints: Floats) -> None:
        """The person faces the front now: that becomes the world's −y, towards the viewer."""
        hips = joints[_HIPS[1]] - joints[_HIPS[0]]  # right hip to left hip
        shoulders = joints[11] - joints[14]
        to_left = hips + shoulders
        base = self._camera_heading()
        forward = np.cross(to_left, self.up)
        self._front = _bearing(base @ forward)

    def rotation(self) -> Floats:
        """(3, 3) from the reference camera's axes to the world's (z up).

        The reference camera looks along +y and has x to its right, unless a front was set.
        """
        return np.asarray(self.heading() @ self._camera_heading())

    def heading(self) -> Floats:
        """(3, 3) from the heading of the reference camera to that of the front that was set."""
        if self._front is None:
            return np.eye(3)
        c, s = np.cos(-self._front), np.sin(-self._front)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def _camera_heading(self) -> Floats:
        up = self.up
        forward = np.array([0.0, 0.0, 1.0])
        y = forward - up * (forward @ up)
        norm = np.linalg.norm(y)
        if norm < 1e-3:  # the camera looks straight up or down: take its own top as forward
            y = np.array([0.0, -1.0, 0.0])
            y = y - up * (y @ up)
            norm = np.linalg.norm(y)
        y = y / norm
        return np.stack([np.cross(y, up), y, up])


def _stance(joints: Floats) -> float:
    """0…1: how straight the straighter leg is; 0 for anyone who sits or squats."""
    ratios = []
    for hip, knee, ankle in zip(_HIPS, _KNEES, _ANKLES, strict=True):
        thigh = float(np.linalg.norm(joints[knee] - joints[hip]))
        shin = float(np.linalg.norm(joints[ankle] - joints[knee]))
        leg = float(np.linalg.norm(joints[ankle] - joints[hip]))
        ratios.append(leg / max(thigh + shin, 1e-9))
    low, high = _STRAIGHT
    return float(np.clip((max(ratios) - low) / (high - low), 0.0, 1.0))


def _bearing(direction: Floats) -> float:
    """Angle of a (3,) direction about z, from −y towards x."""
    return float(np.arctan2(direction[0], -direction[1]))
