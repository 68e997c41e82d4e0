"""A network camera: RTSP or HTTP (MJPEG)."""

from __future__ import annotations

import threading
from typing import Final

import cv2

from app.clock import now_ns
from app.config import StreamSource as StreamConfig
from app.config.stream_address import without_secrets
from capture.sources.base import Picture, Source, SourceEndedError, SourceLostError, as_bgr
from capture.sources.opencv import ffmpeg_options, fourcc_name

# TCP, because lost UDP packets smear pictures; no demuxer buffer, because it only adds delay.
# An address from a configuration must not lead FFmpeg to local files.
_OPTIONS: Final = {
    "rtsp_transport": "tcp",
    "fflags": "nobuffer",
    "flags": "low_delay",
    "protocol_whitelist": "http,https,tcp,tls,rtp,srtp,udp,crypto,httpproxy",
}
_READ_TIMEOUT_MS: Final = 3000


class StreamSource(Source):
    """Pictures of a network stream.

    Whoever calls ``read`` in a loop of its own thread drains the stream: lag then cannot build up
    in socket buffers. The time is taken on this host right after the picture was decoded; the way
    through the network is not known.
    """

    def __init__(self, config: StreamConfig) -> None:
        """Takes the settings; nothing is opened.

        Args:
            config: its settings.
        """
        self._config = config
        self.name = without_secrets(config.url)
        self._capture: cv2.VideoCapture | None = None
        self.open_timeout_s = config.open_timeout_s + _READ_TIMEOUT_MS / 1000 + 2
        self.silence_s = _READ_TIMEOUT_MS / 1000 + 2  # FFmpeg's own time-out comes first

    def open(self) -> str:
        """Connects.

        Raises:
            SourceLostError: no answer, or none that is a video.
        """
        with ffmpeg_options(_OPTIONS):
            capture = cv2.VideoCapture(
                self._config.url,
                cv2.CAP_FFMPEG,
                [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                    round(self._config.open_timeout_s * 1000),
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                    _READ_TIMEOUT_MS,
                    cv2.CAP_PROP_N_THREADS,  # frame threads would hold pictures back
                    1,
                ],
            )
        if not capture.isOpened():
            capture.release()
            raise SourceLostError(f"{self.name}: no answer, or not a video stream")
        self._capture = capture
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        codec = fourcc_name(capture.get(cv2.CAP_PROP_FOURCC))
        return f"{self.name} {width}×{height} {codec}".rstrip()

    def read(self, stop: threading.Event) -> Picture:
        """The next picture of the stream.

        Raises:
            SourceLostError: the stream ended or stays silent.
        """
        if stop.is_set():
            raise SourceEndedError
        if self._capture is None:
            raise SourceLostError(f"{self.name}: not open")
        if not self._capture.grab():
            raise SourceLostError(f"{self.name}: the stream ended or is silent")
        taken_ns = now_ns()
        done, pixels = self._capture.retrieve()
        if not done or pixels is None:
            raise SourceLostError(f"{self.name}: a picture could not be decoded")
        return Picture(as_bgr(pixels, self.name), taken_ns, "host")

    def close(self) -> None:
        """Disconnects."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
