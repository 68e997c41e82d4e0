"""How long to wait before a source is tried again."""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 8.0
HEALTHY_AFTER_S: Final = 5.0


class Backoff:
    """Doubles the pause with every failure, from 0.5 to 8 s.

    A source that has worked for five seconds is trusted again.
    """

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def after_failure(self, worked_s: float) -> float:
        """The pause before the next try.

        Args:
            worked_s: how long the source gave pictures before it failed, 0 if it never did.

        Returns:
            Seconds.
        """
        if worked_s >= HEALTHY_AFTER_S:
            self._next_s = FIRST_S
        pause_s = self._next_s
        self._next_s = min(LONGEST_S, pause_s * 2)
        return pause_s
