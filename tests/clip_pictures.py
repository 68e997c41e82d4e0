"""Pictures of the built-in clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"


def clip_pictures(camera: int, first: int, count: int = 1) -> Iterator[npt.NDArray[np.uint8]]:
    """Consecutive pictures of one camera, BGR, from the one with number ``first`` on."""
    video = cv2.VideoCapture(str(CLIP / f"camera{camera}.mp4"))
    video.set(cv2.CAP_PROP_POS_FRAMES, first)
    try:
        for _ in range(count):
            read, picture = video.read()
            assert read
            yield np.asarray(picture, np.uint8)
    finally:
        video.release()
