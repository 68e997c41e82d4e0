"""Camera sources: webcam, video file, network stream, synthetic."""

from __future__ import annotations

from app.config import (
    CameraConfig,
)
from app.config import (
    FileSource as FileConfig,
)
from app.config import (
    StreamSource as StreamConfig,
)
from app.config import (
    WebcamSource as WebcamConfig,
)
from capture.playback import PlaybackDelay
from capture.sources.base import Picture, Source, SourceEndedError, SourceLostError
from capture.sources.file import FileSource
from capture.sources.opencv import prepare_opencv
from capture.sources.stream import StreamSource
from capture.sources.synthetic import SyntheticSource
from capture.sources.webcam import WebcamSource

__all__ = [
    "Picture",
    "Source",
    "SourceEndedError",
    "SourceLostError",
    "make_source",
    "prepare_opencv",
]


def make_source(camera: CameraConfig, delay: PlaybackDelay | None = None) -> Source:
    """The source that a camera's configuration names; it is not opened yet.

    Args:
        camera: its configuration.
        delay: that the files of a run share; None for one that is played alone.
    """
    config = camera.source
    if isinstance(config, WebcamConfig):
        return WebcamSource(config)
    if isinstance(config, FileConfig):
        return FileSource(config, delay)
    if isinstance(config, StreamConfig):
        return StreamSource(config)
    return SyntheticSource(config)
