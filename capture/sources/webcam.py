"""A camera of this machine, through OpenCV."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final

import cv2

from app.clock import now_ns
from app.config import WebcamSource as WebcamConfig
from capture.sources.base import Picture, Source, SourceEndedError, SourceLostError, as_bgr
from capture.sources.driver_clock import DriverClock
from capture.sources.opencv import fourcc_name

# One buffer would halve the rate: it stays out until the next grab gives it back. The default of
# four lets a slow reader fall four pictures behind.
_BUFFERS: Final = 2
_LINUX: Final = sys.platform == "linux"
_MANUAL_EXPOSURE: Final = 1 if _LINUX else 0.25
_AUTOMATIC_EXPOSURE: Final = 3 if _LINUX else 0.75
_BACKENDS: Final = {
    "linux": cv2.CAP_V4L2,
    "darwin": cv2.CAP_AVFOUNDATION,
    "win32": cv2.CAP_DSHOW,
}


class WebcamSource(Source):
    """Pictures of a webcam, in the mode that was asked for as far as the camera has it."""

    slow_hint = "the exposure may be too long for it: more light, or a fixed 'exposure'"

    def __init__(self, config: WebcamConfig) -> None:
        """Takes the settings; nothing is opened.

        Args:
            config: its settings.
        """
        self._config = config
        self.name = f"camera {device_path(config.device)}" if _LINUX else f"camera {config.device}"
        self._capture: cv2.VideoCapture | None = None
        self._clock = DriverClock()
        self.expected_fps = config.fps
        self.expected_size = (config.width, config.height)

    def open(self) -> str:
        """Opens the camera, sets its mode and reads back what it really chose.

        Raises:
            SourceLostError: not connected, in use, or not permitted.
        """
        device = self._config.device
        refusal = why_not(device) if _LINUX else ""
        if refusal:
            raise SourceLostError(refusal)
        backend = _BACKENDS.get(sys.platform, cv2.CAP_ANY)
        capture = cv2.VideoCapture(
            # OpenCV's V4L2 takes any path; a by-path link is followed here, once a try.
            os.path.realpath(device_path(device)) if _LINUX else device,
            backend,
        )
        if not capture.isOpened():
            capture.release()
            raise SourceLostError(
                f"{self.name}: cannot be opened; another program may be using it, or it is not "
                "a camera (python -m tools.cameras lists them)"
            )
        self._set_mode(capture)
        self._capture = capture
        self._clock = DriverClock()
        return self._describe(capture)

    def read(self, stop: threading.Event) -> Picture:
        """The next picture of the camera.

        Raises:
            SourceLostError: unplugged, or silent for two seconds.
        """
        if stop.is_set():
            raise SourceEndedError
        capture = self._capture
        if capture is None:
            raise SourceLostError(f"{self.name}: not open")
        if not capture.grab():
            raise SourceLostError(f"{self.name}: gives no pictures; is it unplugged?")
        grabbed_ns = now_ns()
        driver_ns = None
        if _LINUX:
            driver_ns = self._clock.choose(capture.get(cv2.CAP_PROP_POS_MSEC), grabbed_ns)
        done, pixels = capture.retrieve()
        if not done or pixels is None:
            raise SourceLostError(f"{self.name}: a picture could not be decoded")
        pixels = as_bgr(pixels, self.name)
        if driver_ns is None:
            return Picture(pixels, grabbed_ns, "host")
        return Picture(pixels, driver_ns, "driver")

    def close(self) -> None:
        """Gives the camera back."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _set_mode(self, capture: cv2.VideoCapture) -> None:
        """Sets format, size, rate, controls, in the order that drivers want."""
        config = self._config
        # Compressed first: the sizes and rates on offer depend on the format, and OpenCV would
        # choose an uncompressed one, of which USB carries only one camera. DirectShow forgets the
        # format when the size changes, so there it comes last.
        fourcc = (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*config.fourcc))
        mode: list[tuple[int, float]] = [
            (cv2.CAP_PROP_FRAME_WIDTH, config.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, config.height),
            (cv2.CAP_PROP_FPS, config.fps),
        ]
        mode = [*mode, fourcc] if sys.platform == "win32" else [fourcc, *mode]
        if config.exposure is None:  # a camera keeps what an earlier run has set
            mode.append((cv2.CAP_PROP_AUTO_EXPOSURE, _AUTOMATIC_EXPOSURE))
        else:
            mode.append((cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE))
            mode.append((cv2.CAP_PROP_EXPOSURE, config.exposure))
        mode.append((cv2.CAP_PROP_BUFFERSIZE, _BUFFERS))
        for setting, value in mode:
            capture.set(setting, value)  # what came of it is read back in _describe

    def _describe(self, capture: cv2.VideoCapture) -> str:
        config = self._config
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        codec = fourcc_name(capture.get(cv2.CAP_PROP_FOURCC))
        text = f"{self.name} {width}×{height} {codec} {fps:g} fps"
        refused: list[str] = []
        if codec and codec != config.fourcc:
            refused.append(config.fourcc)
        if fps > 0 and abs(fps - config.fps) > 0.5:
            refused.append(f"{config.fps:g} fps")
        if config.exposure is not None:
            exposure = float(capture.get(cv2.CAP_PROP_EXPOSURE))
            if abs(exposure - config.exposure) > 0.01 * max(1.0, abs(config.exposure)):
                refused.append(f"exposure {config.exposure:g} (it says {exposure:g})")
        if fps > 0:
            self.expected_fps = fps
        return f"{text}; it refused {', '.join(refused)}" if refused else text


def device_path(device: int | str) -> Path:
    """The device file of an index or path (Linux)."""
    return Path(f"/dev/video{device}") if isinstance(device, int) else Path(device)


def why_not(device: int | str) -> str:
    """Why a camera cannot be opened, in one line, or an empty string (Linux)."""
    path = device_path(device)
    if not path.exists():
        return f"camera {path}: not connected (python -m tools.cameras lists what is)"
    if not path.is_char_device():
        return f"camera {path}: not a camera device; for a video file write 'kind: file'"
    if not os.access(path, os.R_OK | os.W_OK):
        return (
            f"camera {path}: no permission; run 'sudo usermod -aG video $USER', then log out and "
            "in again"
        )
    return ""
