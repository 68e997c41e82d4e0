"""What the tests on an NVIDIA GPU share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from engines.backends.base import Array, DescribedBackend
from engines.backends.device import find_gpu
from engines.device_chain import DeviceChain
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd

DEVICE = "cuda:0"
CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"
LIGHT = ("detector", "pose2d", "lifter")
FULL_SIZE = ("yolov3", "cpn50-384x288", "dsvtformer")

needs_gpu = pytest.mark.skipif(
    find_gpu() is None or not torch.cuda.is_available(),
    reason="needs an NVIDIA GPU and a build of torch for CUDA",
)

Pictures = list[npt.NDArray[np.uint8]]


@cache
def picture_sets() -> tuple[Pictures, ...]:
    """Sets of four pictures of the built-in clip, at twelve times."""
    videos = [
        cv2.VideoCapture(str(CLIP / f"camera{view}.mp4"), cv2.CAP_FFMPEG) for view in range(4)
    ]
    sets: list[Pictures] = []
    for number in range(221):
        if number % 20:
            assert all(video.grab() for video in videos)
        else:
            sets.append([np.asarray(video.read()[1], np.uint8) for video in videos])
    return tuple(sets)


def assert_close(found: dict[str, Array], expected: dict[str, Array], share: float) -> None:
    """Each output differs by no more than a share of its largest value."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert np.isfinite(found[name]).all(), name
        gap = float(np.abs(np.subtract(found[name], value)).max())
        assert gap <= share * float(np.abs(value).max()), (name, gap)


def close_all(*backends: DescribedBackend) -> None:
    for backend in backends:
        backend.close()


def assert_people_agree(one: YoloCpnFrontEnd, other: YoloCpnFrontEnd) -> None:
    """On the clip detections are within 1 px of each other, and sure joints within 0.5 px."""
    people = 0
    apart: list[float] = []
    for images in picture_sets():
        for front_end in (one, other):
            front_end._operations.take(images)
        found = [front_end._people.find(images, range(4)) for front_end in (one, other)]
        for here, there in zip(*found, strict=True):
            if here and here[0].score >= 0.5:
                assert np.abs(here[0].box - there[0].box).max() < 1
                people += 1
        boxes = [(view, here[0].box) for view, here in enumerate(found[0]) if here]
        answers = [front_end._joints.find(boxes, lambda *_: None) for front_end in (one, other)]
        for first, second in zip(*answers, strict=True):
            sure = first.keypoints[:, 2] > 0.5
            gaps = np.abs(first.keypoints[sure, :2] - second.keypoints[sure, :2])
            apart += gaps.max(1).tolist()
    assert people >= 8
    assert len(apart) >= 80
    assert max(apart) < 0.5


def assert_chains_agree(one: DeviceChain, other: DeviceChain) -> None:
    """On the clip 2D joints agree to a tenth of a pixel, poses to thousandths."""
    apart: list[float] = []
    for images in picture_sets()[:4]:
        here, there = one.process(images), other.process(images)
        assert np.isfinite(here.joints).all()
        sure = there.keypoints[..., 2] > 0.5
        apart += np.abs(here.keypoints - there.keypoints)[..., :2].max(2)[sure].tolist()
        assert np.median(np.abs(here.joints - there.joints)) < 1e-3
        assert np.abs(here.joints - there.joints).max() < 0.05
    assert len(apart) >= 80
    assert np.quantile(apart, 0.97) < 0.1
