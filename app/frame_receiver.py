"""Takes the cameras' pictures off the bus and puts them together into sets."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zmq

from app.aligner import AlignedSet, Aligner, Stamp
from app.bus import Received, Subscriber
from app.clock import now_ns
from app.config import SynchronizerConfig
from app.messages import CameraStatus, FrameHeader
from app.topics import Topic

_POLL_MS = 100
_RATE_WINDOW_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with its header.

    Attributes:
        header: as published.
        image: (H, W, 3) uint8 BGR, read-only view of the received bytes.
        arrived_ns: when it was taken off the bus.
    """

    header: FrameHeader
    image: npt.NDArray[np.uint8]
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Pictures that belong together, one a view, None where a view has none."""

    index: int
    time_ns: int
    frames: tuple[Frame | None, ...]
    skews_ns: tuple[int | None, ...]


@dataclass(slots=True)
class ViewCounters:
    """What arrived from one camera."""

    frames: int = 0
    dropped: int = 0
    run: int | None = None
    sequence: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    status: CameraStatus | None = None
    given_up: bool = False

    @property
    def ended(self) -> bool:
        """Nothing will come any more."""
        return self.given_up or (self.status is not None and self.status.state == "ended")

    @property
    def fps(self) -> float:
        """Mean rate of the pictures that arrived, by their capture times."""
        if self.first_ns is None or self.last_ns is None or self.last_ns <= self.first_ns:
            return 0.0
        return (self.frames - 1) / ((self.last_ns - self.first_ns) * 1e-9)


class FrameReceiver:
    """A thread that drains the frame sockets, and the sets made of what it got.

    Live, the sockets are always drained and ``next_set`` gives the newest set. Offline
    (``lossless``), no more is read than the next set needs, so the sources wait.
    """

    def __init__(
        self,
        run_dir: Path,
        cameras: Sequence[str],
        config: SynchronizerConfig,
        *,
        lossless: bool = False,
    ) -> None:
        """Starts receiving.

        Args:
            run_dir: folder of the run's sockets.
            cameras: identifiers, the reference camera first.
            config: skew and rates.
            lossless: read only as much as is needed, and pass nothing over.
        """
        self._cameras = tuple(cameras)
        self._lossless = lossless
        self._min_interval_ns = 0 if lossless else int(0.9e9 / config.max_rate_hz)
        self._aligner = Aligner(
            len(cameras),
            max_skew_ns=int(config.max_skew_ms * 1e6),
            lost_after_ns=int(config.lost_after_ms * 1e6),
            history=None if lossless else 8,
        )
        self._images: list[dict[int, Frame]] = [{} for _ in cameras]
        self.counters = [ViewCounters() for _ in cameras]
        self._keys = 0
        self.malformed = 0
        self._condition = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._receive, args=(run_dir,), name="frames", daemon=True
        )
        self._thread.start()

    def next_set(self, timeout_s: float) -> FrameSet | None:
        """Waits for the next set; None when none is complete in time."""
        deadline = now_ns() + int(timeout_s * 1e9)
        with self._condition:
            while True:
                aligned = (
                    self._aligner.pop_next()
                    if self._lossless
                    else self._aligner.pop_newest(self._min_interval_ns)
                )
                if aligned is not None:
                    made = self._take(aligned)
                    self._condition.notify_all()
                    return made
                # Where one file begins later than others, their first pictures belong to no set.
                self._free_old()
                left = (deadline - now_ns()) * 1e-9
                if left <= 0 or self._stop.is_set():
                    return None
                self._condition.wait(left)

    @property
    def exhausted(self) -> bool:
        """All cameras have ended and every set was taken."""
        with self._condition:
            ended = all(counters.ended for counters in self.counters)
            return ended and (not self._lossless or self._aligner.exhausted)

    def give_up(self, camera: str) -> None:
        """Waits no longer for a camera whose process has failed again and again."""
        view = self._cameras.index(camera)
        with self._condition:
            self.counters[view].given_up = True
            self._aligner.close(view)
            self._condition.notify_all()

    def close(self) -> None:
        """Stops the thread."""
        self._stop.set()
        with self._condition:
            self._condition.notify_all()
        self._thread.join(timeout=2)

    def _take(self, aligned: AlignedSet) -> FrameSet:
        frames = tuple(
            None if stamp is None else self._images[view].get(stamp.key)
            for view, stamp in enumerate(aligned.views)
        )
        self._free_old()
        return FrameSet(aligned.index, aligned.time_ns, frames, aligned.skews_ns)

    def _free_old(self) -> None:
        for view, images in enumerate(self._images):
            kept = self._aligner.kept(view)
            for key in [key for key in images if key not in kept]:
                del images[key]

    def _receive(self, run_dir: Path) -> None:
        frames = [
            Subscriber[FrameHeader](run_dir, Topic.FRAMES, (c,), lossless=self._lossless)
            for c in self._cameras
        ]
        statuses = Subscriber[CameraStatus](run_dir, Topic.CAMERA_STATUS, self._cameras)
        try:
            while not self._stop.is_set():
                if self._lossless:
                    self._receive_needed(frames, statuses)
                else:
                    self._receive_all(frames, statuses)
                self.malformed = sum(s.malformed for s in frames)
        finally:
            for subscriber in frames:
                subscriber.close()
            statuses.close()

    def _receive_all(
        self,
        frames: Sequence[Subscriber[FrameHeader]],
        statuses: Subscriber[CameraStatus],
    ) -> None:
        poller = zmq.Poller()
        for socket in (*(s.socket for s in frames), statuses.socket):
            poller.register(socket, zmq.POLLIN)
        while not self._stop.is_set():
            if not poller.poll(_POLL_MS):
                continue
            arrived = [(v, m) for v, s in enumerate(frames) for m in s.drain()]
            said = statuses.drain()
            with self._condition:
                for view, received in arrived:
                    self._add(view, received)
                for status in said:
                    self._note(status.message)
                self._free_old()
                self._condition.notify_all()

    def _receive_needed(
        self,
        frames: Sequence[Subscriber[FrameHeader]],
        statuses: Subscriber[CameraStatus],
    ) -> None:
        with self._condition:
            while self._buffered() and not self._stop.is_set():
                self._condition.wait(0.1)
            view = self._aligner.starving
            for status in statuses.drain():
                self._note(status.message)
        if view is None:
            self._stop.wait(0.01)
            return
        received = frames[view].receive(_POLL_MS)
        with self._condition:
            if received is not None:
                self._add(view, received)
            else:
                status_now = self.counters[view].status
                if status_now is not None and (
                    status_now.state == "ended" and self.counters[view].frames >= status_now.frames
                ):
                    self._aligner.close(view)
            self._condition.notify_all()

    def _buffered(self) -> bool:
        """Enough pictures wait to be taken; more would only fill the memory."""
        return all(len(images) > 6 for images in self._images) or any(
            len(images) > 60 for images in self._images
        )

    def _add(self, view: int, received: Received[FrameHeader]) -> None:
        header = received.message
        counters = self.counters[view]
        if header.codec != "bgr24" or len(received.payload) != header.width * header.height * 3:
            self.malformed += 1
            return
        if counters.run != header.run:
            if counters.run is not None:
                self._aligner.restart(view)
            counters.run = header.run
            counters.sequence = None
        if counters.sequence is not None:
            counters.dropped += max(0, header.sequence - counters.sequence - 1)
        counters.sequence = header.sequence
        counters.frames += 1
        if counters.first_ns is None:
            counters.first_ns = header.capture_ns
        counters.last_ns = header.capture_ns
        key = self._keys
        self._keys += 1
        if self._aligner.push(view, Stamp(key, header.capture_ns)):
            image = np.frombuffer(received.payload, np.uint8)
            self._images[view][key] = Frame(
                header, image.reshape(header.height, header.width, 3), now_ns()
            )

    def _note(self, status: CameraStatus) -> None:
        view = self._cameras.index(status.camera) if status.camera in self._cameras else None
        if view is None:
            return
        self.counters[view].status = status
        if status.state == "ended" and not self._lossless:
            self._aligner.close(view)
