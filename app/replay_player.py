"""Plays a recording's messages at the pace of what was filmed; pauses, steps, begins again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.messages import Joints2D, Message, Pose, PreviewPart, Previews
from app.process import ProcessContext
from app.recording.reader import RecordedMessage, Recording
from app.run_messages import Command
from app.topics import Topic

TOPICS: Final = (Topic.POSES, Topic.JOINTS2D, Topic.RIG, Topic.PIPELINE_STATUS)
"""What is published again. Previews are not recorded: their canvases are empty."""

_CANVAS: Final = 44  # grey of an empty canvas
_LISTEN_NS: Final = 20_000_000
_AGAIN_NS: Final = 300_000_000  # the viewer shows nothing that is older than a second


class ReplayPlayer:
    """Publishes what was recorded, as it was."""

    def __init__(
        self,
        context: ProcessContext,
        recording: Recording,
        publishers: Mapping[Topic, Publisher[Any]],
        commands: Subscriber[Command],
    ) -> None:
        """Takes an opened recording.

        Args:
            context: of the process.
            recording: that holds something that can be shown.
            publishers: of ``TOPICS`` and of the previews.
            commands: ``pause``, ``step`` and ``again`` of people.
        """
        self._context = context
        self._recording = recording
        self._publishers = publishers
        self._commands = commands
        self._speed = context.spec.replay_speed
        self._preview_width = context.spec.config.viewer.preview_width
        self._held_ns: int | None = None
        self._stepping = False
        self._shown: dict[Topic, Message] = {}
        self._shown_ns = 0
        self._ended = False
        self._begin(0)

    def play(self, start_ns: int) -> None:
        """Plays until the end, or, where there is a window, until the run is ended.

        Args:
            start_ns: when the first message is due.
        """
        self._start_ns = start_ns
        next_one: RecordedMessage | None = None
        while not self._context.stop.is_set():
            if self._obey():
                next_one = None
            if next_one is None and not self._ended:
                next_one = next(self._messages, None)
                self._ended = next_one is None
            if self._ended and self._context.spec.headless:
                return
            if next_one is None or (self._held_ns is not None and not self._stepping):
                self._wait(now_ns() + _LISTEN_NS)
                self._show_again()
                continue
            since_ns = self._clock.since_first_ns(next_one.message) / self._speed
            if self._stepping:  # now, whatever comes before it
                self._start_ns = now_ns() - round(since_ns)
                self._held_ns = now_ns()
                self._stepping = not isinstance(next_one.message, Pose)
            elif not self._wait(self._start_ns + round(since_ns)):
                continue
            self._send(next_one)
            next_one = None

    def _begin(self, start_ns: int) -> None:
        self._messages: Iterator[RecordedMessage] = self._recording.messages(TOPICS)
        self._clock = _ShownClock()
        self._start_ns = start_ns
        self._ended = False

    def _obey(self) -> bool:
        """Does what people ask for; whether to begin from the beginning."""
        again = False
        for received in self._commands.drain():
            action, now = received.message.action, now_ns()
            if action == "again":
                self._begin(now)
                self._held_ns, self._stepping, again = None, False, True
            elif action == "pause" and self._held_ns is not None:
                self._start_ns += now - self._held_ns
                self._held_ns = None
            elif action in ("pause", "step"):
                self._held_ns = now if self._held_ns is None else self._held_ns
                self._stepping = action == "step"
        return again

    def _wait(self, due_ns: int) -> bool:
        """Waits a little at a time, so as to hear people; whether it is time."""
        left_ns = due_ns - now_ns()
        if left_ns > 0:
            self._context.stop.wait(min(left_ns, _LISTEN_NS) * 1e-9)
        return now_ns() >= due_ns

    def _send(self, recorded: RecordedMessage) -> None:
        message = recorded.message
        self._publishers[recorded.topic].send(message)
        if isinstance(message, Joints2D):
            previews, pixels = blank_previews(message, self._preview_width)
            self._publishers[Topic.PREVIEWS].send(previews, pixels)
        if isinstance(message, (Pose, Joints2D)):
            self._shown[recorded.topic] = message
            self._shown_ns = now_ns()

    def _show_again(self) -> None:
        """What stands still is said now and then, so that nobody takes it for gone."""
        if now_ns() - self._shown_ns < _AGAIN_NS:
            return
        self._shown_ns = now_ns()
        for topic, message in self._shown.items():
            self._publishers[topic].send(message)


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
