"""The rate at which something happens."""

from __future__ import annotations

from collections import deque


class RateMeter:
    """Events per second over the last few seconds; it falls to 0 when they stop."""

    def __init__(self, window_s: float = 2.0) -> None:
        """Starts empty.

        Args:
            window_s: how far back it looks.
        """
        self._window_ns = round(window_s * 1e9)
        self._times: deque[int] = deque()

    def add(self, time_ns: int) -> None:
        """Notes an event; times must rise."""
        self._times.append(time_ns)
        self._forget(time_ns)

    def rate(self, time_ns: int) -> float:
        """Events per second, seen at ``time_ns``; 0 for fewer than two events."""
        self._forget(time_ns)
        if len(self._times) < 2:
            return 0.0
        steps = len(self._times) - 1
        span_ns = max(1, self._times[-1] - self._times[0])
        silence_ns = time_ns - self._times[-1]
        if silence_ns > 3 * span_ns / steps:  # they have stopped
            return len(self._times) / (self._window_ns / 1e9)
        return steps / (span_ns / 1e9)

    def _forget(self, time_ns: int) -> None:
        while self._times and self._times[0] < time_ns - self._window_ns:
            self._times.popleft()
