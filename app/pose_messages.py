"""Turns what the pipeline computed into the messages that are published."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from app.frame_receiver import Frame, FrameSet
from app.messages import (
    Evidence,
    Joints2D,
    Point2,
    Point3,
    Pose,
    PreviewPart,
    Previews,
    View,
    ViewEvidence,
)
from app.pose_result import PipelineResult
from engines.front_ends.base import View2D


def joints2d_message(frames: FrameSet, result: PipelineResult) -> Joints2D:
    """The 2D joints of a set."""
    views = [
        None if frame is None else _view(frame, skew or 0, answer, bool(swapped))
        for frame, skew, answer, swapped in zip(
            frames.frames, frames.skews_ns, result.views, result.swapped, strict=True
        )
    ]
    return Joints2D(index=frames.index, time_ns=frames.time_ns, views=tuple(views))


def pose_message(
    frames: FrameSet, result: PipelineResult, cameras: Sequence[str], now: int
) -> Pose:
    """The pose of a set, valid or not."""
    skew_ms = max((abs(s) for s in frames.skews_ns if s is not None), default=0) * 1e-6
    skeleton = result.skeleton
    # Of a file that is played slower than it was filmed, the person's time is behind the clock's.
    then = now - max((f.header.delay_ns for f in frames.frames if f is not None), default=0)
    if skeleton is None:
        return Pose(
            index=frames.index,
            time_ns=frames.time_ns,
            published_ns=now,
            latency_ms=(then - frames.time_ns) * 1e-6,
            valid=False,
            skew_ms=skew_ms,
        )
    return Pose(
        index=frames.index,
        time_ns=skeleton.time_ns,
        published_ns=now,
        latency_ms=(then - skeleton.time_ns) * 1e-6,
        valid=True,
        stage=skeleton.stage,
        root=None if skeleton.root is None else _triples(skeleton.root[None])[0],
        joints=_triples(skeleton.joints),
        confidence=tuple(skeleton.confidence.tolist()),
        expected_error_mm=skeleton.expected_error_mm,
        levelled=skeleton.levelled,
        world=skeleton.world,
        cameras=tuple(c for c, used in zip(cameras, skeleton.views, strict=True) if used),
        skew_ms=skew_ms,
    )


def evidence_message(frames: FrameSet, result: PipelineResult) -> Evidence:
    """What the rig estimator wants of a set."""
    found = result.findings
    views: list[ViewEvidence | None] = []
    for v, frame in enumerate(frames.frames):
        if frame is None or result.views[v] is None:
            views.append(None)
            continue
        answered = bool(np.isfinite(found.sigma[v]).all())
        views.append(
            ViewEvidence(
                capture_ns=frame.header.capture_ns,
                width=frame.header.width,
                height=frame.header.height,
                keypoints=_triples(found.keypoints[v]),
                lifted=_triples(found.lifted[v]) if answered else None,
                sigma=tuple(found.sigma[v].tolist()) if answered else None,
            )
        )
    return Evidence(
        index=frames.index,
        time_ns=frames.time_ns,
        body_unit_m=found.body_unit_m,
        views=tuple(views),
    )


def previews_message(
    frames: FrameSet, joints2d: Joints2D, width: int
) -> tuple[Previews, memoryview]:
    """Small copies of the pictures of a set, and the bytes that go with the message.

    Args:
        frames: the set.
        joints2d: its joints, drawn over the pictures by whoever shows them.
        width: of the previews; smaller pictures are not enlarged.
    """
    parts: list[PreviewPart] = []
    pixels: list[npt.NDArray[np.uint8]] = []
    offset = 0
    for frame in frames.frames:
        if frame is None:
            continue
        small, scale = _shrink(frame, width)
        height_px, width_px = small.shape[:2]
        parts.append(
            PreviewPart(
                camera=frame.header.camera,
                width=width_px,
                height=height_px,
                scale=scale,
                offset=offset,
            )
        )
        pixels.append(small.reshape(-1))
        offset += small.size
    joined = np.concatenate(pixels) if pixels else np.empty(0, np.uint8)
    message = Previews(
        index=frames.index, time_ns=frames.time_ns, parts=tuple(parts), joints2d=joints2d
    )
    return message, joined.data


def _shrink(frame: Frame, width: int) -> tuple[npt.NDArray[np.uint8], float]:
    source = frame.header
    scale = min(1.0, width / source.width)
    if scale == 1.0:
        return np.ascontiguousarray(frame.image), 1.0
    size = (width, max(1, round(source.height * scale)))
    small = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), scale


def _view(frame: Frame, skew_ns: int, answer: View2D | None, swapped: bool) -> View:
    header = frame.header
    keypoints: tuple[Point2, ...] | None = None
    box: tuple[float, float, float, float] | None = None
    if answer is not None:
        keypoints = _triples(answer.keypoints)
        x0, y0, x1, y1 = answer.box.tolist()
        box = (x0, y0, x1, y1)
    return View(
        camera=header.camera,
        sequence=header.sequence,
        capture_ns=header.capture_ns,
        skew_ms=skew_ns * 1e-6,
        width=header.width,
        height=header.height,
        keypoints=keypoints,
        box=box,
        swapped=swapped,
    )


def _triples(points: npt.NDArray[np.floating]) -> tuple[Point3, ...]:
    return tuple((x, y, z) for x, y, z in points.tolist())
