"""Whether a file goes on after its last picture, as one does whose sound is longer."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
from av.error import FFmpegError


def other_streams_last(path: Path, until_s: float, options: dict[str, str]) -> bool:
    """Looks for anything but pictures at or after a time, without decoding it.

    OpenCV reckons how many pictures a file has from how long all of it lasts, where the container
    does not count them (Matroska): sound that lasts longer than the pictures looks like missing
    ones.

    Args:
        path: a video file.
        until_s: file time.
        options: for FFmpeg's demuxer, e.g. what it may open.

    Returns:
        True where another stream has packets that late; False also where the file cannot be read.
    """
    with (
        contextlib.suppress(FFmpegError, ValueError, OSError),
        av.open(f"file:{path}", options=options) as container,
    ):
        container.seek(int(until_s * av.time_base))
        for packet in container.demux():
            if packet.stream.type == "video" or packet.pts is None:
                continue
            if float(packet.pts * packet.time_base) >= until_s:
                return True
    return False
