"""The process that finds the cameras from the moving person (``python -m app.rig_process``)."""

from __future__ import annotations

import logging

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
    finder = RigFinder(spec.config, spec.rig, spec.save_rig)
    with (
        Subscriber[Evidence](context.run_dir, Topic.EVIDENCE) as evidence,
        Subscriber[Command](context.run_dir, Topic.COMMANDS, ("viewer",)) as commands,
        Publisher[RigUpdate](context.run_dir, Topic.RIG) as publisher,
    ):
        context.ready()
        next_say = 0
        said: RigUpdate | None = None
        while not context.stop.is_set():
            first = evidence.receive(100)
            if first is not None:
                for received in (first, *evidence.drain()):
                    finder.add(received.message)
            for command in commands.drain():
                _obey(finder, command.message)
            finder.work()
            if finder.update is not said or now_ns() >= next_say:
                said = finder.update
                next_say = now_ns() + _SAY_NS
                publisher.send(said)
        try:
            finder.save()
        except UserError as error:
            _LOG.error("%s", error)


def _obey(finder: RigFinder, command: Command) -> None:
    if command.action == "recalibrate":
        finder.restart()
    elif command.action in ("level", "front"):
        finder.set_world(command.action)


if __name__ == "__main__":
    run_process(main)
