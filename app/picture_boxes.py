"""Boxes of people in pictures, from units that do not know how large these are."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from app.tracks import to_pixels
from engines.front_ends.base import Box

_LEAST_INSIDE: Final = 0.3
"""Of a person's box in the picture, for other views to say where they are."""


def box_in_picture(box: npt.NDArray[np.float64], width: int, height: int) -> Box | None:
    """The part of a box that lies in a picture.

    Args:
        box: (4,) x0, y0, x1, y1 in half-width units; NaN for none.
        width: of the picture in pixels.
        height: of the picture in pixels.

    Returns:
        (4,) in pixels; None where there is none, or most of it is outside.
    """
    if np.isnan(box).any():
        return None
    corners = np.append(box.reshape(2, 2), np.ones((2, 1)), 1).astype(np.float32)
    whole = to_pixels(corners, width, height)[:, :2]
    inside = np.clip(whole, 0, np.array((width, height), np.float32))
    left = np.ptp(inside, axis=0).prod() / max(float(np.ptp(whole, axis=0).prod()), 1e-6)
    return inside.reshape(4) if left >= _LEAST_INSIDE else None
