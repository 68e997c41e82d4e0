"""2D skeletons on pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engines.errors import UserError
from engines.skeleton import JOINT_COUNT
from tests.staged_run import STANDING
from viz.overlay import draw_box, draw_skeleton_2d
from viz.palette import LEFT, RIGHT


def _keypoints() -> np.ndarray:
    place = STANDING[:, [0, 2]] * np.array([100.0, -100.0]) + np.array([120.0, 110.0])
    return np.concatenate([place, np.ones((JOINT_COUNT, 1))], axis=1)


def _count(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == np.array(colour, np.uint8)).all(axis=-1).sum())


def test_both_sides_are_drawn_in_their_colours() -> None:
    image = np.zeros((240, 240, 3), np.uint8)
    draw_skeleton_2d(image, _keypoints())
    assert _count(image, RIGHT) > 50
    assert _count(image, LEFT) > 50


def test_joints_without_confidence_and_their_bones_are_left_out() -> None:
    keypoints = _keypoints()
    keypoints[[14, 15, 16, 1, 2, 3]] = 0.0
    image = np.zeros((240, 240, 3), np.uint8)
    draw_skeleton_2d(image, keypoints)
    assert _count(image, RIGHT) == 0
    assert _count(image, LEFT) > 50
    assert not image[:20, :20].any(), "something was drawn towards the picture's corner"


def test_scale_and_offset_move_the_skeleton() -> None:
    whole = np.zeros((240, 240, 3), np.uint8)
    draw_skeleton_2d(whole, _keypoints(), scale=0.5, offset=(100.0, 100.0), thickness=1.0)
    rows, columns = np.nonzero(whole.any(axis=-1))
    place = _keypoints()[:, :2] * 0.5 + 100.0
    assert abs(columns.min() - place[:, 0].min()) <= 4
    assert abs(rows.max() - place[:, 1].max()) <= 4


def test_another_number_of_joints_is_refused() -> None:
    with pytest.raises(UserError, match=r"shape \(16, 3\)"):
        draw_skeleton_2d(np.zeros((9, 9, 3), np.uint8), np.zeros((16, 3)))


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float64,
        (JOINT_COUNT, 3),
        elements=st.floats(allow_nan=True, allow_infinity=True),
    ),
    st.floats(1e-3, 1e3),
)
def test_no_keypoints_whatever_can_stop_the_viewer(keypoints: np.ndarray, scale: float) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    draw_skeleton_2d(image, keypoints, scale=scale)
    draw_box(image, keypoints.reshape(-1)[:4], LEFT, scale=scale)
    assert image.shape == (48, 64, 3)
