"""Which processes of a run are started no more."""

from __future__ import annotations

from pathlib import Path

from app.bus import Subscriber
from app.run_messages import Health
from app.topics import Topic


class FailedProcesses:
    """Hears the supervisor's table."""

    def __init__(self, run_dir: Path) -> None:
        """Subscribes.

        Args:
            run_dir: folder of the run.
        """
        self._healths = Subscriber[Health](run_dir, Topic.HEALTH)
        self._failed: frozenset[str] = frozenset()

    def names(self) -> frozenset[str]:
        """The processes, named as in the table, that have given up."""
        newest = self._healths.latest()
        if newest is not None:
            rows = newest.message.processes
            self._failed = frozenset(row.process for row in rows if row.state == "failed")
        return self._failed

    def close(self) -> None:
        """Closes the socket."""
        self._healths.close()
