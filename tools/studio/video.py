"""Writes pictures with their own capture times into small H.264 files."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from tools.studio.developer import Image

TIME_BASE = Fraction(1, 90000)


def write_video(
    path: Path, frames: Iterable[tuple[float, Image]], size: tuple[int, int], crf: int, fps: int
) -> None:
    """Encodes frames at variable rate.

    Args:
        path: the .mp4 file to write.
        frames: (capture time in seconds, (H, W, 3) RGB picture), in order.
        size: width and height.
        crf: libx264's quality, lower is better.
        fps: the usual rate; there is a keyframe every second.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = TIME_BASE
        context = stream.codec_context
        context.time_base = TIME_BASE
        context.gop_size = fps
        context.max_b_frames = 2
        stream.options = {"crf": str(crf), "preset": "slow", "threads": "1"}
        for time_s, picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round(time_s / TIME_BASE)
            frame.time_base = TIME_BASE
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
