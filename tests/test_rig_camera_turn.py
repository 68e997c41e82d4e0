"""Whether a small turn of one camera is told from errors of the 2D detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.rig.camera_turn import TurnTest
from engines.rig.epipolar import pair_residuals
from engines.rig.rotations import exponential
from engines.rig.triangulation import Cameras, cameras_of
from tests.rig_scenes import Scene, SceneOptions, make_scene

_ASPECTS = np.full(4, 0.75)


def _turned(cameras: Cameras, view: int, axis: np.ndarray, degrees: float) -> Cameras:
    rotations = cameras.rotations.copy()
    rotations[view] = exponential(np.radians(degrees) * axis) @ rotations[view]
    return replace(cameras, rotations=rotations)


def _answers(scene: Scene, cameras: Cameras, learned_s: float = 2.0) -> list[tuple[int, ...]]:
    test = TurnTest(cameras.known)
    answers = []
    for time, keypoints in zip(scene.times[::3], scene.keypoints[::3], strict=True):
        residuals = pair_residuals(cameras, keypoints, _ASPECTS)
        if time < learned_s:
            test.learn(time, residuals)
        else:
            answers.append(test.update(time, residuals))
    return answers


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(SceneOptions(seed=3, seconds=5, offset_s=0.0))


@given(st.integers(0, 3), st.integers(0, 2**16))
@settings(max_examples=12, deadline=None)
def test_slopes_are_derivatives_by_the_turn(view: int, seed: int) -> None:
    scene = make_scene(SceneOptions(seed=3, seconds=1, offset_s=0.0))
    cameras = cameras_of(scene.rig())
    axis = np.random.default_rng(seed).normal(size=3)
    axis /= np.linalg.norm(axis)
    step = 1e-3
    keypoints = scene.keypoints[4]
    found = pair_residuals(cameras, keypoints, _ASPECTS)
    # Rays turning by w are what the camera turning by -w is.
    moved = [
        pair_residuals(_turned(cameras, view, -side * axis, np.degrees(step)), keypoints, _ASPECTS)
        for side in (1, -1)
    ]
    measured = (moved[0].off - moved[1].off) / (2 * step)
    slopes = np.zeros_like(found.off)
    slopes[found.first == view] = (found.turn_first @ axis)[found.first == view]
    slopes[found.second == view] = (found.turn_second @ axis)[found.second == view]
    # Where the residual is small its scale's own change does not matter.
    small = found.known & (np.abs(found.off) < 1.0)
    largest = np.abs(slopes[small]).max()
    np.testing.assert_allclose(measured[small], slopes[small], atol=0.05 * largest + 1e-6)


@pytest.mark.parametrize("view", [0, 1, 2, 3])
def test_a_turned_camera_is_named(scene: Scene, view: int) -> None:
    cameras = cameras_of(scene.rig())
    axis = np.eye(3)[view % 3]
    answers = _answers(scene, _turned(cameras, view, axis, 3.0), learned_s=0.0)
    assert set(answers) <= {(), (view,)}
    assert answers[8:].count((view,)) > 0.8 * len(answers[8:])


def test_a_rig_that_fits_is_left_alone(scene: Scene) -> None:
    answers = _answers(scene, cameras_of(scene.rig()))
    assert answers and set(answers) == {()}


def test_errors_that_agree_on_no_turn_are_no_alarm(scene: Scene) -> None:
    """A detector that puts one view's legs wrong for a second."""
    rng = np.random.default_rng(0)
    keypoints = scene.keypoints.copy()
    bad = scene.times > 2.5
    keypoints[bad, 2, 1:7, :2] += rng.normal(0, 0.08, (1, 6, 2))
    answers = _answers(replace(scene, keypoints=keypoints), cameras_of(scene.rig()))
    assert set(answers) == {()}


def test_a_turn_too_small_to_matter_is_let_be(scene: Scene) -> None:
    cameras = cameras_of(scene.rig())
    answers = _answers(scene, _turned(cameras, 1, np.eye(3)[1], 0.1), learned_s=0.0)
    assert set(answers) == {()}


def test_without_a_person_nothing_is_said(scene: Scene) -> None:
    empty = replace(scene, keypoints=np.zeros_like(scene.keypoints))
    assert set(_answers(empty, cameras_of(scene.rig()))) == {()}
