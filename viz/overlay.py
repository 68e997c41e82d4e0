"""The 2D skeleton drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import UserError
from engines.skeleton import BONES, JOINT_COUNT
from viz.palette import BONE_COLOURS, JOINT_COLOURS, Colour

Image = npt.NDArray[np.uint8]

_SUBPIXEL: Final = 4  # OpenCV draws at 1/16 pixel
_FAR: Final = 1 << 14  # OpenCV's fixed-point drawing overflows beyond 2^15 pixels
_FAINTEST: Final = 0.35  # brightness of a joint that is hardly known
_INK: Final[Colour] = (16, 12, 10)


def draw_skeleton_2d(
    image: Image,
    keypoints: npt.ArrayLike,
    *,
    scale: float = 1.0,
    offset: tuple[float, float] = (0.0, 0.0),
    thickness: float | None = None,
    least_confidence: float = 0.05,
) -> None:
    """Draws bones and joints, faded by confidence.

    Args:
        image: (H, W, 3) uint8 BGR picture, drawn on in place.
        keypoints: (17, 3) x and y in pixels and confidence 0…1; joints below
            ``least_confidence`` and the bones that need them are left out.
        scale: picture pixels for one pixel of ``keypoints``.
        offset: where the point (0, 0) of ``keypoints`` lies in the picture.
        thickness: of the bones in pixels; by default one that fits the person's size.
        least_confidence: see above.

    Raises:
        UserError: the keypoints have another shape.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if points.shape != (JOINT_COUNT, 3):
        raise UserError(f"keypoints have shape {points.shape}; ({JOINT_COUNT}, 3) is needed")
    with np.errstate(over="ignore", invalid="ignore"):
        place = points[:, :2] * scale + np.asarray(offset)
    seen = (
        (points[:, 2] >= least_confidence)
        & np.isfinite(points).all(axis=1)
        & (np.abs(place) < _FAR).all(axis=1)
    )
    confidence = np.clip(np.where(seen, points[:, 2], 0.0), 0.0, 1.0)
    size = thickness if thickness is not None else _fitting(place[seen], min(image.shape[:2]))
    fixed = np.round(np.where(seen[:, None], place, 0.0) * (1 << _SUBPIXEL)).astype(int).tolist()
    shares = (_FAINTEST + (1.0 - _FAINTEST) * confidence).tolist()
    width = max(1, round(size))
    lines = [
        (fixed[parent], fixed[child], _faded(colour, min(shares[parent], shares[child])))
        for (parent, child), colour in zip(BONES, BONE_COLOURS, strict=True)
        if seen[parent] and seen[child]
    ]
    dots = [
        (fixed[joint], _faded(colour, shares[joint]))
        for joint, colour in enumerate(JOINT_COLOURS)
        if seen[joint]
    ]
    for start, end, _ in lines:
        cv2.line(image, start, end, _INK, width + 2, cv2.LINE_AA, _SUBPIXEL)
    for start, end, colour in lines:
        cv2.line(image, start, end, colour, width, cv2.LINE_AA, _SUBPIXEL)
    radius, rim = (round(part * (1 << _SUBPIXEL)) for part in (size * 1.25, size * 1.25 + 0.6))
    for centre, colour in dots:
        cv2.circle(image, centre, rim, _INK, -1, cv2.LINE_AA, _SUBPIXEL)
        cv2.circle(image, centre, radius, colour, -1, cv2.LINE_AA, _SUBPIXEL)


def draw_box(
    image: Image,
    box: Sequence[float],
    colour: Colour,
    *,
    scale: float = 1.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Draws the four corners of a box, so that it does not cover what is in it.

    Args:
        image: (H, W, 3) uint8 BGR picture, drawn on in place.
        box: x0, y0, x1, y1 in pixels.
        colour: BGR.
        scale: picture pixels for one pixel of ``box``.
        offset: where the point (0, 0) lies in the picture.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        corners = np.asarray(box, dtype=np.float64).reshape(2, 2) * scale + np.asarray(offset)
    if not np.isfinite(corners).all() or np.abs(corners).max() >= _FAR:
        return
    (x0, y0), (x1, y1) = np.round(corners).astype(int).tolist()
    reach = max(3, round(0.18 * min(x1 - x0, y1 - y0)))
    for x, towards_x in ((x0, reach), (x1, -reach)):
        for y, towards_y in ((y0, reach), (y1, -reach)):
            cv2.line(image, (x, y), (x + towards_x, y), colour, 1, cv2.LINE_AA)
            cv2.line(image, (x, y), (x, y + towards_y), colour, 1, cv2.LINE_AA)


def _fitting(places: npt.NDArray[np.float64], picture: int) -> float:
    """A thickness for a person of this size in a picture of this (smaller) side."""
    extent = float(np.ptp(places, axis=0).max()) if len(places) else 0.0
    return min(max(extent / 48.0, 1.0), max(picture / 60.0, 1.0))


def _faded(colour: Colour, share: float) -> Colour:
    return (int(colour[0] * share), int(colour[1] * share), int(colour[2] * share))
