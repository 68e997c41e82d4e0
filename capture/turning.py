"""Pictures of cameras that are mounted on their side or upside down, turned upright."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.config import Turn

_CODES: Final = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


def upright(pixels: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Turns a picture clockwise.

    Args:
        pixels: (height, width, 3) uint8.
        turn: degrees clockwise.

    Returns:
        The picture itself for 0; else a copy, of size (width, height, 3) for 90 and 270, rows
        without padding.
    """
    if turn == 0:
        return pixels
    return np.asarray(cv2.rotate(pixels, _CODES[turn]), np.uint8)
