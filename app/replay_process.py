"""Plays a recording: publishes its messages again, as they were, on the same topics."""

from __future__ import annotations

from typing import Any, Final

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.process import ProcessContext, run_process
from app.recording.reader import Recording
from app.replay_player import TOPICS, ReplayPlayer
from app.run_messages import Command, RunState
from app.topics import Topic
from engines.errors import UserError

_LEAD_NS: Final = 400_000_000  # subscribers look for it every 200 ms
_LINGER_S: Final = 0.5  # the last messages are seen before the run ends


def main(context: ProcessContext) -> None:
    """Plays ``spec.replay``: once, or with a window as often as people want.

    Raises:
        UserError: it cannot be read, or holds no pose.
    """
    path = context.spec.replay
    if path is None:
        raise UserError("replay: no recording was named")
    recording = Recording(path)
    if next(recording.messages(TOPICS), None) is None:
        damage = f" ({recording.damage})" if recording.damage else ""
        raise UserError(f"{path}: holds no message that could be shown{damage}")
    publishers: dict[Topic, Publisher[Any]] = {
        topic: Publisher(context.run_dir, topic) for topic in (*TOPICS, Topic.PREVIEWS)
    }
    run_states = Subscriber[RunState](context.run_dir, Topic.RUN_STATE)
    context.ready(str(path))
    commands = Subscriber[Command](context.run_dir, Topic.COMMANDS, ("viewer",))
    player = ReplayPlayer(context, recording, publishers, commands)
    start_ns = _wait_for_start(context, run_states)
    if start_ns is not None:
        player.play(start_ns)
        context.stop.wait(_LINGER_S)
    context.finished(_remark(recording))


def _remark(recording: Recording) -> str:
    """What the user must know of a recording that was read as far as it went."""
    if recording.damage:
        return f"the recording is damaged, only what came before was shown: {recording.damage}"
    return "" if recording.ended else "the recording was cut off: its end is missing"


def _wait_for_start(context: ProcessContext, run_states: Subscriber[RunState]) -> int | None:
    """When to begin on this run's clock; None if the run ends before."""
    while not context.stop.is_set():
        received = run_states.receive(100)
        if received is not None and received.message.phase == "running":
            return now_ns() + _LEAD_NS
    return None


if __name__ == "__main__":
    run_process(main)
