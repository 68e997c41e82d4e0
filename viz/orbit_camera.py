"""The viewer's camera: it circles a point, and eases to where it was sent.

Frame: z up, metres, as in ``app.messages.Pose``. At azimuth 0 the camera looks along +y, as the
reference camera does; a positive azimuth moves it to the right (counter-clockwise from above).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

FIELD_OF_VIEW_DEG: Final = 38.0
"""Vertical field of view."""

_EASE_S: Final = 0.14  # time constant of turning, moving and zooming by hand
_FOLLOW_S: Final = 0.7  # time constant of following the person: slower, so the room stays calm
_SETTLED: Final = 1e-3  # metres and radians below which nobody sees a movement
_ROOM: Final = 1.9  # distance over the cameras' reach
_FARTHEST_M: Final = 9.0
_ROOM_ELEVATION: Final = math.radians(20.0)
_FOLLOW_FREE_M: Final = 0.25  # the person may move so far before the camera follows


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera is.

    Attributes:
        azimuth: radians around the vertical.
        elevation: radians above the horizontal.
        distance: metres from the target.
        target: the point looked at, in metres.
    """

    azimuth: float = math.radians(-24.0)
    elevation: float = math.radians(11.0)
    distance: float = 3.6
    target: tuple[float, float, float] = (0.0, 0.0, 0.88)

    def eye(self) -> npt.NDArray[np.float64]:
        """(3,) position of the camera in metres."""
        level = math.cos(self.elevation) * self.distance
        offset = np.array(
            [
                math.sin(self.azimuth) * level,
                -math.cos(self.azimuth) * level,
                math.sin(self.elevation) * self.distance,
            ]
        )
        return np.asarray(np.asarray(self.target) + offset)

    def extrinsic(self) -> npt.NDArray[np.float64]:
        """(4, 4) world to camera; camera axes x right, y down, z forward."""
        forward = np.asarray(self.target) - self.eye()
        forward /= np.linalg.norm(forward)
        right = np.array([math.cos(self.azimuth), math.sin(self.azimuth), 0.0])
        rotation = np.stack([right, np.cross(forward, right), forward])
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = -rotation @ self.eye()
        return matrix


def intrinsic(width: int, height: int) -> npt.NDArray[np.float64]:
    """(3, 3) pinhole matrix in pixels for a viewport of ``width`` × ``height``."""
    focal = height / 2.0 / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2.0)
    return np.array(
        [[focal, 0.0, width / 2.0 - 0.5], [0.0, focal, height / 2.0 - 0.5], [0.0, 0.0, 1.0]]
    )


class OrbitCamera:
    """Keeps where the camera is and where it is going."""

    def __init__(self, home: View | None = None) -> None:
        """Starts at ``home`` (by default before the person, a little aside and above)."""
        self._home = home or View()
        self._goal = self._home
        self._view = self._home
        self._followed = self._home.target

    @property
    def view(self) -> View:
        """Where the camera is now."""
        return self._view

    @property
    def settled(self) -> bool:
        """Whether it stands still."""
        a, b = self._view, self._goal
        apart = max(abs(p - q) for p, q in zip(a.target, b.target, strict=True))
        turned = max(abs(a.azimuth - b.azimuth), abs(a.elevation - b.elevation))
        return max(apart, turned, abs(a.distance - b.distance)) < _SETTLED

    def reset(self) -> None:
        """Goes home, by the shorter way round, to where the person is."""
        turns = round((self._view.azimuth - self._home.azimuth) / math.tau)
        self._goal = replace(
            self._home,
            azimuth=self._home.azimuth + turns * math.tau,
            target=(self._followed[0], self._followed[1], self._home.target[2]),
        )

    def orbit(self, right: float, up: float) -> None:
        """Turns by so many radians; the elevation stays between the floor and the zenith."""
        elevation = min(max(self._goal.elevation + up, math.radians(-8)), math.radians(88))
        self._goal = replace(self._goal, azimuth=self._goal.azimuth + right, elevation=elevation)

    def pan(self, right: float, up: float) -> None:
        """Moves the target by so many metres across the picture."""
        axes = self._goal.extrinsic()[:3, :3]
        moved = np.asarray(self._goal.target) + right * axes[0] - up * axes[1]
        x, y, z = (float(value) for value in moved)
        self._goal = replace(self._goal, target=(x, y, min(max(z, 0.0), 3.0)))

    def zoom(self, factor: float) -> None:
        """Multiplies the distance, between 0.8 and 20 m."""
        distance = min(max(self._goal.distance * factor, 0.8), 20.0)
        self._goal = replace(self._goal, distance=distance)

    def step_back(self, reach: float) -> None:
        """Takes in a room whose cameras stand up to ``reach`` metres from the person.

        Not where somebody has chosen a distance by hand.
        """
        if self._goal.distance != self._home.distance:
            return
        distance = min(max(_ROOM * reach, self._home.distance), _FARTHEST_M)
        self._home = replace(self._home, distance=distance, elevation=_ROOM_ELEVATION)
        self._goal = replace(self._goal, distance=distance, elevation=_ROOM_ELEVATION)

    def follow(self, x: float, y: float) -> None:
        """Keeps the person at (x, y) near the middle; small steps aside do not move it."""
        dx, dy = x - self._followed[0], y - self._followed[1]
        away = math.hypot(dx, dy)
        if away <= _FOLLOW_FREE_M:
            return
        share = 1.0 - _FOLLOW_FREE_M / away
        old = self._followed
        self._followed = (old[0] + dx * share, old[1] + dy * share, old[2])
        goal = self._goal.target
        self._goal = replace(
            self._goal, target=(goal[0] + dx * share, goal[1] + dy * share, goal[2])
        )

    def step(self, seconds: float) -> View:
        """Moves on by so much time and returns where it is then."""
        if self.settled:
            self._view = self._goal
            return self._view
        fast = 1.0 - math.exp(-max(seconds, 0.0) / _EASE_S)
        slow = 1.0 - math.exp(-max(seconds, 0.0) / _FOLLOW_S)
        now, goal = self._view, self._goal
        x, y, z = (
            p + (q - p) * share
            for p, q, share in zip(now.target, goal.target, (slow, slow, fast), strict=True)
        )
        self._view = View(
            azimuth=now.azimuth + (goal.azimuth - now.azimuth) * fast,
            elevation=now.elevation + (goal.elevation - now.elevation) * fast,
            distance=now.distance + (goal.distance - now.distance) * fast,
            target=(x, y, z),
        )
        return self._view
