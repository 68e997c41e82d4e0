"""Turns termination signals into an event, whatever the main thread is doing."""

from __future__ import annotations

import signal
import socket
import threading
from types import FrameType

_NUMBERS = frozenset({signal.SIGINT, signal.SIGTERM})


def set_on_signals(stop: threading.Event) -> None:
    """Sets ``stop`` when the process is asked to end, for the rest of the process's life.

    A Python signal handler runs in the main thread, between two of its steps. That is too late
    where the main thread waits without limit and another thread got the signal, and ``Event.set``
    in a handler waits for itself for ever where it interrupts the same event's ``wait`` or
    ``set``. So the interpreter's own handler writes the number to a socket, from whichever thread
    gets the signal (``signal.set_wakeup_fd``), and a thread that does nothing else reads it there.

    Args:
        stop: set once; later signals change nothing.

    Raises:
        ValueError: called from a thread other than the main thread.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in _NUMBERS:
        signal.signal(number, _ignore)
    threading.Thread(
        target=_listen, args=(reader, writer, stop), name="stop signals", daemon=True
    ).start()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Nothing is left to do, but without a handler there would be no wake-up."""


def _listen(reader: socket.socket, _writer: socket.socket, stop: threading.Event) -> None:
    # The writer is an argument so that it stays open as long as somebody reads.
    while True:
        numbers = reader.recv(64)
        if _NUMBERS.intersection(numbers):
            stop.set()
