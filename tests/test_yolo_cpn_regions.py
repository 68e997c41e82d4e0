"""What the front end shows its networks: letterboxes, crops, boxes, and their suppression."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.backends.torch_backend import TorchBackend
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.operations import Patch
from engines.front_ends.yolo_cpn.regions import (
    Region,
    box_of_joints,
    crop_region,
    letterbox_region,
    likely_boxes,
)
from engines.front_ends.yolo_cpn.suppression import intersection_over_union, suppress
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from marker_networks import HEIGHT, WIDTH, blank_picture, marker_pose_network


@given(st.tuples(st.floats(-50, 500), st.floats(-50, 500), st.floats(4, 800), st.floats(4, 800)))
def test_likely_boxes_are_parts_of_the_box(values: tuple[float, float, float, float]) -> None:
    box = np.array((*values[:2], values[0] + values[2], values[1] + values[3]), np.float32)
    whole, *parts = likely_boxes(box)
    assert np.array_equal(whole, box)
    for part in parts:
        assert (part[:2] >= box[:2] - 1e-3).all() and (part[2:] <= box[2:] + 1e-3).all()
        size = (part[2:] - part[:2]).prod() / (box[2:] - box[:2]).prod()
        assert 0.5 < size < 0.8


@pytest.mark.parametrize(
    "region",
    [
        Region(100, 50, 180, 240),
        Region(-60, -40, 720, 960),
        Region(500, 300, 360, 480),
        Region(10.3, 7.7, 61.5, 82),
    ],
    ids=["inside", "all", "edge", "enlarged"],
)
def test_host_and_torch_cut_the_same_crop(region: Region) -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    pose = TorchBackend(marker_pose_network(), 1)
    patches = [Patch(0, region)]
    host, device = HostOperations(), TensorOperations("cpu")
    host.take([image])
    device.take([image])
    one = host._batch(pose, patches, (0.2, 0.4, 0.6))
    fill = torch.tensor((0.2, 0.4, 0.6)).reshape(3, 1, 1)
    other = device._batch(pose, patches, fill).numpy()
    difference = np.abs(one - other)
    # OpenCV samples on a grid of 1/32 pixel and rounds to bytes.
    assert difference.mean() < 0.004
    assert np.quantile(difference, 0.999) < 0.04


def test_a_crop_shows_the_right_places() -> None:
    image = blank_picture(480, 640)
    cv2.circle(image, (400, 120), 6, (255, 255, 255), -1)
    pose = TorchBackend(marker_pose_network(), 1)
    for region in (Region(310, 60, 180, 240), Region(220, -40, 360, 480)):
        host = HostOperations()
        host.take([image])
        batch = host._batch(pose, [Patch(0, region)], (0.5, 0.5, 0.5))[0, 0]
        y, x = (batch > 0.75).nonzero()
        place = np.array((x.mean() + 0.5, y.mean() + 0.5), np.float32)
        found = region.to_picture(place, HEIGHT, WIDTH)
        assert np.abs(found - (400.5, 120.5)).max() < 0.6


@given(
    st.integers(16, 2000),
    st.integers(16, 2000),
    st.sampled_from([(256, 256), (416, 416), (192, 256), (320, 320)]),
)
def test_letterbox_shows_the_whole_picture_undistorted(
    height: int, width: int, size: tuple[int, int]
) -> None:
    region = letterbox_region(height, width, *size)
    assert region.width / region.height == pytest.approx(size[1] / size[0])
    assert region.left <= 1e-6 and region.top <= 1e-6
    assert region.left + region.width >= width - 1e-6
    assert region.top + region.height >= height - 1e-6
    assert min(-region.left, -region.top) == pytest.approx(0, abs=1e-6)
    centre = np.array((size[1] / 2, size[0] / 2), np.float32)
    assert region.to_picture(centre, *size) == pytest.approx((width / 2, height / 2), rel=1e-5)


def test_crop_is_extended_as_cpn_expects() -> None:
    tall = crop_region(np.array((100, 100, 150, 300), np.float32), 256, 192)
    assert tall.height == pytest.approx(200 * 1.3)
    assert tall.width == pytest.approx(200 * 1.3 * 0.75)
    wide = crop_region(np.array((100, 100, 400, 200), np.float32), 256, 192)
    assert wide.width == pytest.approx(300 * 1.2)
    assert wide.height == pytest.approx(300 * 1.2 / 0.75)
    assert wide.left + wide.width / 2 == pytest.approx(250)
    assert wide.top + wide.height / 2 == pytest.approx(150)


def test_box_of_joints_needs_sure_joints() -> None:
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:5] = ((10, 20, 1), (50, 20, 0.9), (30, 120, 0.8), (20, 60, 0.5), (900, 900, 0.1))
    box = box_of_joints(keypoints)
    assert box is not None
    assert box == pytest.approx((10 - 8, 20 - 8, 50 + 8, 120 + 8))
    keypoints[0, 2] = 0
    assert box_of_joints(keypoints) is None


def test_a_hardly_recognised_hand_stays_in_the_box() -> None:
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:5] = ((10, 20, 1), (50, 20, 0.9), (30, 120, 0.8), (20, 60, 0.5), (90, 70, 0.18))
    box = box_of_joints(keypoints)
    assert box is not None
    assert box == pytest.approx((10 - 8, 20 - 8, 90 + 8, 120 + 8))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.floats(0.1, 0.9), st.integers(0, 10_000))
def test_suppression_is_the_greedy_one(count: int, overlap: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 60, (count, 2))
    boxes = np.concatenate((low, low + generator.uniform(1, 50, (count, 2))), 1).astype(np.float32)
    scores = generator.uniform(0, 1, count).astype(np.float32)
    overlaps = intersection_over_union(boxes, boxes)
    expected: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(overlaps[index, kept] <= overlap for kept in expected):
            expected.append(int(index))
    assert suppress(boxes, scores, overlap).tolist() == expected


def test_suppression_agrees_with_opencv() -> None:
    generator = np.random.default_rng(3)
    low = generator.uniform(0, 200, (300, 2))
    boxes = np.concatenate((low, low + generator.uniform(5, 80, (300, 2))), 1).astype(np.float32)
    scores = generator.uniform(0, 1, 300).astype(np.float32)
    sizes = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1)
    expected = cv2.dnn.NMSBoxes(sizes.tolist(), scores.tolist(), 0.0, 0.45)
    assert suppress(boxes, scores, 0.45).tolist() == np.ravel(expected).tolist()
