"""Exact labels out of what was drawn: who is seen where, and which joints are hidden."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from tools.studio.camera import Camera, Window, project, to_camera
from tools.studio.developer import Shot
from tools.studio.formats import FloatArray
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE, Bytes

_THICKNESS_M: Final = np.array(
    (
        *(0.20, 0.20, 0.13, 0.11, 0.20, 0.13, 0.11),  # pelvis, legs
        *(0.22, 0.20, 0.20, 0.22),  # spine to head
        *(0.16, 0.11, 0.09, 0.16, 0.11, 0.09),  # arms
    ),
    np.float32,
)
"""How far a joint may lie behind the surface under which it is still in plain sight."""

_COVERED: Final = 0.5
_NEAREST_M: Final = 0.1


def masks(shot: Shot) -> Bytes:
    """(h, w): 0 is the room, 1 the first person, 2 and 3 the others."""
    strongest = shot.people.argmax(-1)
    covered = np.take_along_axis(shot.people, strongest[..., None], -1)[..., 0] > _COVERED
    return np.where(covered, strongest + 1, 0).astype(np.uint8)


def box_of(mask: npt.NDArray[np.bool_], window: Window) -> FloatArray:
    """(4,) box around the set pixels, in pixels of the whole picture; NaN where none is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return np.full(4, np.nan, np.float32)
    height, width = mask.shape
    x = np.array([columns[0], columns[-1] + 1]) * (window.width / width) + window.left
    y = np.array([rows[0], rows[-1] + 1]) * (window.height / height) + window.top
    return np.array([x[0], y[0], x[1], y[1]], np.float32)


def inside(camera: Camera, pixels: FloatArray, depth: FloatArray) -> npt.NDArray[np.bool_]:
    """Which pixels (..., 2) lie in the whole picture, in front of the camera."""
    x, y = pixels[..., 0], pixels[..., 1]
    within = (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    return np.asarray(within & (depth > _NEAREST_M))


def visibility(
    camera: Camera, window: Window, shot: Shot, person: int, joints: FloatArray
) -> tuple[FloatArray, Bytes]:
    """Where a person's joints are in the whole picture, and whether they can be seen.

    A joint is in plain sight where the first surface on its line of sight belongs to the same
    person and lies no further in front of it than the body is thick there.

    Args:
        camera: who looks.
        window: what ``shot`` shows.
        shot: the picture with its labels.
        person: 0, 1 or 2.
        joints: (17, 3) world, metres.

    Returns:
        (17, 2) pixels, NaN behind the camera, and (17,) ``OUTSIDE``, ``HIDDEN`` or ``VISIBLE``.
    """
    pixels = project(camera, joints)
    depth = to_camera(camera, joints)[:, 2]
    within = inside(camera, pixels, depth)
    height, width = shot.depth.shape
    scale = np.array([width / window.width, height / window.height], np.float32)
    cells = np.floor((pixels - np.array([window.left, window.top], np.float32)) * scale)
    state = np.where(within, HIDDEN, OUTSIDE).astype(np.uint8)
    for joint in within.nonzero()[0]:
        x, y = int(cells[joint, 0]), int(cells[joint, 1])
        if not (0 <= x < width and 0 <= y < height):
            continue
        around = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        own = shot.people[around][..., person] > _COVERED
        near = shot.depth[around] > depth[joint] - _THICKNESS_M[joint]
        if (own & near).any():
            state[joint] = VISIBLE
    pixels[depth <= _NEAREST_M] = np.nan  # behind the camera there is no pixel
    return pixels, state
