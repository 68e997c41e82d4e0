"""The floor: light that fades into the dark, a metric grid, and the shadow's plane."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from viz.orbit_camera import View, intrinsic
from viz.palette import BACKGROUND, FLOOR, GRID, GRID_STRONG, Colour

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]
Image = npt.NDArray[np.uint8]

RADIUS_M: Final = 5.0
_LINE_Z: Final = 0.002
SHADOW_Z: Final = 0.004
_COARSE: Final = 4  # pixels; the light is smooth
_SEGMENT_M: Final = 0.5


def glow(view: View, width: int, height: int) -> Image:
    """The light on the floor, to be added to a picture of the scene.

    It is computed here, by meeting each pixel's ray with the floor, because a disc of triangles
    costs more than all the rest of the scene where the processor draws.

    Args:
        view: where the scene is seen from.
        width: of the picture in pixels.
        height: of the picture in pixels.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    columns, rows = -(-width // _COARSE), -(-height // _COARSE)
    matrix, eye = intrinsic(width, height), view.eye()
    x = ((np.arange(columns) + 0.5) * _COARSE - 0.5 - matrix[0, 2]) / matrix[0, 0]
    y = ((np.arange(rows) + 0.5) * _COARSE - 0.5 - matrix[1, 2]) / matrix[1, 1]
    right, down, forward = view.extrinsic()[:3, :3]
    across = x[None, :, None] * right + forward
    rays = across + y[:, None, None] * down  # (rows, columns, 3) in the room
    falling = np.minimum(rays[:, :, 2], -1e-6)
    reach = -eye[2] / falling
    place = eye[:2] + rays[:, :, :2] * reach[:, :, None]
    away = np.linalg.norm(place - np.asarray(view.target[:2]), axis=-1)
    share = _falloff(away) * ((rays[:, :, 2] < 0.0) == (eye[2] > 0.0))
    bright = (np.array(FLOOR) - np.array(BACKGROUND)) * share[:, :, None]
    full = cv2.resize(
        bright.astype(np.float32), (columns * _COARSE, rows * _COARSE), None, 0, 0, cv2.INTER_LINEAR
    )[:height, :width]
    # Half a level of noise hides the steps between the few levels of a dark gradient.
    noise = np.random.default_rng(0).random((height, width, 1), dtype=np.float32)
    return np.asarray(full + noise, dtype=np.uint8)


def grid() -> tuple[Floats, Integers, Floats]:
    """Lines every half metre around (0, 0), stronger every whole metre.

    Returns:
        (V, 3) points in metres, (L, 2) lines, (L, 3) BGR colours 0…1 of the lines.
    """
    reach = int(RADIUS_M / _SEGMENT_M)
    steps = np.arange(-reach, reach + 1) * _SEGMENT_M
    begin = steps[:-1]
    lines: list[Floats] = []
    colours: list[Floats] = []
    for place in steps:
        fixed = np.full_like(begin, place)
        strong = abs(place - round(place)) < 1e-6
        middle = np.hypot(fixed, begin + _SEGMENT_M / 2)
        seen = middle < RADIUS_M
        for first, second in ((0, 1), (1, 0)):
            ends = np.full((len(begin), 2, 3), _LINE_Z)
            ends[:, :, first] = fixed[:, None]
            ends[:, 0, second] = begin
            ends[:, 1, second] = begin + _SEGMENT_M
            lines.append(ends[seen])
            colours.append(_fade(GRID_STRONG if strong else GRID, middle[seen]))
    points = np.concatenate(lines).reshape(-1, 3)
    return (
        points,
        np.arange(len(points), dtype=np.int32).reshape(-1, 2),
        np.concatenate(colours),
    )


def shadow(vertices: Floats) -> Floats:
    """Projects (V, 3) vertices onto the floor, from a light that is nearly overhead.

    What lies below the floor casts no shadow beside itself: heights are taken from 0 up.
    """
    height = np.clip(vertices[:, 2:], 0.0, None)
    flat = vertices[:, :2] + height * np.array([[-0.16, 0.10]])
    return np.concatenate([flat, np.full_like(height, SHADOW_Z)], axis=1)


def _fade(colour: Colour, distance: Floats) -> Floats:
    """BGR 0…1 of something on the floor, whose light is added later."""
    background = np.array(BACKGROUND) / 255.0
    brighter = (np.array(colour) - np.array(FLOOR)) / 255.0
    return np.asarray(background + brighter * _falloff(distance)[:, None])


def _falloff(distance: Floats) -> Floats:
    share = np.clip(1.0 - distance / RADIUS_M, 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))
