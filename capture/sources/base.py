"""What every camera source offers: open, read pictures, close."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

StampedBy = Literal["driver", "host", "file"]

MAX_WIDTH = 7680
MAX_HEIGHT = 4320


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        pixels: (height, width, 3) uint8, BGR, rows without padding. Nobody writes to it again.
        capture_ns: when it was taken, ``CLOCK_MONOTONIC`` nanoseconds.
        stamped_by: who took that time.
        skipped: pictures since the last one that the source did not deliver (``source_drops``).
        lost: pictures since the last one that were taken and then lost: the sequence shows a gap.
        delay_ns: so much later than ``capture_ns`` a file's picture was due; see ``FrameHeader``.
    """

    pixels: NDArray[np.uint8]
    capture_ns: int
    stamped_by: StampedBy
    skipped: int = 0
    lost: int = 0
    delay_ns: int = 0


class SourceLostError(Exception):
    """The source cannot be opened or gives no pictures at present; trying again makes sense."""


class SourceEndedError(Exception):
    """The source is over, as planned."""


class Source(ABC):
    """A camera, or what stands for one. One thread at a time uses it.

    Use it as a context manager: entering opens it, leaving closes it.

    Attributes:
        name: of the source, as people know it; before it is opened too.
        waits_for_run: whether ``begin`` must be called, with the run's epoch, before ``read``.
        watch_frozen: whether pictures that do not change mean a fault.
        open_timeout_s: how long ``open`` and the first picture may take before it is given up.
        silence_s: how long it may be without a picture before it is given up, None for ever.
        expected_fps: the rate that the source promises, 0 where it promises none.
        expected_size: width and height that were asked for, None where the source decides.
        hint: what is wrong at present and what to do, or empty; goes into the status line.
        slow_hint: what to do where the rate stays well below the promise; empty: say nothing.
    """

    name: str = ""
    waits_for_run: bool = False
    watch_frozen: bool = True
    open_timeout_s: float = 10.0
    silence_s: float | None = 3.0
    expected_fps: float = 0.0
    expected_size: tuple[int, int] | None = None
    hint: str = ""
    slow_hint: str = ""

    @abstractmethod
    def open(self) -> str:
        """Opens the source.

        Returns:
            One line that names the source and its real mode.

        Raises:
            SourceLostError: not there or refusing; a later try may succeed.
            UserError: a mistake that no later try mends.
        """

    def begin(self, epoch_ns: int) -> None:  # noqa: B027 - most sources have nothing to do
        """Tells the instant that time 0 of files is played at."""

    @abstractmethod
    def read(self, stop: threading.Event) -> Picture:
        """Waits for the next picture.

        Args:
            stop: ends waiting early, with ``SourceEndedError``.

        Raises:
            SourceLostError: the source gives no more pictures; open it again.
            SourceEndedError: it is over.
            UserError: a mistake that no later try mends.
        """

    @abstractmethod
    def close(self) -> None:
        """Releases the source; does nothing where it is not open."""

    def __enter__(self) -> str:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def as_bgr(pixels: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Checks and normalises what a decoder returned.

    Args:
        pixels: (height, width), (height, width, 1) or (height, width, 3) uint8.
        name: of the source, for the error.

    Returns:
        (height, width, 3) uint8, contiguous.

    Raises:
        SourceLostError: neither grey nor BGR, or larger than the largest picture that is handled.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise SourceLostError(f"{name}: pictures of shape {pixels.shape} and type {pixels.dtype}")
    if pixels.shape[0] > MAX_HEIGHT or pixels.shape[1] > MAX_WIDTH:
        raise SourceLostError(
            f"{name}: pictures of {pixels.shape[1]}×{pixels.shape[0]}, "
            f"larger than {MAX_WIDTH}×{MAX_HEIGHT}"
        )
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)
