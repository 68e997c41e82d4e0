"""Notices a camera that repeats one picture."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_STEP: Final = 8


class FrozenDetector:
    """Says whether the pictures have not changed at all for some time.

    A real camera's pictures always differ by noise. Samples are compared first; only where they
    agree is the whole picture looked at, so a working camera costs next to nothing.
    """

    def __init__(self, frozen_after_s: float) -> None:
        """Starts with nothing seen.

        Args:
            frozen_after_s: how long pictures may stay the same.
        """
        self._after_ns = round(frozen_after_s * 1e9)
        self._last: NDArray[np.uint8] | None = None
        self._changed_ns = 0

    def update(self, pixels: NDArray[np.uint8], time_ns: int) -> bool:
        """Takes the next picture.

        Args:
            pixels: (height, width, 3) uint8; kept until the next call and never written to.
            time_ns: when it was taken.

        Returns:
            Whether the source is frozen.
        """
        last, self._last = self._last, pixels
        if last is None or not _same(last, pixels):
            self._changed_ns = time_ns
            return False
        return time_ns - self._changed_ns >= self._after_ns


def _same(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    if a is b:
        return True
    return np.array_equal(a[::_STEP, ::_STEP], b[::_STEP, ::_STEP]) and np.array_equal(a, b)
