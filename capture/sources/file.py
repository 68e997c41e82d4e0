"""A video file, played at its own rate or as fast as it is consumed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import cv2

from app.clock import now_ns
from app.config import FileSource as FileConfig
from capture.playback import PlaybackDelay
from capture.sources.base import (
    MAX_HEIGHT,
    MAX_WIDTH,
    Picture,
    Source,
    SourceEndedError,
    SourceLostError,
    as_bgr,
)
from capture.sources.file_clock import FileClock, breaks_off
from capture.sources.opencv import ffmpeg_options, fourcc_name
from engines.errors import UserError

# Nothing that names other files or addresses: a clip from a stranger opens only itself.
_OPTIONS: Final = {
    "protocol_whitelist": "file",
    "format_whitelist": (
        "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,ogg,"
        "asf,mxf,nut,gif,av1,ivf,obu,wtv,dv,yuv4mpegpipe"
    ),
}
_THREADS: Final = 2
_SHOW_AT_LEAST_EVERY_S: Final = 0.25
_TELL_DELAY_S: Final = 1.0
_LARGEST_RISE_S: Final = 1.0  # a file that hung for long is not waited for, it jumps on
_SLOW_MOTION_NS: Final = 2_000_000_000
_WAIT_S: Final = 0.02
_SEEK_FROM_S: Final = 2.0
_PLAUSIBLE_FPS: Final = 240.0
_SEEK_SHORT_BY_S: Final = 1.0
_SEEK_MISSES_BY_S: Final = 15.0


class FileSource(Source):
    """Pictures of a video file, timed by their own stamps from the epoch of the run.

    A picture of file time t is taken at ``epoch + t − start_s``. Paced in real time it is given
    out then; where decoding is late, pictures are passed over until it is in time again. Where
    that does not help within a quarter of a second, the run's files are all played slower, in step
    (``capture.playback``). Paced as consumed, all pictures are given out at once. Where the file
    loops, time goes on.
    """

    waits_for_run = True
    watch_frozen = False
    silence_s = None

    def __init__(self, config: FileConfig, delay: PlaybackDelay | None = None) -> None:
        """Takes the settings; nothing is opened.

        Args:
            config: its settings.
            delay: that the files of a run share; None for one that is played alone.
        """
        self._config = config
        self._delay = delay
        self._delay_ns = 0
        self._slower_ns = -_SLOW_MOTION_NS
        self.name = config.path.name
        self._capture: cv2.VideoCapture | None = None
        self._clock = FileClock(30.0, config.start_s)
        self._epoch_ns = 0
        self._fps = 0.0
        self._count = 0.0
        self._from_s = config.start_s
        self._shown_ns = 0
        self._grabbed = False
        self._from_start = True
        self._joined_late = False
        self._decoded = 0
        self._in_range = 0

    def open(self) -> str:
        """Opens the file and decodes its first picture.

        Raises:
            UserError: not there, not readable, or not a video that can be decoded.
        """
        path = self._config.path
        _check_readable(path)
        capture = _open(path)
        if not capture.isOpened() or not _grab(capture, path):
            capture.release()
            raise UserError(
                f"{path}: not a video that can be decoded (damaged, truncated or another kind of "
                "file); copy it again or convert it to MP4"
            )
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not (0 < width <= MAX_WIDTH and 0 < height <= MAX_HEIGHT):
            capture.release()
            raise UserError(
                f"{path}: pictures of {width}×{height}; at most {MAX_WIDTH}×{MAX_HEIGHT} is "
                "handled, scale the file down"
            )
        self._fps = float(capture.get(cv2.CAP_PROP_FPS))
        self._count = max(0.0, float(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._capture = capture
        self._grabbed = True  # the first picture waits for the first read
        self._from_s = self._config.start_s
        self._clock = FileClock(self._fps, self._config.start_s)
        self._from_start = True
        self._decoded = 0
        self._in_range = 0
        codec = fourcc_name(capture.get(cv2.CAP_PROP_FOURCC))
        rate = f"{self._fps:.4g} fps" if self._fps <= _PLAUSIBLE_FPS else "variable rate"
        return f"{path.name} {width}×{height} {codec} {rate}".replace("  ", " ")

    def begin(self, epoch_ns: int) -> None:
        """Tells when time 0 is, and catches up where that is long ago (after a restart)."""
        self._epoch_ns = epoch_ns
        self._shown_ns = now_ns()
        if self._config.pace == "as_consumed" or self._capture is None:
            return
        late_s = (now_ns() - epoch_ns - self._shared_delay_ns()) / 1e9
        self._joined_late = late_s > _SEEK_FROM_S
        loops_s = 0.0
        if not self._joined_late:
            late_s = 0.0
        elif self._config.loop and 0 < self._fps <= _PLAUSIBLE_FPS:
            period_s = self._count / self._fps - self._config.start_s
            loops_s = late_s // period_s * period_s if period_s > 0 else 0.0
        self._from_s = self._config.start_s + late_s - loops_s
        if self._from_s > _SEEK_FROM_S:
            self._move(loops_s)
        elif loops_s:
            self._clock.skip(0.0, loops_s)

    def _move(self, loops_s: float) -> None:
        """Goes to ``_from_s`` where the container can; else the file is read up to there."""
        assert self._capture is not None
        # Moving is not exact in every container: a little earlier, the rest is passed over.
        target_s = self._from_s - _SEEK_SHORT_BY_S
        self._capture.set(cv2.CAP_PROP_POS_MSEC, target_s * 1000)
        reached_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self._grabbed = False
        if -_SEEK_MISSES_BY_S < reached_s - target_s < _SEEK_SHORT_BY_S:
            self._from_start = False
            self._clock.skip(target_s, loops_s)
        else:
            self._capture.release()
            self._capture = _open(self._config.path)
            self._clock.skip(0.0, loops_s)

    def read(self, stop: threading.Event) -> Picture:
        """The next picture, at its time.

        Raises:
            SourceEndedError: after the last picture of a file that does not loop.
            UserError: the file ends long before its end: truncated or damaged.
        """
        capture = self._capture
        if capture is None:
            raise SourceLostError(f"{self._config.path}: not open")
        skipped = 0
        while not stop.is_set():
            if not self._grabbed and not _grab(capture, self._config.path):
                capture = self._at_end()
                continue
            self._grabbed = False
            self._decoded += 1
            seconds = self._clock.advance(capture.get(cv2.CAP_PROP_POS_MSEC))
            if (self._clock.position_s or 0.0) < self._from_s:
                continue
            self._in_range += 1
            due_ns = self._epoch_ns + round(seconds * 1e9)
            if self._config.pace == "real_time" and self._pass_over(due_ns):
                skipped += 1
                continue
            # Decoded before the wait, so that the picture leaves at its time and not after it.
            done, pixels = capture.retrieve()
            if not done or pixels is None:
                skipped += 1
                continue
            pixels = as_bgr(pixels, str(self._config.path))
            if self._config.pace == "real_time":
                if self._wait_until(due_ns, stop):
                    break
                self._shown_ns = now_ns()
                self._note_delay((self._shown_ns - due_ns) / 1e9)
            return Picture(
                pixels, due_ns, "file", skipped=skipped, delay_ns=self._shared_delay_ns()
            )
        raise SourceEndedError

    def close(self) -> None:
        """Closes the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _shared_delay_ns(self) -> int:
        """What all files wait, at present; notes when it has grown."""
        delay_ns = 0 if self._delay is None else self._delay.delay_ns
        if delay_ns > self._delay_ns:
            self._delay_ns, self._slower_ns = delay_ns, now_ns()
        return delay_ns

    def _pass_over(self, due_ns: int) -> bool:
        """Whether a picture is so late that a newer one is better."""
        late_ns = now_ns() - due_ns - self._shared_delay_ns()
        # Not later than one interval: the next picture is not due yet.
        if late_ns <= self._clock.interval_s * 1e9:
            return False
        slow_motion = now_ns() - self._slower_ns < _SLOW_MOTION_NS
        unseen_s = (now_ns() - self._shown_ns) / 1e9
        if not slow_motion and unseen_s < _SHOW_AT_LEAST_EVERY_S:
            return True
        if self._delay is not None:
            self._delay.raise_to(self._delay_ns + min(late_ns, round(_LARGEST_RISE_S * 1e9)))
        return False

    def _wait_until(self, due_ns: int, stop: threading.Event) -> bool:
        """Waits for a picture's time, which may move on meanwhile; True where it was stopped."""
        while (left_ns := due_ns + self._shared_delay_ns() - now_ns()) > 0:
            # In short steps only where other files may make it wait for longer.
            left_s = left_ns / 1e9
            if stop.wait(left_s if self._delay is None else min(left_s, _WAIT_S)):
                return True
        return stop.is_set()

    def _note_delay(self, late_s: float) -> None:
        if late_s < _TELL_DELAY_S:
            self.hint = ""
            return
        self.hint = (
            "played slower than it was filmed: this machine cannot decode the run's files at "
            "their own rate; use smaller files or 'pace: as_consumed'"
        )

    def _breaks_off(self, position_s: float) -> bool:
        if not breaks_off(position_s, self._decoded, self._count, self._fps):
            return False
        from capture.sources.sound import other_streams_last  # loads FFmpeg a second time

        promised_s = self._count / self._fps
        return not other_streams_last(self._config.path, (position_s + promised_s) / 2, _OPTIONS)

    def _at_end(self) -> cv2.VideoCapture:
        """Starts the next loop, or says how the file ended."""
        config = self._config
        position_s = self._clock.position_s or 0.0
        if self._from_start and self._breaks_off(position_s):
            raise UserError(
                f"{config.path}: breaks off after {position_s:.1f} s (damaged or truncated); "
                "copy it again"
            )
        length_s = max(position_s, self._count / self._fps if self._fps > 0 else 0.0)
        if self._in_range == 0 and (not self._joined_late or config.start_s > length_s):
            raise UserError(
                f"{config.path}: has no picture after start_s ({config.start_s:g} s), it lasts "
                f"{length_s:.1f} s"
            )
        if not config.loop:
            raise SourceEndedError
        # Opened anew and not moved back: that works for every container and codec.
        self.close()
        self._capture = _open(config.path)
        self._clock.begin_loop()
        self._from_s = config.start_s
        self._from_start = True
        self._decoded = 0
        self._in_range = 0
        return self._capture


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a video file in it")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such video file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if empty:
        raise UserError(f"{path}: is empty; copy it again")


def _open(path: Path) -> cv2.VideoCapture:
    with ffmpeg_options(_OPTIONS):
        # The prefix keeps FFmpeg from reading a name like 'a:b.mp4' as an address.
        return cv2.VideoCapture(f"file:{path}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, _THREADS])


def _grab(capture: cv2.VideoCapture, path: Path) -> bool:
    try:
        return bool(capture.grab())
    except cv2.error as error:  # hostile sizes
        raise UserError(f"{path}: cannot be decoded: {error.err}") from error
