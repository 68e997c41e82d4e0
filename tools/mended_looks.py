"""A front end as the application uses it: its exchanged sides mended by the other views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2

from app.config import AppConfig, CameraConfig, FileSource, FrontEndConfig
from app.frame_receiver import Frame, FrameSet
from app.messages import FrameHeader
from app.network_loading import load_networks
from app.pose_pipeline import PosePipeline
from engines.errors import UserError
from engines.front_ends.base import Image, View2D

_MOST_VIEWS = 8
_USUAL_RATE = 30.0
_START_NS = 1_000_000_000


class MendedLooks:
    """Runs a front end inside the application's chain, set after set.

    The chain lifts and fuses what all views show, and relabels sides that do not fit it
    (``engines.swap_mending``). What comes out are the 2D joints that the lifter is given.

    Args:
        kind: the front end.
        paths: one video a view; they tell the rate.
        step: every so many pictures are shown.
        threads: CPU threads of the front end.
        networks: detector and 2D pose network of ``yolo_cpn``, by name or file.

    Raises:
        UserError: there are more than eight videos, one cannot be opened, or a network cannot be
            had.
    """

    def __init__(
        self,
        kind: Literal["blazepose", "yolo_cpn"],
        paths: Sequence[Path],
        step: int,
        threads: int,
        networks: tuple[str, str],
    ) -> None:
        if len(paths) > _MOST_VIEWS:
            raise UserError(
                f"{len(paths)} videos in {paths[0].parent}: the chain takes {_MOST_VIEWS} at most"
            )
        self._names = [f"view{number}" for number in range(1, len(paths) + 1)]
        config = AppConfig(
            cameras=[
                CameraConfig(id=name, source=FileSource(kind="file", path=path))
                for name, path in zip(self._names, paths, strict=True)
            ],
            engine="onnxruntime",
            front_end=FrontEndConfig(
                kind=kind, threads=threads, detector=networks[0], pose=networks[1]
            ),
        )
        self._period_ns = 1e9 * step / _rate(paths[0])
        self._front_end, lifter = load_networks(config)
        self._pipeline = PosePipeline(config, self._front_end, lifter)
        self._count = 0

    @property
    def description(self) -> str:
        """The front end and its engine."""
        return f"{self._front_end.description}, exchanged sides mended by the other views"

    def process(self, images: Sequence[Image]) -> tuple[View2D | None, ...]:
        """Looks at the next set of pictures.

        Args:
            images: (H, W, 3) uint8 BGR, one a view.

        Returns:
            The joints of each view after mending, in pixels.
        """
        now = _START_NS + round(self._count * self._period_ns)
        frames = tuple(
            Frame(self._header(name, image, now), image, arrived_ns=now)
            for name, image in zip(self._names, images, strict=True)
        )
        result = self._pipeline.process(FrameSet(self._count, now, frames, (0,) * len(frames)))
        self._count += 1
        return result.views

    def close(self) -> None:
        """Gives the networks back."""
        self._front_end.close()

    def _header(self, name: str, image: Image, now: int) -> FrameHeader:
        height, width = image.shape[:2]
        return FrameHeader(
            camera=name,
            run=0,
            sequence=self._count,
            capture_ns=now,
            stamped_by="file",
            width=width,
            height=height,
        )


def _rate(path: Path) -> float:
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise UserError(f"cannot open the video {path}")
    rate = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return rate if rate > 0 else _USUAL_RATE
