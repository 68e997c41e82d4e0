"""The bus with real sockets: order, drops, late subscribers, restarts, foreign messages."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from app.bus import Publisher, Received, Subscriber, endpoint
from app.clock import now_ns
from app.messages import FrameHeader, Previews
from app.run_messages import Command, RunState
from app.topics import Topic
from engines.errors import UserError
from live_runs import wait_for
from tests.staged_run import joints2d

pytestmark = pytest.mark.alone


def _header(sequence: int) -> FrameHeader:
    return FrameHeader(
        camera="c0", run=1, sequence=sequence, capture_ns=now_ns(), stamped_by="host",
        width=4, height=2,
    )  # fmt: skip


def _state(epoch_ns: int) -> RunState:
    return RunState(phase="running", epoch_ns=epoch_ns, anchor_monotonic_ns=1, anchor_wall_ns=2)


def _connected(publisher: Publisher[RunState], subscriber: Subscriber[RunState]) -> None:
    """PUB/SUB gives no sign of a connection but the first message."""

    def arrived() -> bool:
        publisher.send(_state(-1))
        return subscriber.receive(20) is not None

    wait_for(arrived, "connection", 10)


def test_messages_arrive_whole_and_in_order(short_tmp: Path) -> None:
    with (
        Publisher[FrameHeader](short_tmp, Topic.FRAMES, "c0", lossless=True) as publisher,
        Subscriber[FrameHeader](short_tmp, Topic.FRAMES, ("c0",), lossless=True) as subscriber,
    ):
        for k in range(3):
            pixels = np.full((2, 4, 3), k, np.uint8)
            wait_for(lambda k=k, pixels=pixels: publisher.send(_header(k), pixels.data), "room", 10)
        for k in range(3):
            received = subscriber.receive(5000)
            assert received is not None
            assert received.message.sequence == k
            pixels = np.frombuffer(received.payload, np.uint8)
            assert pixels.shape == (24,)
            assert (pixels == k).all()
            assert not pixels.flags.writeable


def test_a_lossless_publisher_waits_for_its_subscriber(short_tmp: Path) -> None:
    big = np.zeros(1 << 20, np.uint8)
    with Publisher[FrameHeader](short_tmp, Topic.FRAMES, "c0", lossless=True) as publisher:
        assert not publisher.send(_header(0), big.data)  # nobody is there
        with Subscriber[FrameHeader](short_tmp, Topic.FRAMES, ("c0",), lossless=True) as subscriber:
            sent = 0
            while publisher.wait_writable(500) and sent < 100:
                sent += publisher.send(_header(sent), big.data)
            assert 0 < sent < 100  # full: the sender is told
            got = 0
            while (received := subscriber.receive(1000)) is not None:
                assert received.message.sequence == got
                got += 1
            assert got == sent


def test_a_slow_subscriber_loses_what_comes_while_its_queue_is_full(short_tmp: Path) -> None:
    with (
        Publisher[RunState](short_tmp, Topic.RUN_STATE) as publisher,
        Subscriber[RunState](short_tmp, Topic.RUN_STATE) as subscriber,
    ):
        _connected(publisher, subscriber)
        for k in range(5000):
            publisher.send(_state(k))
        received = subscriber.drain()
        assert 0 < len(received) < 5000
        epochs = [r.message.epoch_ns for r in received]
        assert epochs == sorted(set(epochs))
        assert epochs[:5] == [0, 1, 2, 3, 4]


def test_of_previews_a_slow_subscriber_gets_the_newest(short_tmp: Path) -> None:
    pixels = np.zeros(1_200_000, np.uint8)

    def preview(index: int) -> Previews:
        return Previews(index=index, time_ns=now_ns(), parts=(), joints2d=joints2d(index))

    with (
        Publisher[Previews](short_tmp, Topic.PREVIEWS) as publisher,
        Subscriber[Previews](short_tmp, Topic.PREVIEWS) as subscriber,
    ):
        wait_for(
            lambda: publisher.send(preview(-1), pixels.data) and subscriber.receive(50) is not None,
            "connection",
            10,
        )
        for round_ in range(3):
            for k in range(20):
                pixels = np.full(1_200_000, k, np.uint8)
                publisher.send(preview(100 * round_ + k), pixels.data)
                time.sleep(0.01)
            taken: list[Received[Previews]] = []

            def last_came(taken: list[Received[Previews]] = taken, round_: int = round_) -> bool:
                if (received := subscriber.latest()) is not None:
                    taken.append(received)
                return bool(taken) and taken[-1].message.index == 100 * round_ + 19

            time.sleep(0.3)
            wait_for(last_came, "the newest", 10)
            assert len(taken) < 10, "older ones were kept"
            newest = taken[-1]
            assert newest.payload.nbytes == 1_200_000 and newest.payload[-1] == 19
            assert newest.payload.readonly
        assert subscriber.malformed == 0


def test_a_restarted_publisher_is_found_again(short_tmp: Path) -> None:
    with Subscriber[RunState](short_tmp, Topic.RUN_STATE) as subscriber:
        for _ in range(3):
            with Publisher[RunState](short_tmp, Topic.RUN_STATE) as publisher:
                _connected(publisher, subscriber)


def test_foreign_bytes_are_counted_and_skipped(short_tmp: Path) -> None:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(endpoint(short_tmp, Topic.COMMANDS, "viewer"))
    good = msgspec.msgpack.encode(Command(action="level", at_ns=1))
    other_version = msgspec.msgpack.encode(Command(action="quit", at_ns=1, schema=99))
    bad = [b"", b"\xff\xff", b"\x00" * 1000, good[:-3], other_version, b"\x81\xa4type\xa1x"]
    with Subscriber[Command](short_tmp, Topic.COMMANDS, ("viewer",)) as subscriber:

        def arrived() -> bool:
            for data in bad:
                socket.send(data)
            socket.send_multipart([good, b"extra"])
            socket.send(good)
            received = subscriber.receive(50)
            return received is not None and received.message.action == "level"

        wait_for(arrived, "the good message", 10)
        assert subscriber.malformed >= len(bad) + 1
    socket.close()


def test_a_path_too_long_for_a_socket_is_explained(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with pytest.raises(UserError, match="XDG_RUNTIME_DIR"):
        Publisher[RunState](deep, Topic.RUN_STATE)
