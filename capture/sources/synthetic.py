"""A moving test picture with faults on demand."""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import NDArray

from app.clock import now_ns
from app.config import SyntheticSource as SyntheticConfig
from capture.barcode import Stamp, draw_barcode
from capture.sources.base import Picture, Source, SourceEndedError, SourceLostError

_SPRITE_SHARE = 5  # the moving square is this part of the picture's height


class SyntheticSource(Source):
    """Pictures at exact times of the host's clock, so that several sources keep their phases.

    Picture k is taken at ``k / fps + phase + jitter``. The faults count from the construction, not
    from the last opening. The square in the picture moves with time, the barcode above it holds
    the number and time of the picture.
    """

    def __init__(self, config: SyntheticConfig) -> None:
        """Prepares the picture that all are copied from.

        Args:
            config: its settings.
        """
        self._config = config
        self.name = f"synthetic {config.width}×{config.height} at {config.fps:g} fps"
        self._period_ns = 1e9 / config.fps
        self._random = np.random.default_rng(config.seed)
        self._background = _background(config.width, config.height)
        size = max(2, config.height // _SPRITE_SHARE)
        self._sprite = np.full((size, size, 3), (40, 200, 250), np.uint8)
        self._born_ns = now_ns()
        self._index = 0
        self._first_index = 0
        self._frozen_pixels: NDArray[np.uint8] | None = None
        self.expected_fps = config.fps
        self.silence_s = max(2.0, 4 / config.fps)

    def open(self) -> str:
        """Starts at the next picture of the clock.

        Raises:
            SourceLostError: within the failure that was asked for.
        """
        self._fail_if_asked()
        self._index = self._next_index()
        if self._first_index == 0:
            self._first_index = self._index
        return self.name

    def read(self, stop: threading.Event) -> Picture:
        """Waits for the next picture; one that cannot be made in time is skipped."""
        skipped = lost = 0
        while True:
            due_ns = self._time_of(self._index)
            late_periods = int((now_ns() - due_ns) / self._period_ns)
            if late_periods >= 1:
                skipped += late_periods
                self._index += late_periods
                continue
            if stop.wait(max(0.0, (due_ns - now_ns()) / 1e9)):
                raise SourceEndedError
            self._fail_if_asked()
            hang_left_s = self._left(self._config.hang_at_s, self._config.hang_for_s)
            if hang_left_s > 0:
                if stop.wait(hang_left_s):
                    raise SourceEndedError
                self._index = self._next_index()
                continue
            self._index += 1
            if self._random.random() < self._config.drop:
                lost += 1
                continue
            pixels = self._draw(self._index - 1, due_ns)
            return Picture(pixels, due_ns, "driver", skipped=skipped, lost=lost)

    def close(self) -> None:
        """Nothing to release."""

    def _next_index(self) -> int:
        return math.ceil((now_ns() - self._config.phase_ms * 1e6) / self._period_ns)

    def _time_of(self, index: int) -> int:
        jitter_ms = 0.0
        if self._config.jitter_ms:
            # Two independent offsets make up one interval, hence √2; within half a period the
            # order stays. Drawn by index, so that asking twice gives the same answer.
            draw = np.random.default_rng((self._config.seed, index)).standard_normal()
            limit = 0.45 * self._period_ns / 1e6
            jitter_ms = float(np.clip(draw * self._config.jitter_ms / math.sqrt(2), -limit, limit))
        return round(index * self._period_ns + (self._config.phase_ms + jitter_ms) * 1e6)

    def _left(self, at_s: float | None, for_s: float) -> float:
        """Seconds that are left of a fault, 0 outside it."""
        if at_s is None:
            return 0.0
        age_s = (now_ns() - self._born_ns) / 1e9
        return at_s + for_s - age_s if at_s <= age_s < at_s + for_s else 0.0

    def _fail_if_asked(self) -> None:
        left_s = self._left(self._config.fail_at_s, self._config.fail_for_s)
        if left_s > 0:
            raise SourceLostError(f"synthetic: fails as asked, for {left_s:.1f} s more")

    def _draw(self, index: int, time_ns: int) -> NDArray[np.uint8]:
        frozen = self._left(self._config.freeze_at_s, self._config.freeze_for_s) > 0
        if frozen and self._frozen_pixels is not None:
            return self._frozen_pixels
        pixels = self._background.copy()
        height, width = pixels.shape[:2]
        size = self._sprite.shape[0]
        angle = time_ns / 1e9 * 2.0
        x = round((width - size) * (0.5 + 0.5 * math.cos(angle)))
        y = round((height - size) * (0.6 + 0.4 * math.sin(angle)))
        # A tiny picture may be narrower than the square is high.
        x, y = max(0, x), max(0, y)
        pixels[y : y + size, x : x + size] = self._sprite[
            : min(size, height - y), : min(size, width - x)
        ]
        draw_barcode(pixels, Stamp(index - self._first_index, time_ns))
        self._frozen_pixels = pixels if frozen else None
        return pixels


def _background(width: int, height: int) -> NDArray[np.uint8]:
    """A grey ramp with a checkerboard, (height, width, 3)."""
    ramp = np.linspace(60, 160, width)[None, :] + np.zeros((height, 1))
    rows, columns = np.arange(height)[:, None] // 32, np.arange(width)[None, :] // 32
    grey = ramp + np.where((rows + columns) % 2, 12, -12)
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
