"""What the OpenCV sources share: the options that its back ends read from the environment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import cv2

_FFMPEG_OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
SELECT_TIMEOUT_S: Final = 2
_ENVIRONMENT: Final = threading.Lock()


def prepare_opencv() -> None:
    """Sets what OpenCV reads once; call it before the first capture of the process.

    A V4L2 camera that gives nothing then fails after two seconds instead of ten, and Media
    Foundation does not spend many seconds on hardware transforms when it opens.
    """
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(SELECT_TIMEOUT_S))
    os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")
    cv2.setNumThreads(1)


@contextmanager
def ffmpeg_options(options: Mapping[str, str]) -> Iterator[None]:
    """Gives FFmpeg's demuxer options to the captures opened within.

    What the user has set in the environment wins. Captures of other threads wait: the environment
    is one for all, and these options also say what a capture may open.
    """
    with _ENVIRONMENT:
        before = os.environ.get(_FFMPEG_OPTIONS)
        if before is None:
            os.environ[_FFMPEG_OPTIONS] = "|".join(f"{k};{v}" for k, v in options.items())
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(_FFMPEG_OPTIONS, None)


def fourcc_name(value: float) -> str:
    """The four letters of a FOURCC code as OpenCV returns it; empty where there is none."""
    code = int(value)
    letters = "".join(chr((code >> shift) & 0xFF) for shift in (0, 8, 16, 24))
    return letters if code > 0 and letters.isprintable() else ""
