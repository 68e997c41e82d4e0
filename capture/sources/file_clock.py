"""Which instant each picture of a video file stands for."""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import Final

# A longer pause between two pictures of a file is taken for a damaged time stamp.
LONGEST_GAP_S: Final = 60.0
# Containers count in microseconds at the finest; less than that is no step.
_SHORTEST_GAP_S: Final = 1e-6
_PLAUSIBLE_FPS: Final = (1.0, 240.0)
_USUAL_FPS: Final = 30.0
_INTERVALS: Final = 9


class FileClock:
    """Makes one rising time line from a file's time stamps, over all its loops.

    Real time stamps are honoured, so that variable frame rates and gaps are kept. A stamp that is
    missing, does not rise or jumps by more than a minute is replaced by the one before plus one
    interval, and counted in ``mended``.
    """

    def __init__(self, fps: float, start_s: float) -> None:
        """Starts before the first picture.

        Args:
            fps: nominal rate of the file; files of variable rate may say anything here.
            start_s: time of the file that is at the run's time 0.
        """
        low, high = _PLAUSIBLE_FPS
        self._nominal_s = 1.0 / (fps if low <= fps <= high else _USUAL_FPS)
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._start_s = start_s
        self._loop_start_s = 0.0
        self._position_s: float | None = None
        self._first_s = 0.0
        self.mended = 0

    @property
    def interval_s(self) -> float:
        """Usual time between two pictures: of the last few, at first the nominal one."""
        return median(self._intervals) if self._intervals else self._nominal_s

    @property
    def position_s(self) -> float | None:
        """Time of the last picture in the file, None before the first."""
        return self._position_s

    def advance(self, stamp_ms: float) -> float:
        """Takes the next picture's time stamp.

        Args:
            stamp_ms: time in the file, as the decoder says it.

        Returns:
            Seconds after the run's time 0; negative for pictures before it.
        """
        position = stamp_ms / 1000
        last = self._position_s
        low = -self.interval_s if last is None else last + _SHORTEST_GAP_S
        high = (self._first_s if last is None else last) + LONGEST_GAP_S
        if math.isfinite(position) and low <= position <= high:
            if last is not None:
                self._intervals.append(position - last)
        else:
            position = 0.0 if last is None else last + self.interval_s
            self.mended += 1
        self._position_s = position
        return position - self._start_s + self._loop_start_s

    def begin_loop(self) -> None:
        """The file starts again from ``start_s`` one interval after its last picture."""
        if self._position_s is not None:
            self._loop_start_s += self._position_s + self.interval_s - self._start_s
        self._position_s = None
        self._first_s = 0.0

    def skip(self, position_s: float, loops_s: float = 0.0) -> None:
        """The file was moved.

        Args:
            position_s: about where the next picture is in the file.
            loops_s: what the loops that were passed over lasted.
        """
        self._position_s = None
        self._first_s = position_s
        self._loop_start_s = loops_s


def breaks_off(position_s: float, pictures: int, count: float, fps: float) -> bool:
    """Whether a file that gave no further picture should have had more of them.

    Args:
        position_s: time of its last picture.
        pictures: how many were decoded from its beginning.
        count: how many its header promises, 0 where it promises none.
        fps: rate in its header.

    Returns:
        Whether more than a tenth is missing.
    """
    if count <= 0 or fps <= 0:
        return False
    promised_s = count / fps
    if position_s > 1.1 * promised_s:
        # A variable rate: the header's rate is the finest step of the clock, the count is true.
        return pictures < 0.9 * count
    return position_s < 0.9 * promised_s and promised_s - position_s > 1.0
