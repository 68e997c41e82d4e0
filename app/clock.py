"""Time: monotonic nanoseconds on one host, and one anchor to the wall clock."""

from __future__ import annotations

import time

import msgspec


class ClockAnchor(msgspec.Struct, frozen=True):
    """The same instant on the monotonic and on the wall clock, in nanoseconds."""

    monotonic_ns: int
    wall_ns: int

    def to_wall(self, monotonic_ns: int) -> int:
        """An instant of the monotonic clock in nanoseconds since 1970."""
        return monotonic_ns - self.monotonic_ns + self.wall_ns


def now_ns() -> int:
    """Nanoseconds of ``CLOCK_MONOTONIC``: comparable between processes of one host (PEP 418)."""
    return time.monotonic_ns()


def take_anchor() -> ClockAnchor:
    """Reads both clocks as close together as Python can."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    after = time.monotonic_ns()
    return ClockAnchor(monotonic_ns=(before + after) // 2, wall_ns=wall)
