"""What the pipeline hears of where the cameras are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.bus import Publisher, Subscriber
from app.messages import Evidence, RigUpdate
from app.process import ProcessContext
from app.topics import Topic

_LOG = logging.getLogger("pipeline")
_AGAIN_S: Final = 0.5
"""What was sent before the other process had connected is sent once more."""
_GIVE_UP_S: Final = 120.0


class RigUpdates:
    """Takes the newest word on the cameras; offline, waits until every set was looked at.

    Without the wait it would hang on the machine's other work which poses of a recording are made
    with which cameras.
    """

    def __init__(self, run_dir: Path, *, lockstep: bool) -> None:
        """Subscribes.

        Args:
            run_dir: folder of the run.
            lockstep: whether to wait.
        """
        self._lockstep = lockstep
        self._subscriber = Subscriber[RigUpdate](run_dir, Topic.RIG)
        self._newest: RigUpdate | None = None

    def newest(self) -> RigUpdate | None:
        """The last word; None before the first."""
        received = self._subscriber.latest()
        if received is not None:
            self._newest = received.message
        return self._newest

    def wait_for(
        self,
        evidence: Evidence,
        publisher: Publisher[Evidence],
        context: ProcessContext,
        given_up: Callable[[], bool],
    ) -> None:
        """Waits until a set that was published has been looked at, where that is wanted.

        Args:
            evidence: the set.
            publisher: sends it again where there is no answer.
            context: of the process; the wait ends when it is to stop.
            given_up: whether the process that looks at the sets is started no more.
        """
        began = sent = time.monotonic()
        while self._lockstep and not context.stop.is_set():
            newest = self.newest()
            if newest is not None and newest.seen >= evidence.index:
                return
            context.turned()
            now = time.monotonic()
            if given_up() or now - began > _GIVE_UP_S:
                _LOG.warning("the cameras' process does not answer; going on without waiting")
                self._lockstep = False
            elif now - sent > _AGAIN_S:
                sent = now
                publisher.send(evidence)
            received = self._subscriber.receive(50)
            if received is not None:
                self._newest = received.message

    def close(self) -> None:
        """Closes the socket."""
        self._subscriber.close()
