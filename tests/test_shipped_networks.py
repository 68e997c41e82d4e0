"""The networks that ship: every engine reads them, alike, in single and in half precision."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engines.backends.base import DescribedBackend
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.backends.select import open_backend
from engines.export import export_half
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd
from engines.model_files import SHIPPED_FOLDER, check_shipped
from engines.onnx_rules import problems_of

CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"
STEMS = ("detector", "pose2d", "lifter")


def shipped(stem: str) -> Path:
    return SHIPPED_FOLDER / f"{stem}.onnx"


@pytest.mark.parametrize("stem", STEMS)
def test_files_and_description_belong_together(stem: str) -> None:
    path = shipped(stem)
    check_shipped(path)
    check_shipped(path.with_suffix(".safetensors"))
    assert problems_of(onnx.load(path)) == []


@pytest.mark.parametrize("stem", STEMS)
def test_onnx_runtime_agrees_with_torch_for_any_number_of_views(stem: str) -> None:
    path = shipped(stem)
    one, other = open_backend(path, "onnxruntime", 1), open_backend(path, "torch", 1)
    generator = np.random.default_rng(0)
    for views in (1, 3, 8):
        inputs = {}
        for spec in one.inputs:
            # Of several free sizes the first is the number of windows.
            free = [axis for axis, size in enumerate(spec.shape) if size is None]
            shape = [
                size or (views if axis == free[-1] else 1) for axis, size in enumerate(spec.shape)
            ]
            inputs[spec.name] = generator.uniform(0.05, 0.95, shape).astype(np.float32)
            if spec.name.endswith("mask"):
                inputs[spec.name] = np.ones(shape, np.float32)
        expected = other.run({spec.name: inputs[spec.name] for spec in other.inputs})
        for name, value in one.run(inputs).items():
            scale = max(1.0, float(np.abs(expected[name]).max()))
            gap = float(np.abs(np.subtract(value, expected[name])).max())
            assert gap <= 1e-3 * scale, (stem, views, name)


@pytest.fixture(scope="module")
def pictures() -> list[list[npt.NDArray[np.uint8]]]:
    """Sets of two views of the built-in clip, at twelve times."""
    videos = [cv2.VideoCapture(str(CLIP / f"camera{view}.mp4"), cv2.CAP_FFMPEG) for view in (0, 1)]
    sets = []
    for number in range(240):
        grabbed = [video.read()[1] for video in videos]
        if number % 20 == 0:
            sets.append([np.asarray(image, np.uint8) for image in grabbed])
    return sets


def _halved(stem: str, folder: Path) -> DescribedBackend:
    export_half(shipped(stem), folder / f"{stem}.fp16.onnx")
    return OnnxRuntimeBackend(folder / f"{stem}.fp16.onnx", 1)


def test_half_precision_moves_a_person_by_less_than_a_pixel(
    pictures: list[list[npt.NDArray[np.uint8]]], tmp_path: Path
) -> None:
    """On the clip: detections within 1 px, sure joints within 0.5 px."""
    detector, pose = OnnxRuntimeBackend(shipped("detector"), 1), open_backend(shipped("pose2d"))
    single = YoloCpnFrontEnd(detector, pose, 2)
    half = YoloCpnFrontEnd(_halved("detector", tmp_path), _halved("pose2d", tmp_path), 2)
    people = 0
    apart: list[float] = []
    for images in pictures:
        for front_end in (single, half):
            front_end._operations.take(images)
        found = [front_end._people.find(images, range(2)) for front_end in (single, half)]
        for here, there in zip(*found, strict=True):
            if not here or here[0].score < 0.5:
                continue
            assert np.abs(here[0].box - there[0].box).max() < 1
            people += 1
        boxes = [(view, here[0].box) for view, here in enumerate(found[0]) if here]
        one = single._joints.find(boxes, lambda *_: None)
        other = half._joints.find(boxes, lambda *_: None)
        for a, b in zip(one, other, strict=True):
            sure = a.keypoints[:, 2] > 0.5
            apart += np.abs(a.keypoints[sure, :2] - b.keypoints[sure, :2]).max(1).tolist()
    assert people >= 4
    assert len(apart) >= 40
    assert max(apart) < 0.5
