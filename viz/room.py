"""What stands in the room beside the person: the cameras' frusta, and the path on the floor.

Arrays only, no graphics library; the scene keeps one set of lines for each and moves their ends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.rig.types import Rig
from viz.palette import FLOOR, FRUSTUM, PATH

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]

MOST_CAMERAS: Final = 8
PATH_POINTS: Final = 400
_WIDTH_M: Final = 0.5  # of a frustum's picture
_LONGEST_M: Final = 0.9
_STEP_M: Final = 0.04
_GAP_M: Final = 1.0  # a longer step is no walking: the world was turned, or somebody else came
_PATH_Z: Final = 0.003
_PATH_WIDTH_M: Final = 0.035
_FRUSTUM_EDGES: Final = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Frustum:
    """One camera as it is drawn.

    Attributes:
        camera: its name.
        apex: (3,) its centre, metres.
        corners: (4, 3) of its picture: top left, top right, bottom right, bottom left.
    """

    camera: str
    apex: Floats
    corners: Floats


def frusta(rig: Rig) -> tuple[Frustum, ...]:
    """The known cameras of a rig."""
    out = []
    for camera in rig.cameras[:MOST_CAMERAS]:
        if camera is None:
            continue
        lens = camera.model
        depth = min(lens.focal * _WIDTH_M / 2, _LONGEST_M)
        x, y = np.array([-1.0, 1, 1, -1]), np.array([-1.0, -1, 1, 1]) * lens.height / lens.width
        rays = np.stack(
            [(x - lens.principal[0]) / lens.focal, (y - lens.principal[1]) / lens.focal, 0 * x + 1],
            -1,
        )
        corners = camera.position + depth * rays @ camera.rotation
        out.append(Frustum(camera.id, np.asarray(camera.position, np.float64), corners))
    return tuple(out)


def frustum_lines() -> tuple[Integers, Floats]:
    """(L, 2) lines between the five points of each of ``MOST_CAMERAS``, and (L, 3) BGR 0…1."""
    one = np.array(_FRUSTUM_EDGES, np.int32)
    lines = np.concatenate([one + 5 * camera for camera in range(MOST_CAMERAS)])
    return lines, np.broadcast_to(np.array(FRUSTUM) / 255.0, (len(lines), 3)).copy()


def frustum_points(shown: tuple[Frustum, ...]) -> Floats:
    """(5 · MOST_CAMERAS, 3) the lines' ends; those of cameras that are not there have no length."""
    points = np.zeros((MOST_CAMERAS, 5, 3))
    points[..., 2] = -1.0
    for index, frustum in enumerate(shown[:MOST_CAMERAS]):
        points[index, 0], points[index, 1:] = frustum.apex, frustum.corners
    return points.reshape(-1, 3)


def path_mesh() -> tuple[Integers, Floats]:
    """(T, 3) triangles of a ribbon along the path, seen from above, and its vertices' colours.

    The vertices are left and right of each point, oldest first; the colours, (2 · PATH_POINTS, 3)
    BGR 0…1, fade with age.
    """
    left = 2 * np.arange(PATH_POINTS - 1, dtype=np.int32)
    first = np.stack([left + 1, left + 3, left + 2], -1)
    second = np.stack([left + 1, left + 2, left], -1)
    share = np.repeat(np.linspace(0.0, 1.0, PATH_POINTS), 2)[:, None]
    dark, bright = np.array(FLOOR) / 255.0, np.array(PATH) / 255.0
    return np.concatenate([first, second]), dark + share * (bright - dark)


class FloorPath:
    """Where the person has walked."""

    def __init__(self) -> None:
        """Starts with no path."""
        self._points: deque[tuple[float, float]] = deque(maxlen=PATH_POINTS)

    def add(self, x: float, y: float) -> bool:
        """Takes the pelvis's place on the floor, metres; True if the path grew."""
        if self._points:
            away = float(np.hypot(x - self._points[-1][0], y - self._points[-1][1]))
            if away < _STEP_M:
                return False
            if away > _GAP_M:
                self._points.clear()
        self._points.append((x, y))
        return True

    def clear(self) -> None:
        """Forgets the path: the world has other axes now."""
        self._points.clear()

    def vertices(self) -> Floats:
        """(2 · PATH_POINTS, 3) of the ribbon just above the floor; without area where no path."""
        places = np.zeros((PATH_POINTS, 2))
        if self._points:
            known = np.array(self._points)
            places[:] = known[0]
            places[PATH_POINTS - len(known) :] = known
        along = np.gradient(places, axis=0)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        left = np.stack([-along[:, 1], along[:, 0]], -1) * _PATH_WIDTH_M / 2
        out = np.full((PATH_POINTS, 2, 3), _PATH_Z)
        out[:, 0, :2], out[:, 1, :2] = places + left, places - left
        return out.reshape(-1, 3)
