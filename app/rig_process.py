"""The process that finds the cameras from the moving person (``python -m app.rig_process``)."""

from __future__ import annotations

import logging
import time

from msgspec.structs import replace

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.messages import Evidence, RigUpdate
from app.process import ProcessContext, run_process
from app.rig_finder import RigFinder
from app.run_messages import Command
from app.topics import Topic
from engines.errors import UserError

_LOG = logging.getLogger("rig")
_SAY_NS = 1_000_000_000


def main(context: ProcessContext) -> None:
    """Runs until it is stopped."""
    spec = context.spec
    lockstep = spec.config.lossless
    clock = EvidenceClock() if lockstep else None
    finder = RigFinder(
        spec.config,
        spec.rig,
        spec.save_rig,
        clock=now_ns if clock is None else clock.now_ns,
        work_clock=time.process_time_ns if clock is None else clock.now_ns,
    )
    with (
        Subscriber[Evidence](context.run_dir, Topic.EVIDENCE) as evidence,
        Subscriber[Command](context.run_dir, Topic.COMMANDS, ("viewer",)) as commands,
        Publisher[RigUpdate](context.run_dir, Topic.RIG) as publisher,
    ):
        context.ready()
        next_say = 0
        said: RigUpdate | None = None
        seen = -1
        while not context.stop.is_set():
            first = evidence.receive(100)
            if first is not None:
                for received in (first, *evidence.drain()):
                    message = received.message
                    if clock is None:
                        finder.add(message)
                    elif message.index > seen:  # what was not answered at once is sent again
                        clock.time_ns = message.time_ns
                        finder.add(message)
                        finder.work()
                    seen = message.index
            for command in commands.drain():
                _obey(finder, command.message, clock)
            finder.work()
            if finder.update is not said or now_ns() >= next_say or (lockstep and first):
                said = finder.update
                next_say = now_ns() + _SAY_NS
                publisher.send(replace(said, seen=seen))
        try:
            finder.save()
        except UserError as error:
            _LOG.error("%s", error)


class EvidenceClock:
    """The time of what was filmed: offline it is no matter how long anything takes.

    Attributes:
        time_ns: of the newest set.
    """

    def __init__(self) -> None:
        """Starts at zero."""
        self.time_ns = 0

    def now_ns(self) -> int:
        """That time."""
        return self.time_ns


def _obey(finder: RigFinder, command: Command, clock: EvidenceClock | None) -> None:
    if command.action == "recalibrate":
        finder.restart()
    elif command.action in ("level", "front"):
        # Offline nobody saw the moment at which the key was pressed: the newest counts.
        finder.set_world(command.action, command.at_ns if clock is None else clock.time_ns)


if __name__ == "__main__":
    run_process(main)
