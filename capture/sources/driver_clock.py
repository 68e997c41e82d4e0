"""When to believe the time stamps of a camera driver."""

from __future__ import annotations

from typing import Final

_OLDEST_NS: Final = 1_000_000_000
_PATIENCE = 3


class DriverClock:
    """Decides for each picture between the driver's time and this host's.

    V4L2 drivers stamp each picture in ``CLOCK_MONOTONIC``, closer to the exposure than this
    process can. Some drivers and back ends give 0, another clock, or the same value again. A stamp
    is used where it is not 0, not in the future, at most one second old, and later than the one
    before. After three bad ones in a row the driver is not asked again.
    """

    def __init__(self) -> None:
        self._last_ns = 0
        self._bad = 0

    def choose(self, driver_ms: float, grabbed_ns: int) -> int | None:
        """The driver's time of a picture, if it can be trusted.

        Args:
            driver_ms: what the driver says, milliseconds of ``CLOCK_MONOTONIC``.
            grabbed_ns: this host's time right after the grab.

        Returns:
            Nanoseconds of ``CLOCK_MONOTONIC``, or None to use ``grabbed_ns``.
        """
        if self._bad >= _PATIENCE:
            return None
        # nan and infinities fail the comparison.
        if 0 < driver_ms <= grabbed_ns / 1e6:
            driver_ns = round(driver_ms * 1e6)
            if driver_ns > self._last_ns and grabbed_ns - driver_ns <= _OLDEST_NS:
                self._last_ns = driver_ns
                self._bad = 0
                return driver_ns
        self._bad += 1
        return None
