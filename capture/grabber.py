"""A thread that reads one source, so that a read that blocks never blocks the process."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from capture.sources.base import Picture, Source, SourceEndedError, SourceLostError
from engines.errors import UserError

_WAITING: Final = 2


@dataclass(frozen=True, slots=True)
class Opened:
    """The source is open; ``detail`` names its mode."""

    detail: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The source gives nothing any more; it may be tried again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The source is over."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An error that no later try mends."""

    error: Exception


Event = Opened | Picture | Lost | Ended | Failed


class Grabber:
    """Opens a source, reads it to its end, closes it; all in one thread.

    At most two pictures wait to be taken. A live source drops the older one and goes on reading
    (``overtaken`` counts them), so that nothing piles up before it; a lossless one waits.
    """

    def __init__(self, source: Source, *, lossless: bool) -> None:
        """Starts reading.

        Args:
            source: not opened yet; belongs to this grabber until ``alive`` is False.
            lossless: wait for the taker instead of dropping.
        """
        self._source = source
        self._lossless = lossless
        self._events: deque[Event] = deque()
        self._pictures = 0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._epoch_ns: int | None = None
        self._begun = threading.Event()
        self.overtaken = 0
        self._thread = threading.Thread(target=self._run, name="grabber", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread still runs (it may hang in a driver after ``abandon``)."""
        return self._thread.is_alive()

    def begin(self, epoch_ns: int) -> None:
        """Lets a source that waits for the run begin."""
        self._epoch_ns = epoch_ns
        self._begun.set()

    def take(self, timeout_s: float) -> Event | None:
        """The next event, or None when none comes in time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._events:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            if not self._events:
                return None
            event = self._events.popleft()
            if isinstance(event, Picture):
                self._pictures -= 1
                if self._lossless:
                    self._changed.notify_all()
            return event

    def abandon(self) -> None:
        """Asks the thread to end and to close the source; does not wait for it."""
        self._stop.set()
        self._begun.set()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            with self._source as detail:
                self._put(Opened(detail))
                if self._source.waits_for_run:
                    self._begun.wait()
                    if self._epoch_ns is None:
                        return
                    self._source.begin(self._epoch_ns)
                while not self._stop.is_set():
                    self._put(self._source.read(self._stop))
        except SourceEndedError:
            self._put(Ended())
        except SourceLostError as error:
            self._put(Lost(str(error)))
        except UserError as error:
            self._put(Failed(error))
        except Exception as error:  # a fault of ours: the process must crash, not hang
            self._put(Failed(error))

    def _put(self, event: Event) -> None:
        with self._changed:
            if isinstance(event, Picture):
                while self._pictures >= _WAITING and not self._stop.is_set():
                    if self._lossless:
                        self._changed.wait(0.5)
                    else:
                        self._drop_oldest_picture()
                self._pictures += 1
            self._events.append(event)
            self._changed.notify_all()

    def _drop_oldest_picture(self) -> None:
        for index, event in enumerate(self._events):
            if isinstance(event, Picture):
                del self._events[index]
                self._pictures -= 1
                self.overtaken += 1 + event.skipped + event.lost
                return
