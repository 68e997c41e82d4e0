"""Detectors' joints become H36M-17 joints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engines.pose_conversion import (
    BLAZEPOSE_COUNT,
    COCO_COUNT,
    blazepose_to_h36m,
    coco_to_h36m,
)
from engines.skeleton import JOINT_NAMES, MIRROR

Array = npt.NDArray[np.float32]
Convert = Callable[[Array], Array]

# Somebody upright who faces the camera, in metres, x right in the picture, y down, the middle of
# the hip joints at 0. Detectors see hips and shoulders some 2 cm from the joints.
COCO_NAMES = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
]
BLAZEPOSE_NAMES = [
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
]
TRUNK_M = 0.464
HALF = {
    "nose": (0.0, -0.673),
    "eye": (0.03, -0.706),
    "eye_inner": (0.02, -0.706),
    "eye_outer": (0.04, -0.706),
    "ear": (0.08, -0.690),
    "mouth": (0.03, -0.638),
    "shoulder": (0.17, -0.486),
    "elbow": (0.22, -0.2),
    "wrist": (0.24, 0.05),
    "pinky": (0.25, 0.1),
    "index": (0.24, 0.12),
    "thumb": (0.22, 0.1),
    "hip": (0.1, 0.024),
    "knee": (0.11, 0.42),
    "ankle": (0.12, 0.84),
    "heel": (0.12, 0.88),
    "foot_index": (0.14, 0.9),
}


def person(names: list[str]) -> Array:
    joints = np.ones((len(names), 3), np.float32)
    for row, name in enumerate(names):
        side = 1 if "left" in name else -1
        across, down = HALF[name.replace("left", "").replace("right", "").strip("_")]
        joints[row, :2] = (side * across, down)
    return joints


CASES = [
    pytest.param(coco_to_h36m, COCO_NAMES, id="coco"),
    pytest.param(blazepose_to_h36m, BLAZEPOSE_NAMES, id="blazepose"),
]


@pytest.mark.parametrize(("convert", "names"), CASES)
def test_limb_joints_keep_their_names(convert: Convert, names: list[str]) -> None:
    joints = person(names)
    joints[:, 2] = np.linspace(0.1, 0.9, len(names))
    converted = convert(joints)
    for row, name in enumerate(JOINT_NAMES):
        if name in names:
            np.testing.assert_array_equal(converted[row], joints[names.index(name)])


@pytest.mark.parametrize(("convert", "names"), CASES)
def test_constructed_joints_lie_where_motion_capture_has_them(
    convert: Convert, names: list[str]
) -> None:
    """Heights above the hip joints over the length of the trunk between the true joints."""
    heights = -convert(person(names))[:, 1] / TRUNK_M
    expected = {"pelvis": -0.05, "spine": 0.53, "thorax": 1.10, "neck": 1.35, "head": 1.58}
    for name, height in expected.items():
        assert heights[JOINT_NAMES.index(name)] == pytest.approx(height, abs=0.03), name


@pytest.mark.parametrize(("convert", "names"), CASES)
def test_mirroring_commutes(convert: Convert, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    joints = rng.uniform(0, 1, (len(names), 3)).astype(np.float32)
    other = [
        names.index(name.replace("left", "#").replace("right", "left").replace("#", "right"))
        for name in names
    ]
    mirrored = convert(joints[other])
    np.testing.assert_allclose(mirrored, convert(joints)[list(MIRROR)], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    joints=hnp.arrays(np.float32, (BLAZEPOSE_COUNT, 3), elements=st.floats(0, 1, width=32)),
    matrix=hnp.arrays(np.float32, (2, 2), elements=st.floats(-2, 2, width=32)),
    shift=hnp.arrays(np.float32, (2,), elements=st.floats(-2, 2, width=32)),
)
def test_any_affine_picture_of_the_joints_gives_the_same_points(
    joints: Array, matrix: Array, shift: Array
) -> None:
    for convert, count in ((blazepose_to_h36m, BLAZEPOSE_COUNT), (coco_to_h36m, COCO_COUNT)):
        seen = joints[:count].copy()
        moved = seen.copy()
        moved[:, :2] = seen[:, :2] @ matrix.T + shift
        expected = convert(seen)
        expected[:, :2] = expected[:, :2] @ matrix.T + shift
        np.testing.assert_allclose(convert(moved), expected, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(confidence=hnp.arrays(np.float32, (BLAZEPOSE_COUNT,), elements=st.floats(0, 1, width=32)))
def test_confidence_of_a_constructed_joint_is_the_least_of_its_sources(
    confidence: Array,
) -> None:
    joints = np.zeros((BLAZEPOSE_COUNT, 3), np.float32)
    joints[:, 2] = confidence
    converted = blazepose_to_h36m(joints)
    assert converted[0, 2] == confidence[[23, 24]].min()
    for joint in (7, 8):
        assert converted[joint, 2] == confidence[[11, 12, 23, 24]].min()
    assert converted[9, 2] == confidence[[9, 10, 11, 12]].min()
    assert converted[10, 2] == confidence[[2, 5, 7, 8, 9, 10, 11, 12]].min()


def test_batches_are_converted_alike() -> None:
    rng = np.random.default_rng(1)
    joints = rng.uniform(0, 1, (3, 4, COCO_COUNT, 3)).astype(np.float32)
    converted = coco_to_h36m(joints)
    assert converted.shape == (3, 4, 17, 3)
    assert converted.dtype == np.float32
    np.testing.assert_array_equal(converted[2, 1], coco_to_h36m(joints[2, 1]))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        blazepose_to_h36m(np.zeros((17, 3), np.float32))
    with pytest.raises(ValueError, match="expected"):
        coco_to_h36m(np.zeros((17, 2), np.float32))
