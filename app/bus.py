"""ZeroMQ publishers and subscribers for the topics of one run.

Every publisher binds one ``ipc://`` socket in the run's private folder; subscribers connect to it
in any order. Live topics are PUB/SUB: a subscriber that is slow for longer than its queue lasts
loses what comes then, and sequence numbers in the messages let it count them; of topics of which
only the newest message counts, all others are lost. Offline runs use PUSH/PULL for frames: nothing
is lost and the source waits. Nothing here is reachable from another machine.

A socket belongs to the thread that made it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar, cast

import msgspec
import zmq

from app.messages import SCHEMA_VERSION, Message
from app.topics import Topic
from engines.errors import UserError

M = TypeVar("M", bound=Message)
_MAX_IPC_PATH = 100  # sun_path holds 108 bytes on Linux; libzmq needs a few of them
_LENGTH_BYTES = 4  # of a message that lies in one part with its payload


@dataclass(frozen=True, slots=True)
class Received(Generic[M]):
    """One message and, for topics with a payload, its raw bytes (no copy, read-only)."""

    message: M
    payload: memoryview


def endpoint(run_dir: Path, topic: Topic, key: str = "") -> str:
    """The address of one publisher.

    Raises:
        UserError: the path is longer than a Unix socket allows.
    """
    name = f"{topic.value}.{key}" if key else topic.value
    path = run_dir / f"{name}.sock"
    if len(str(path)) > _MAX_IPC_PATH:
        raise UserError(
            f"{path}: too long for a socket (limit {_MAX_IPC_PATH} characters); "
            "set XDG_RUNTIME_DIR or TMPDIR to a shorter folder"
        )
    return f"ipc://{path}"


class Publisher(Generic[M]):
    """Sends one topic."""

    def __init__(
        self, run_dir: Path, topic: Topic, key: str = "", *, lossless: bool = False
    ) -> None:
        """Binds the topic's socket.

        Args:
            run_dir: private folder of the run.
            topic: what is sent.
            key: camera or process, for keyed topics.
            lossless: wait for the one subscriber instead of dropping (offline runs).
        """
        self._topic = topic
        self._lossless = lossless
        self._encoder = msgspec.msgpack.Encoder()
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(
            zmq.PUSH if lossless else zmq.PUB
        )
        linger_ms = 500 if lossless else 0
        self._socket.setsockopt(zmq.LINGER, linger_ms)
        self._socket.setsockopt(zmq.SNDHWM, topic.info.depth)
        if topic.info.newest:
            self._socket.setsockopt(zmq.CONFLATE, 1)
        self._tracker: zmq.MessageTracker | None = None
        self._socket.bind(endpoint(run_dir, topic, key))

    def send(self, message: M, payload: memoryview | bytes | None = None) -> bool:
        """Sends a message.

        Args:
            message: of the topic's type.
            payload: the second part, for topics that have one. It is sent without a copy: the
                caller must not write to it again.

        Returns:
            False where a lossless subscriber has no room at present; the caller tries again.
        """
        parts: list[bytes | memoryview] = [self._encoder.encode(message)]
        if self._topic.info.payload:
            parts.append(payload if payload is not None else b"")
        if self._topic.info.newest:  # where only the newest is kept, a message has one part
            parts = [b"".join((len(parts[0]).to_bytes(_LENGTH_BYTES, "little"), *parts))]
        try:
            tracker = self._socket.send_multipart(
                parts, flags=zmq.NOBLOCK, copy=False, track=self._lossless
            )
        except zmq.Again:
            return False
        self._tracker = tracker
        return True

    def wait_sent(self, timeout_s: float) -> bool:
        """Waits until the last message has left this process (lossless topics).

        A subscriber that is full may still leave some of it in the kernel, where it is lost if
        this process ends.

        Returns:
            Whether it has left; True also where nothing was sent.
        """
        if self._tracker is None:
            return True
        try:
            self._tracker.wait(timeout_s)
        except zmq.NotDone:
            return False
        return True

    def wait_writable(self, timeout_ms: int) -> bool:
        """Waits until a lossless subscriber has room."""
        return bool(self._socket.poll(timeout_ms, zmq.POLLOUT))

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def __enter__(self) -> Publisher[M]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Subscriber(Generic[M]):
    """Receives one topic from one or several publishers."""

    def __init__(
        self,
        run_dir: Path,
        topic: Topic,
        keys: Sequence[str] = ("",),
        *,
        lossless: bool = False,
    ) -> None:
        """Connects to the publishers, which need not exist yet.

        Args:
            run_dir: private folder of the run.
            topic: what is received.
            keys: cameras or processes, for keyed topics.
            lossless: the publishers were made with ``lossless``.
        """
        self._topic = topic
        self._decoder = msgspec.msgpack.Decoder(topic.info.message)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(
            zmq.PULL if lossless else zmq.SUB
        )
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, topic.info.depth)
        if topic.info.newest:
            self._socket.setsockopt(zmq.CONFLATE, 1)
        # A publisher that was restarted is found again soon, at any time of the run.
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        if not lossless:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        for key in keys:
            self._socket.connect(endpoint(run_dir, topic, key))
        self.malformed = 0

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The socket, for a poller."""
        return self._socket

    def receive(self, timeout_ms: int = 0) -> Received[M] | None:
        """The next message, or None when none comes in time.

        A malformed message is counted in ``malformed`` and skipped.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            left_ms = max(0, round((deadline - time.monotonic()) * 1000))
            if not self._socket.poll(left_ms):
                return None
            received = self._take()
            if received is not None:
                return received

    def drain(self) -> list[Received[M]]:
        """All messages that are waiting, oldest first."""
        messages: list[Received[M]] = []
        while self._socket.poll(0):
            received = self._take()
            if received is not None:
                messages.append(received)
        return messages

    def latest(self) -> Received[M] | None:
        """The newest waiting message; older ones are dropped."""
        messages = self.drain()
        return messages[-1] if messages else None

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _take(self) -> Received[M] | None:
        frames = self._socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)
        parts = [frame.buffer.toreadonly() for frame in frames]
        if self._topic.info.newest:
            parts = _parted(parts[0])
        wanted = 2 if self._topic.info.payload else 1
        try:
            message = self._decoder.decode(parts[0])
        except msgspec.DecodeError:
            self.malformed += 1
            return None
        if len(parts) != wanted or message.schema != SCHEMA_VERSION:
            self.malformed += 1
            return None
        return Received(cast(M, message), parts[1] if wanted == 2 else memoryview(b""))

    def __enter__(self) -> Subscriber[M]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _parted(whole: memoryview) -> list[memoryview]:
    """Message and payload of one part that holds both."""
    end = _LENGTH_BYTES + int.from_bytes(whole[:_LENGTH_BYTES], "little")
    return [whole[_LENGTH_BYTES:end], whole[end:]]
