"""2D joints for calibration offline: from video files through a front end, or from a recording."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from app.config import Turn
from app.messages import Joints2D
from app.recording.reader import Recording
from app.topics import Topic
from app.tracks import to_half_widths
from capture.turning import upright
from engines.errors import UserError
from engines.front_ends.base import FrontEnd, Image
from engines.front_ends.factory import FrontEndKind, make_front_end
from engines.rig.types import Floats, Observation
from engines.skeleton import JOINT_COUNT


@dataclass(frozen=True, slots=True, eq=False)
class SeenTake:
    """What V cameras saw in T sets.

    Attributes:
        ids: names of the cameras.
        sizes: (width, height) of their pictures.
        times_s: (T,) common times, ascending.
        view_times_s: (T, V) time stamps of the pictures.
        keypoints: (T, V, 17, 3) half-width units and confidence (0: missing).
        body_height_m: of the person, where the source knows it.
        front_end: what found the joints.
    """

    ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    times_s: Floats
    view_times_s: Floats
    keypoints: Floats
    body_height_m: float | None
    front_end: str

    def observations(self, lifted: Floats, sigma: Floats) -> list[Observation]:
        """The take as sets, with the lifter's answers (T, V, 17, 3) and (T, V, 17)."""
        return [
            Observation(float(time), stamps, keypoints, answer, expected)
            for time, stamps, keypoints, answer, expected in zip(
                self.times_s, self.view_times_s, self.keypoints, lifted, sigma, strict=True
            )
        ]


def read_recording(path: Path) -> SeenTake:
    """Takes the 2D joints out of a recording of the live application.

    Raises:
        UserError: it cannot be read or holds no 2D joints.
    """
    recording = Recording(path)
    ids = tuple(camera.id for camera in recording.head.spec.config.cameras)
    sizes: list[tuple[int, int] | None] = [None] * len(ids)
    times, stamps, rows = [], [], []
    for recorded in recording.messages((Topic.JOINTS2D,)):
        message = recorded.message
        if not isinstance(message, Joints2D) or len(message.views) != len(ids):
            continue
        now = message.time_ns * 1e-9
        row = np.zeros((len(ids), JOINT_COUNT, 3))
        stamp = np.full(len(ids), now)
        for v, view in enumerate(message.views):
            if view is None or view.keypoints is None:
                continue
            sizes[v] = (view.width, view.height)
            stamp[v] = view.capture_ns * 1e-9
            joints = np.array(view.keypoints, np.float32)
            row[v] = to_half_widths(joints, view.width, view.height)
        times.append(now)
        stamps.append(stamp)
        rows.append(row)
    if len(times) < 2:
        raise UserError(f"{path}: holds no 2D joints; record a live run with a person in view")
    start = times[0]
    known = [size or (640, 480) for size in sizes]
    return SeenTake(
        ids=ids,
        sizes=tuple(known),
        times_s=np.array(times) - start,
        view_times_s=np.stack(stamps) - start,
        keypoints=np.stack(rows),
        body_height_m=recording.head.spec.config.body_height_m,
        front_end=recording.head.spec.config.front_end.kind,
    )


@dataclass(frozen=True, slots=True)
class TurnedVideo:
    """A video file of one camera.

    Attributes:
        path: of the file; time 0 of all of them is the same moment.
        turn: degrees clockwise by which its pictures are turned.
    """

    path: Path
    turn: Turn = 0


def read_videos(
    videos: Sequence[TurnedVideo],
    front_end: FrontEndKind,
    rate_hz: float,
    seconds: float,
    threads: int,
) -> SeenTake:
    """Runs a 2D front end over synchronised videos.

    Args:
        videos: one of each camera.
        front_end: which front end.
        rate_hz: most sets a second that are looked at.
        seconds: most seconds that are looked at.
        threads: CPU threads.

    Raises:
        UserError: a video cannot be read, or the front end's weights are missing.
    """
    opened = [_Video(video.path, video.turn) for video in videos]
    try:
        rate = min(rate_hz, max(video.fps for video in opened))
        length = min(seconds, *(video.duration_s for video in opened))
        engine = make_front_end(front_end, len(opened), "auto", threads)
        try:
            wanted = np.arange(int(length * rate)) / rate
            return _detect(opened, [video.path for video in videos], engine, wanted)
        finally:
            engine.close()
    finally:
        for video in opened:
            video.close()


def names_of(paths: Sequence[Path]) -> list[str]:
    """What cameras are called that are known by their videos."""
    names = [path.stem for path in paths]
    return names if len(set(names)) == len(names) else [f"cam{i + 1}" for i in range(len(names))]


def _detect(
    videos: list[_Video], paths: Sequence[Path], front_end: FrontEnd, wanted: Floats
) -> SeenTake:
    count = len(videos)
    stamps = np.repeat(wanted[:, None], count, axis=1)
    keypoints = np.zeros((len(wanted), count, JOINT_COUNT, 3))
    step = float(wanted[1]) if len(wanted) > 1 else 1.0
    for row, now in enumerate(track(wanted, "2D joints", disable=not sys.stderr.isatty())):
        pictures = [video.at(float(now), 0.5 * step) for video in videos]
        views = front_end.process([None if p is None else p[1] for p in pictures])
        for v, (picture, view) in enumerate(zip(pictures, views, strict=True)):
            if picture is not None and view is not None:
                stamps[row, v] = picture[0]
                keypoints[row, v] = to_half_widths(view.keypoints, *videos[v].size)
    if len(wanted) < 2 or not (keypoints[..., 2] > 0).any():
        raise UserError(f"{paths[0]}: nobody was found in the videos")
    return SeenTake(
        ids=tuple(names_of(paths)),
        sizes=tuple(video.size for video in videos),
        times_s=wanted,
        view_times_s=stamps,
        keypoints=keypoints,
        body_height_m=None,
        front_end=front_end.name,
    )


class _Video:
    """Pictures of one video in ascending order of time; times are the file's own."""

    def __init__(self, path: Path, turn: Turn) -> None:
        self._capture = cv2.VideoCapture(str(path))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not self._capture.isOpened() or not 0.1 < fps < 1e4 or frames < 2:
            raise UserError(f"{path}: not a video that can be read; give one video a camera")
        self.fps = float(fps)
        self.duration_s = float(frames / fps)
        self._turn = turn
        width = round(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = round(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.size = (width, height) if turn in (0, 180) else (height, width)
        self._grabbed_s = -1.0
        self._pending = False

    def at(self, time_s: float, within_s: float) -> tuple[float, Image] | None:
        """The first picture about a time, and its own time; None where there is none."""
        while not self._pending or self._grabbed_s < time_s - within_s:
            if not self._capture.grab():
                self._pending = False
                return None
            self._grabbed_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e-3
            self._pending = True
        if self._grabbed_s > time_s + within_s:
            return None
        self._pending = False
        good, picture = self._capture.retrieve()
        if not good:
            return None
        image = upright(np.asarray(picture, np.uint8), self._turn)
        return (self._grabbed_s, image) if image.shape[1::-1] == self.size else None

    def close(self) -> None:
        self._capture.release()
