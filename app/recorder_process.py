"""The recorder as a process of the run: keeps what is on the bus in an MCAP file."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zmq

from app.bus import Publisher, Subscriber
from app.clock import ClockAnchor, now_ns
from app.process import ProcessContext, run_process
from app.recording.durable_file import DurableFile
from app.recording.layout import RECORDED_TOPICS
from app.recording.recover import seal
from app.recording.writer import RecordingHead, RecordingWriter
from app.run_messages import Command, RecorderStatus, RunState
from app.topics import Topic
from engines.errors import UserError

COMMIT_S: Final = 0.4
"""Whole chunks are handed to the system so often."""

_STATUS_S: Final = 0.5
_WANTED: Final = "recording-to"  # tells a recorder that is started anew what the last one did
_LAST_WORDS_S: Final = 0.2  # messages on their way when the run ends are still kept

_log = logging.getLogger("recorder")


@dataclass(slots=True)
class _Take:
    """One recording in progress; ``writer`` is None until the run's clock is known."""

    file: DurableFile
    writer: RecordingWriter | None = None


class Recorder:
    """Receives the recorded topics and writes them while a take is in progress."""

    def __init__(self, context: ProcessContext) -> None:
        """Subscribes; starts the take that the run asks for.

        Raises:
            UserError: the recording cannot be made.
        """
        self._context = context
        run_dir, config = context.run_dir, context.spec.config
        cameras = tuple(camera.id for camera in config.cameras)
        self._subscribers: dict[Topic, Subscriber[Any]] = {
            topic: Subscriber(run_dir, topic, cameras if topic.info.keyed else ("",))
            for topic in RECORDED_TOPICS
        }
        self._run_states = Subscriber[RunState](run_dir, Topic.RUN_STATE)
        self._commands = Subscriber[Command](run_dir, Topic.COMMANDS, ("viewer",))
        self._status = Publisher[RecorderStatus](run_dir, Topic.RECORDER_STATUS)
        self._poller = zmq.Poller()
        for subscriber in (*self._subscribers.values(), self._run_states, self._commands):
            self._poller.register(subscriber.socket, zmq.POLLIN)
        self._run: RunState | None = None
        self._take: _Take | None = None
        self._path = ""
        self._detail = self._remark = ""
        self._messages = self._bytes = 0
        self._next_commit = self._next_status = 0.0
        self._wanted = context.run_dir / _WANTED
        path, again = self._wanted_path(context.spec.record)
        if path is not None:
            try:
                self._begin(path)
            except OSError as error:
                said = f"{path}: cannot be recorded to: {error.strerror}"
                if not again:
                    raise UserError(said) from error
                self._detail = said
                return
            if again:
                self._remark = "the recorder was started anew, what came before is in another file"

    def run(self) -> None:
        """Records until the run ends."""
        while not self._context.stop.is_set():
            self._turn(100)
        limit = time.monotonic() + _LAST_WORDS_S
        while time.monotonic() < limit:
            self._turn(20)
        self._end()
        self._tell()

    def close(self) -> None:
        """Closes the sockets."""
        for subscriber in (*self._subscribers.values(), self._run_states, self._commands):
            subscriber.close()
        self._status.close()

    def _turn(self, timeout_ms: int) -> None:
        self._poller.poll(timeout_ms)
        if run := self._run_states.latest():
            self._run = run.message
        for command in self._commands.drain():
            if command.message.action == "record":
                self._toggle()
        try:
            self._record()
        except OSError as error:
            self._fail(error)
        now = time.monotonic()
        if now >= self._next_status:
            self._next_status = now + _STATUS_S
            self._tell()

    def _record(self) -> None:
        take, run = self._take, self._run
        if take is not None and take.writer is None and run is not None and run.epoch_ns:
            anchor = ClockAnchor(run.anchor_monotonic_ns, run.anchor_wall_ns)
            head = RecordingHead(self._context.spec, anchor, run.epoch_ns)
            take.writer = RecordingWriter(take.file, head)
        for topic, subscriber in self._subscribers.items():
            for received in subscriber.drain():
                if take is not None and take.writer is not None:
                    take.writer.add(topic, received.message, now_ns())
                    self._messages += 1
        now = time.monotonic()
        if take is not None and take.writer is not None and now >= self._next_commit:
            self._next_commit = now + COMMIT_S
            take.writer.commit()
            self._bytes = take.file.committed

    def _wanted_path(self, at_start: Path | None) -> tuple[Path | None, bool]:
        """What is to be recorded to, and whether a recorder of this run crashed while it was."""
        try:
            wanted = self._wanted.read_text(encoding="utf-8")
        except FileNotFoundError:
            return at_start, False
        return (Path(wanted), True) if wanted else (None, False)

    def _want(self, path: str) -> None:
        # Where run folders have no room this is not remembered; recording is what matters.
        with contextlib.suppress(OSError):
            self._wanted.write_text(path, encoding="utf-8")

    def _toggle(self) -> None:
        if self._take is not None:
            self._want("")
            self._end()
        else:
            name = time.strftime("take-%Y%m%d-%H%M%S.mcap")
            path = self._context.spec.config.recorder.folder / name
            try:
                self._begin(path)
            except OSError as error:
                self._detail = f"{path}: cannot be recorded to: {error.strerror}"
                _log.error(self._detail)
        self._tell()

    def _begin(self, path: Path) -> None:
        number, free = 2, path
        while True:
            try:
                self._take = _Take(DurableFile(free))
                break
            except FileExistsError:
                free = path.with_stem(f"{path.stem}-{number}")
                number += 1
        self._want(str(path))
        self._path, self._detail = str(free), ""
        self._messages = self._bytes = 0
        _log.info("recording to %s", free)

    def _end(self) -> None:
        take, self._take = self._take, None
        if take is None:
            return
        try:
            if take.writer is not None:
                take.writer.finish()
                self._bytes = take.file.size
            take.file.close()
        except OSError as error:
            self._take = take
            self._fail(error)
            return
        if take.writer is None:  # the run never began: there is nothing in the file
            take.file.path.unlink(missing_ok=True)
            self._path = ""
            return
        _log.info("recorded %d messages to %s", self._messages, take.file.path)

    def _fail(self, error: OSError) -> None:
        """Ends a recording that the disk does not take; the run goes on."""
        take, self._take = self._take, None
        if take is None:
            return
        path = take.file.path
        self._want("")
        self._detail = f"recording stopped: {path}: {error.strerror}"
        try:
            take.file.cut()
            take.file.close()
            self._messages = seal(path).messages
            self._bytes = path.stat().st_size
        except (OSError, UserError) as second:
            self._detail += f"; {second}"
        _log.error(self._detail)
        self._tell()

    def _tell(self) -> None:
        self._status.send(
            RecorderStatus(
                at_ns=now_ns(),
                recording=self._take is not None,
                path=self._path,
                messages=self._messages,
                bytes=self._bytes,
                detail=self._detail,
                remark=self._remark,
            )
        )


def main(context: ProcessContext) -> None:
    """Records until the run ends.

    Raises:
        UserError: the recording that the run asks for cannot be made.
    """
    recorder = Recorder(context)
    context.ready(f"recording to {context.spec.record}" if context.spec.record else "waiting")
    try:
        recorder.run()
    finally:
        recorder.close()
    context.finished()


if __name__ == "__main__":
    run_process(main)
