"""Plays a recording: publishes its messages again, as they were, on the same topics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.messages import Joints2D, Message, Pose, PreviewPart, Previews
from app.process import ProcessContext, run_process
from app.recording.reader import RecordedMessage, Recording
from app.run_messages import RunState
from app.topics import Topic
from engines.errors import UserError

TOPICS: Final = (Topic.POSES, Topic.JOINTS2D, Topic.RIG, Topic.PIPELINE_STATUS)
"""What is published again. Previews are not recorded: their canvases are empty."""

_CANVAS: Final = 44  # grey of an empty canvas
_LEAD_NS: Final = 400_000_000  # subscribers look for it every 200 ms
_LINGER_S: Final = 0.5  # the last messages are seen before the run ends


def main(context: ProcessContext) -> None:
    """Plays ``spec.replay`` once.

    Raises:
        UserError: it cannot be read, or holds no pose.
    """
    path = context.spec.replay
    if path is None:
        raise UserError("replay: no recording was named")
    recording = Recording(path)
    messages = recording.messages(TOPICS)
    first = next(messages, None)
    if first is None:
        damage = f" ({recording.damage})" if recording.damage else ""
        raise UserError(f"{path}: holds no message that could be shown{damage}")
    publishers: dict[Topic, Publisher[Any]] = {
        topic: Publisher(context.run_dir, topic) for topic in (*TOPICS, Topic.PREVIEWS)
    }
    run_states = Subscriber[RunState](context.run_dir, Topic.RUN_STATE)
    context.ready(str(path))
    start_ns = _wait_for_start(context, run_states)
    if start_ns is not None:
        _play(context, publishers, first, messages, start_ns)
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


def _play(
    context: ProcessContext,
    publishers: dict[Topic, Publisher[Any]],
    first: RecordedMessage,
    rest: Iterator[RecordedMessage],
    start_ns: int,
) -> None:
    preview_width = context.spec.config.viewer.preview_width
    clock = _ShownClock()
    recorded: RecordedMessage | None = first
    while recorded is not None:
        due = start_ns + clock.since_first_ns(recorded.message) / context.spec.replay_speed
        if context.stop.wait(max(0.0, (due - now_ns()) * 1e-9)):
            return
        publishers[recorded.topic].send(recorded.message)
        if isinstance(recorded.message, Joints2D):
            previews, pixels = blank_previews(recorded.message, preview_width)
            publishers[Topic.PREVIEWS].send(previews, pixels)
        recorded = next(rest, None)


class _ShownClock:
    """When a message is due: by the instants that were shown, not by when they were recorded.

    Offline work, and files that are played slower than they were filmed, are recorded at the
    machine's pace. What bears no instant of its own follows what came before it.
    """

    def __init__(self) -> None:
        self._first_ns: int | None = None
        self._since_ns = 0

    def since_first_ns(self, message: Message) -> int:
        """Nanoseconds after the first instant; never less than for the message before."""
        if isinstance(message, (Joints2D, Pose)):
            if self._first_ns is None:
                self._first_ns = message.time_ns
            self._since_ns = max(self._since_ns, message.time_ns - self._first_ns)
        return self._since_ns


def blank_previews(joints2d: Joints2D, width: int) -> tuple[Previews, bytes]:
    """Empty pictures for the 2D joints to be drawn on.

    Args:
        joints2d: of one set.
        width: of the pictures in pixels.

    Returns:
        The message and its pixels: one grey picture that all cameras of one shape share.
    """
    parts: list[PreviewPart] = []
    largest = 0
    for view in joints2d.views:
        if view is None or view.width < 1 or view.height < 1:
            continue
        height = min(max(1, round(width * view.height / view.width)), 4 * width)
        largest = max(largest, width * height * 3)
        parts.append(
            PreviewPart(
                camera=view.camera,
                width=width,
                height=height,
                scale=width / view.width,
                offset=0,
            )
        )
    previews = Previews(
        index=joints2d.index, time_ns=joints2d.time_ns, parts=tuple(parts), joints2d=joints2d
    )
    return previews, bytes([_CANVAS]) * largest


if __name__ == "__main__":
    run_process(main)
