"""What is made with a rig: triangulation, fusion with the lifter, change-over, the world's axes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.rig.change_over import ChangeOver, Placed, RootSmoother
from engines.rig.fusion import RigPose, pose_with_rig
from engines.rig.projection import project
from engines.rig.rotations import angle_deg, exponential
from engines.rig.triangulation import cameras_of, triangulate
from engines.rig.types import Floats
from engines.rig.world import find_floor, keep_origin, keep_place, move_rig, set_front, set_level
from engines.skeleton import MIRROR
from tests.rig_scenes import STATURE_M, Scene, SceneOptions, make_scene

_ASPECTS = np.full(4, 0.75)


def _exact(scene: Scene, row: int) -> Floats:
    """(17, V, 2) exact normalised coordinates of one instant's joints."""
    in_camera = np.einsum(
        "vij,nvj->nvi", scene.rotations, scene.joints[row][:, None] - scene.positions
    )
    return np.asarray(in_camera[..., :2] / in_camera[..., 2:])


def test_exact_rays_meet_in_the_joint_as_opencv_says() -> None:
    scene = make_scene(SceneOptions(seed=1, seconds=1))
    xn = _exact(scene, 4)
    made = triangulate(xn, np.full((17, 4), 0.005), scene.rotations, scene.positions)
    np.testing.assert_allclose(made.points, scene.joints[4], atol=1e-9)
    matrices = [
        np.concatenate([r, (-r @ p)[:, None]], 1)
        for r, p in zip(scene.rotations[:2], scene.positions[:2], strict=True)
    ]
    theirs = cv2.triangulatePoints(*matrices, xn[:, 0].T, xn[:, 1].T)
    np.testing.assert_allclose(made.points, (theirs[:3] / theirs[3]).T, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3), st.integers(0, 16), st.floats(0.05, 0.6), st.floats(0, 6.28))
def test_one_wrong_view_does_no_harm(view: int, joint: int, far: float, way: float) -> None:
    scene = make_scene(SceneOptions(seed=2, seconds=1))
    xn = _exact(scene, 3)
    xn[joint, view] += far * np.array([np.cos(way), np.sin(way)])
    made = triangulate(xn, np.full((17, 4), 0.004), scene.rotations, scene.positions)
    assert np.linalg.norm(made.points[joint] - scene.joints[3, joint]) < 0.03
    assert made.views[joint] >= 2


def test_information_has_the_rank_of_what_was_seen() -> None:
    scene = make_scene(SceneOptions(seed=3, seconds=1))
    sigma = np.full((17, 4), 0.005)
    sigma[5] = np.inf
    sigma[6, 1:] = np.inf
    made = triangulate(_exact(scene, 2), sigma, scene.rotations, scene.positions)
    ranks = [np.linalg.matrix_rank(i, tol=1.0) for i in made.information]
    assert ranks[5] == 0 and ranks[6] == 2 and ranks[7] == 3
    assert made.solved.sum() == 15


def test_covariance_is_that_of_repeated_noise() -> None:
    scene = make_scene(SceneOptions(seed=4, seconds=1))
    rng = np.random.default_rng(0)
    sigma = 0.004
    exact = _exact(scene, 2)[3]
    xn = exact + rng.normal(0, sigma, (400, 4, 2))
    made = triangulate(xn, np.full((400, 4), sigma), scene.rotations, scene.positions)
    spread = np.cov((made.points - scene.joints[2, 3]).T)
    expected = np.linalg.inv(np.median(made.information, axis=0))
    np.testing.assert_allclose(np.trace(spread), np.trace(expected), rtol=0.4)


def _lifted(scene: Scene, row: int, error_m: float, seed: int = 0) -> tuple[Floats, Floats]:
    relative = scene.joints[row] - scene.joints[row, 0]
    rng = np.random.default_rng(seed)
    wrong = relative + rng.normal(0, error_m / np.sqrt(3), (17, 3))
    wrong -= wrong[:1]
    answers = np.einsum("vij,pj->vpi", scene.rotations, wrong)
    return answers, np.full((4, 17), error_m)


def _pose(scene: Scene, keypoints: Floats, row: int, lifter_m: float | None) -> RigPose:
    cameras = replace(cameras_of(scene.rig()), offsets=np.zeros(4))
    lifted, sigma = (None, None) if lifter_m is None else _lifted(scene, row, lifter_m, row)
    pose = pose_with_rig(cameras, keypoints, _ASPECTS, 0.01, lifted, sigma)
    assert pose is not None
    return pose


def _mean_error(scene: Scene, keypoints: Floats, lifter_m: float | None) -> float:
    rows = range(3, 60, 4)
    errors = [
        np.linalg.norm(_pose(scene, keypoints[r], r, lifter_m).joints - scene.joints[r], axis=-1)
        for r in rows
    ]
    return float(np.mean(errors))


def _scene(seed: int = 5, **options: float) -> Scene:
    return make_scene(SceneOptions(seed=seed, seconds=2, offset_s=0.0, **options))  # type: ignore[arg-type]


def test_fusion_is_better_than_either() -> None:
    scene = _scene(noise=0.012)
    alone = _mean_error(scene, scene.keypoints, None)
    fused = _mean_error(scene, scene.keypoints, 0.04)
    assert fused < alone
    assert fused < 0.04


def test_joints_that_nobody_sees_come_from_the_lifter() -> None:
    scene = _scene()
    keypoints = scene.keypoints.copy()
    keypoints[:, :, 13, 2] = 0.0
    pose = _pose(scene, keypoints[10], 10, 0.03)
    assert np.linalg.norm(pose.joints[13] - scene.joints[10, 13]) < 0.12
    assert pose.views[13] == 0 and pose.known[13]
    assert pose.sigma[13] > 1.3 * np.median(pose.sigma)
    bare = _pose(scene, keypoints[10], 10, None)
    assert not bare.known[13] and bare.known[3]


@pytest.mark.parametrize("far", [1.0, 1.5])
def test_two_rays_that_meet_far_from_the_body_are_not_believed(far: float) -> None:
    """A view that sees something else once gave arms of two metres."""
    scene = _scene(noise=0.0, astray=0.0, missing=0.0)
    row, wrist = 30, 13
    keypoints = scene.keypoints[row].copy()
    keypoints[2:, wrist] = 0
    true = scene.joints[row, wrist]
    along = true - scene.positions[0]
    wrong = true + far * along / np.linalg.norm(along)
    in_camera = scene.rotations[1] @ (wrong - scene.positions[1])
    seen = project(in_camera[None], scene.focal[1:2], scene.k1[1:2])
    keypoints[1, wrist, :2] = seen[0]
    pose = _pose(scene, keypoints, row, 0.15)
    assert np.linalg.norm(pose.joints[wrist] - true) < 0.4


def test_one_view_and_the_lifter_still_place_the_person() -> None:
    scene = _scene()
    keypoints = scene.keypoints[10].copy()
    keypoints[1:, :, 2] = 0.0
    pose = _pose(scene, keypoints, 10, 0.03)
    assert np.linalg.norm(pose.joints[0] - scene.joints[10, 0]) < 0.35
    relative = pose.joints - pose.joints[0] - (scene.joints[10] - scene.joints[10, 0])
    assert np.linalg.norm(relative, axis=-1).mean() < 0.06


@pytest.mark.parametrize("views", [(0, 1, 2, 3), (1, 2, 3)])
@pytest.mark.parametrize("aside", [0.1, 0.2, 0.5])
def test_a_view_that_looks_at_somebody_else_moves_nothing(
    views: tuple[int, ...], aside: float
) -> None:
    scene = _scene()
    for row in (10, 20, 40):
        keypoints = scene.keypoints[row].copy()
        keypoints[3, :, 0] += aside
        keypoints[[v for v in range(4) if v not in views], :, 2] = 0.0
        pose = _pose(scene, keypoints, row, 0.03)
        assert np.linalg.norm(pose.joints - scene.joints[row], axis=-1).mean() < 0.04
        assert pose.believed[3] < 0.1 and pose.believed[1] > 0.6


def test_without_lifter_and_second_view_there_is_no_pose() -> None:
    scene = _scene()
    keypoints = scene.keypoints[10].copy()
    keypoints[1:, :, 2] = 0.0
    cameras = cameras_of(scene.rig())
    assert pose_with_rig(cameras, keypoints, _ASPECTS, 0.01) is None
    assert pose_with_rig(cameras, np.zeros((4, 17, 3)), _ASPECTS, 0.01) is None


def test_a_view_with_sides_exchanged_is_mended_and_named() -> None:
    scene = _scene()
    keypoints = scene.keypoints[20].copy()
    keypoints[2] = keypoints[2][list(MIRROR)]
    pose = _pose(scene, keypoints, 20, 0.03)
    assert pose.swapped.tolist() == [False, False, True, False]
    assert np.linalg.norm(pose.joints - scene.joints[20], axis=-1).mean() < 0.03


def test_expected_errors_are_of_the_size_of_the_errors() -> None:
    scene = _scene(noise=0.01)
    ratios = []
    for row in range(3, 57, 3):
        pose = _pose(scene, scene.keypoints[row], row, 0.04)
        ratios.append(np.linalg.norm(pose.joints - scene.joints[row], axis=-1) / pose.sigma)
    assert 0.4 < np.median(ratios) < 1.3


def test_joints_clamped_to_the_border_are_not_believed() -> None:
    scene = _scene()
    keypoints = scene.keypoints[10].copy()
    keypoints[0, 16] = [1.0, 0.1, 0.9]
    pose = _pose(scene, keypoints, 10, None)
    assert np.linalg.norm(pose.joints[16] - scene.joints[10, 16]) < 0.06


def test_change_over_takes_a_second_and_ends_on_the_source() -> None:
    change = ChangeOver()
    before, after = np.zeros((17, 3)), np.full((17, 3), 0.1)
    shown = []
    for step in range(60):
        time = step / 30
        source, joints = ("lifter", before) if time < 0.5 else ("rig", after)
        root = None if source == "lifter" else np.ones(3)
        shown.append(change.update(time, source, Placed(joints, root)).joints[0, 0])
    steps = np.diff(shown)
    assert abs(shown[15]) < 1e-9 and shown[-1] == pytest.approx(0.1)
    assert (steps >= -1e-12).all() and steps.max() < 0.01


def test_who_comes_back_is_where_they_are_at_once() -> None:
    """A rig was refined while nobody was there: no difference of old times is faded out."""
    change = ChangeOver()
    there = Placed(np.ones((17, 3)), np.array([3.0, 0, 1]))
    change.update(1.0, "rig 1", there)
    here = Placed(np.zeros((17, 3)), np.array([0.0, 0, 1]))
    for time_s in (61.0, 61.05, 61.5):
        shown = change.update(time_s, "rig 2", here)
        assert np.array_equal(shown.joints, here.joints) and shown.root is not None
        assert np.array_equal(shown.root, [0.0, 0, 1])


def test_change_to_a_better_rig_moves_the_root_smoothly() -> None:
    change = ChangeOver()
    roots = []
    for step in range(60):
        time = step / 30
        version = 1 if time < 0.5 else 2
        root = np.array([0.0, 0, 1]) + (0.2 if version == 2 else 0.0)
        shown = change.update(time, version, Placed(np.zeros((17, 3)), root)).root
        assert shown is not None
        roots.append(shown[0])
    assert np.abs(np.diff(roots)).max() < 0.02
    assert roots[-1] == pytest.approx(0.2)


def test_root_smoother_shakes_less_and_does_not_lag() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(120) / 30
    truth = np.stack([1.2 * times, 0 * times, 0.9 + 0 * times], -1)
    smoother = RootSmoother()
    noisy = truth + rng.normal(0, 0.012, truth.shape)
    smooth = np.stack([smoother.update(t, x, 0.012) for t, x in zip(times, noisy, strict=True)])
    error, before = (smooth - truth)[30:], (noisy - truth)[30:]
    assert error.std() < 0.75 * before.std()
    assert abs(error[:, 0].mean()) < 0.004
    # After a long gap it starts anew.
    np.testing.assert_allclose(smoother.update(10.0, np.ones(3), 0.01), np.ones(3))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_floor_and_up_are_found_in_any_axes(seed: int) -> None:
    scene = make_scene(SceneOptions(seed=seed, seconds=12))
    rng = np.random.default_rng(seed)
    turn, shift = exponential(rng.normal(0, 1.5, 3)), rng.normal(0, 2, 3)
    points = scene.joints[::5] @ turn.T + shift
    up = turn @ np.array([0.0, 0.0, 1.0])
    guess = exponential(rng.normal(0, 0.2, 3)) @ up
    floor = find_floor(points, guess, STATURE_M)
    assert floor.known
    assert np.degrees(np.arccos(floor.up @ up)) < 2.5
    assert floor.height == pytest.approx(float(shift @ floor.up), abs=0.06)


def test_nothing_is_level_while_nobody_stands() -> None:
    scene = make_scene(SceneOptions(seconds=3))
    # Hips on the heels, trunk bent forward.
    points = scene.joints[::5].copy()
    points[:, [3, 6]] = points[:, [1, 4]] + [0.05, 0, 0]
    guess = np.array([0.1, 0.0, 1.0])
    floor = find_floor(points, guess, STATURE_M)
    assert not floor.known


def test_guessed_legs_do_not_tilt_the_world() -> None:
    scene = make_scene(SceneOptions(seconds=6))
    points = scene.joints[::5].copy()
    points[:, [2, 5]] += [0.3, 0.2, 0.0]
    points[:, [3, 6]] += [0.6, 0.4, 0.2]
    seen = np.ones(points.shape[:2], bool)
    seen[:, [2, 3, 5, 6]] = False
    guess = exponential(np.array([0.15, 0.0, 0.0])) @ np.array([0.0, 0.0, 1.0])
    fooled = find_floor(points, guess, STATURE_M)
    floor = find_floor(points, guess, STATURE_M, seen=seen)
    assert not floor.known
    assert np.degrees(np.arccos(floor.up[2])) < 7 < np.degrees(np.arccos(fooled.up[2]))


def test_moving_a_rig_keeps_what_its_cameras_see() -> None:
    scene = make_scene(SceneOptions(seed=3, seconds=1))
    rig = scene.rig()
    turn, shift = exponential(np.array([0.3, -0.2, 1.0])), np.array([1.0, 2.0, -0.5])
    moved = move_rig(rig, turn, shift, 1.1)
    point = scene.joints[5, 3]
    for before, after in zip(rig.cameras, moved.cameras, strict=True):
        assert before is not None and after is not None
        old = before.rotation @ (point - before.position)
        new = after.rotation @ (1.1 * turn @ point + shift - after.position)
        np.testing.assert_allclose(new, 1.1 * old, atol=1e-9)


def test_level_and_front_are_those_of_the_person() -> None:
    scene = make_scene(SceneOptions(seed=3, seconds=1))
    rig = move_rig(scene.rig(), exponential(np.array([0.1, 0.15, 0.4])), np.zeros(3))
    upright = np.zeros((17, 3))
    upright[[0, 7, 8, 9, 10], 2] = [0.9, 1.1, 1.4, 1.5, 1.7]
    upright[[1, 4], 2], upright[[2, 5], 2], upright[[3, 6], 2] = 0.9, 0.49, 0.08
    upright[[4, 5, 6, 11], 1], upright[[1, 2, 3, 14], 1] = 0.15, -0.15
    # The weight is in front of the ankles, over the middle of the feet.
    upright[[2, 5], 0], upright[[3, 6], 0] = -0.033, -0.066
    lean = exponential(np.array([0.1, -0.05, 0.0]))
    joints = upright @ lean.T
    level = set_level(rig, joints)
    assert level.levelled
    first_before, first_after = rig.cameras[0], level.cameras[0]
    assert first_before is not None and first_after is not None
    turn = first_after.rotation.T @ first_before.rotation
    up = turn @ lean @ [0.0, 0.0, 1.0]
    np.testing.assert_allclose(up, [0.0, 0.0, 1.0], atol=2e-3)
    # Facing +x in this pose (left is +y): after the turn it must face −y.
    front = set_front(rig, upright)
    camera = front.cameras[0]
    assert camera is not None
    turn = camera.rotation.T @ first_before.rotation
    np.testing.assert_allclose(turn @ [1.0, 0, 0], [0, -1.0, 0], atol=1e-9)


def test_keeping_the_place_undoes_a_turn_on_the_floor() -> None:
    rig = make_scene(SceneOptions(seed=6, seconds=1)).rig()
    turned = move_rig(rig, exponential(np.array([0, 0, 0.7])), np.array([0.4, -0.2, 0.0]))
    back = keep_place(turned, rig)
    for a, b in zip(rig.cameras, back.cameras, strict=True):
        assert a is not None and b is not None
        np.testing.assert_allclose(a.position, b.position, atol=1e-9)
        assert float(angle_deg(a.rotation @ b.rotation.T)) < 1e-5


def test_keeping_the_origin_leaves_the_heading() -> None:
    """The first rig's cameras may be several degrees from where they look."""
    rig = make_scene(SceneOptions(seed=3, seconds=1)).rig()
    turn = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1.0]])
    moved = move_rig(rig, turn, np.array([1.0, -2.0, 0.0]))
    kept = keep_origin(moved, rig)
    middles = [np.mean([c.position for c in r.cameras if c], axis=0) for r in (rig, kept)]
    np.testing.assert_allclose(middles[1][:2], middles[0][:2], atol=1e-9)
    for new, old in zip(kept.cameras, moved.cameras, strict=True):
        assert new is not None and old is not None
        np.testing.assert_allclose(new.rotation, old.rotation, atol=1e-12)
        assert new.position[2] == pytest.approx(old.position[2])
