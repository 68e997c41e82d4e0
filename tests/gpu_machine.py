"""What the tests on an NVIDIA GPU share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from engines.backends.base import Array, DescribedBackend
from engines.backends.device import find_gpu

DEVICE = "cuda:0"
CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"
LIGHT = ("detector", "pose2d", "lifter")
FULL_SIZE = ("yolov3", "cpn50-384x288", "dsvtformer")

needs_gpu = pytest.mark.skipif(
    find_gpu() is None or not torch.cuda.is_available(),
    reason="needs an NVIDIA GPU and a build of torch for CUDA",
)

Pictures = list[npt.NDArray[np.uint8]]


@pytest.fixture(autouse=True)
def single_precision_is_single() -> Iterator[None]:
    """Without TF32, which keeps 10 bits of each factor."""
    kept = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


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
