"""Rotations, similarities, view fusion and level on poses whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engines.level import LevelEstimator
from engines.procrustes import (
    align_similarity,
    nearest_rotation,
    rotation_from_correlation,
    synchronise_rotations,
)
from engines.view_fusion import ViewFusion

seeds = st.integers(0, 2**31)

STANDING = np.array(
    [
        [0, 0, 0], [-0.13, 0, 0], [-0.13, 0.035, -0.43], [-0.13, 0.07, -0.86],
        [0.13, 0, 0], [0.13, 0.035, -0.43], [0.13, 0.07, -0.86],
        [0, 0, 0.25], [0, 0, 0.5], [0, 0.02, 0.6], [0, 0, 0.72],
        [0.18, 0, 0.48], [0.25, 0, 0.2], [0.27, 0.05, -0.05],
        [-0.18, 0, 0.48], [-0.25, 0, 0.2], [-0.27, 0.05, -0.05],
    ]
)  # fmt: skip
"""Faces −y, its weight over the middle of its feet; z up; metres."""


def _angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(Rotation.from_matrix(a @ b.T).magnitude()))


def _random_pose(rng: np.random.Generator) -> np.ndarray:
    pose = STANDING + rng.normal(0, 0.1, STANDING.shape)
    return pose - pose[:1]


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_the_nearest_rotation_is_a_rotation(seed: int) -> None:
    matrices = np.random.default_rng(seed).normal(0, 1, (5, 3, 3))
    rotations = nearest_rotation(matrices)
    np.testing.assert_allclose(
        rotations @ np.swapaxes(rotations, 1, 2), np.eye(3)[None].repeat(5, 0), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_a_similarity_is_undone_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 1, (4, 17, 3))
    rotation = Rotation.random(random_state=seed % 2**31).as_matrix()
    points = 0.3 * target @ rotation.T + rng.normal(0, 5, 3)
    np.testing.assert_allclose(align_similarity(points, target), target, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_a_mirror_image_is_not_undone(seed: int) -> None:
    target = np.random.default_rng(seed).normal(0, 1, (17, 3))
    mirrored = target * np.array([-1, 1, 1])
    assert np.abs(align_similarity(mirrored, target) - target).max() > 0.05


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_a_rotation_is_found_from_its_correlation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = Rotation.random(random_state=seed).as_matrix()
    a = rng.normal(0, 1, (17, 3))
    correlation = np.einsum("ka,kb->ab", a @ truth.T, a)
    assert _angle_deg(rotation_from_correlation(correlation), truth) < 1e-5


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 8))
def test_pairwise_rotations_are_made_consistent(seed: int, views: int) -> None:
    rng = np.random.default_rng(seed)
    absolute = Rotation.random(views, random_state=seed).as_matrix()  # view ← world
    pairwise = np.einsum("iab,jcb->ijac", absolute, absolute)
    noise = Rotation.from_rotvec(rng.normal(0, 0.02, (views * views, 3))).as_matrix()
    pairwise = pairwise @ noise.reshape(views, views, 3, 3)
    for i in range(views):
        for j in range(i):
            pairwise[i, j] = pairwise[j, i].T
    weights = np.ones((views, views)) - np.eye(views)
    found = synchronise_rotations(pairwise, weights)
    for i in range(views):
        assert _angle_deg(found[i], absolute[0] @ absolute[i].T) < 8


def test_a_view_that_was_never_seen_with_the_others_is_unknown() -> None:
    weights = np.zeros((3, 3))
    weights[0, 1] = weights[1, 0] = 1
    found = synchronise_rotations(np.eye(3)[None, None].repeat(3, 0).repeat(3, 1), weights)
    assert not np.isnan(found[:2]).any()
    assert np.isnan(found[2]).all()


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_fusion_finds_the_rotations_and_beats_single_views(seed: int) -> None:
    rng = np.random.default_rng(seed)
    views = 4
    cameras = Rotation.random(views, random_state=seed).as_matrix()
    fusion = ViewFusion(views)
    errors, single = [], []
    for k in range(40):
        pose = _random_pose(rng) @ cameras[0].T
        answers = np.stack([pose @ cameras[0] @ c.T for c in cameras])
        answers = answers + rng.normal(0, 0.03, answers.shape) * (np.arange(17) > 0)[:, None]
        present = np.ones(views, bool)
        present[k % views] = k < 8
        fused = fusion.update(k * 33_000_000, answers, np.full((views, 17), 0.05), present)
        assert fused is not None
        if k >= 20:
            errors.append(np.linalg.norm(fused.joints - pose, axis=1).mean())
            single.append(np.linalg.norm(answers[0] - pose, axis=1).mean())
            for v in range(views):
                assert _angle_deg(fused.rotations[v], cameras[0] @ cameras[v].T) < 4
    assert np.mean(errors) < 0.75 * np.mean(single)


def test_each_view_is_believed_less_along_its_own_axis() -> None:
    """Two cameras at a right angle, each wrong in depth alone: together they are nearly right."""
    cameras = Rotation.from_euler("y", [[0], [90]], degrees=True).as_matrix()
    fusion, sigma = ViewFusion(2), np.full((2, 17), 0.05)
    for k in range(40):
        pose = STANDING @ Rotation.from_euler("z", 9 * k, degrees=True).as_matrix().T
        answers = np.stack([pose @ c.T for c in cameras])
        fusion.update(k * 33_000_000, answers, sigma, np.ones(2, bool))
    wrong = answers.copy()
    wrong[:, 1:, 2] += 0.1
    fused = fusion.update(40 * 33_000_000, wrong, sigma, np.ones(2, bool))
    assert fused is not None
    errors = np.linalg.norm(fused.joints - answers[0], axis=1)[1:]
    plain = np.linalg.norm((wrong[0] + wrong[1] @ cameras[1]) / 2 - answers[0], axis=1)[1:]
    assert plain.min() > 0.06
    assert errors.max() < 0.5 * plain.min()


def test_a_view_alone_is_believed_as_it_is() -> None:
    fusion = ViewFusion(3)
    pose = _random_pose(np.random.default_rng(5))
    present = np.array([False, True, False])
    sigma = np.random.default_rng(6).uniform(1e-4, 0.5, (3, 17))
    fused = fusion.update(0, np.stack([pose] * 3), sigma, present)
    assert fused is not None and fused.reference == 1
    np.testing.assert_allclose(fused.joints, pose, atol=1e-9)


def test_until_the_first_camera_has_seen_the_person_another_is_the_reference() -> None:
    rng = np.random.default_rng(3)
    cameras = Rotation.random(3, random_state=3).as_matrix()
    fusion = ViewFusion(3)
    references = []
    for k in range(12):
        pose = _random_pose(rng)
        answers = np.stack([pose @ c.T for c in cameras])
        present = np.array([k >= 6, k >= 3, True])
        fused = fusion.update(k * 33_000_000, answers, np.full((3, 17), 0.05), present)
        assert fused is not None
        np.testing.assert_allclose(fused.joints, answers[fused.reference], atol=1e-6)
        references.append(fused.reference)
    assert references == [2] * 3 + [1] * 3 + [0] * 6


def test_the_level_stays_when_the_reference_changes() -> None:
    cameras = Rotation.from_euler("zx", [[0, 100], [70, 80]], degrees=True).as_matrix()
    estimator = LevelEstimator()
    for k in range(60):
        estimator.update(k * 33_000_000, STANDING @ cameras[0].T, np.eye(3)[None])
    turn = cameras[1] @ cameras[0].T
    before = turn @ estimator.up
    estimator.set_front(STANDING @ cameras[0].T)
    shown = STANDING @ cameras[0].T @ estimator.rotation().T
    estimator.turn(turn)
    np.testing.assert_allclose(estimator.up, before, atol=1e-9)
    # So does the front that somebody has set.
    np.testing.assert_allclose(STANDING @ cameras[1].T @ estimator.rotation().T, shown, atol=1e-9)


def test_fusion_without_any_view_gives_nothing() -> None:
    fusion = ViewFusion(2)
    assert fusion.update(0, np.zeros((2, 17, 3)), np.ones((2, 17)), np.zeros(2, bool)) is None


@pytest.mark.parametrize("pitch_deg", [-30, -10, 0, 20])
def test_level_is_found_from_an_upright_person(pitch_deg: float) -> None:
    camera = Rotation.from_euler("x", 90 + pitch_deg, degrees=True).as_matrix()  # camera ← world
    estimator = LevelEstimator()
    rng = np.random.default_rng(1)
    for k in range(150):
        pose = STANDING + rng.normal(0, 0.01, STANDING.shape)
        estimator.update(k * 33_000_000, pose @ camera.T, np.eye(3)[None])
    assert estimator.known
    up = camera @ np.array([0.0, 0.0, 1.0])
    assert np.degrees(np.arccos(np.clip(estimator.up @ up, -1, 1))) < 4
    world = STANDING @ camera.T @ estimator.rotation().T
    assert world[10, 2] > 0.7 * 0.95
    assert world[3, 2] < -0.8


def _balanced(pose: np.ndarray) -> np.ndarray:
    """Leans a pose about its ankles until its centre of mass (a third in the legs) is above."""
    ankles = pose[[3, 6]].mean(0)
    trunk = 0.45 * pose[0] + 0.55 * pose[8]
    centre = 0.32 * (pose[0] + ankles) / 2 + 0.68 * trunk - ankles
    lean = np.arctan2(centre[1], centre[2])
    turn = Rotation.from_euler("x", lean).as_matrix()
    leaned = (pose - ankles) @ turn.T
    return leaned - leaned[:1]


def test_a_person_who_bends_or_sits_does_not_tilt_the_world() -> None:
    camera = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    bent = STANDING.copy()
    bent[7:] = bent[7:] @ Rotation.from_euler("x", 80, degrees=True).as_matrix().T
    bent = _balanced(bent)
    estimator = LevelEstimator()
    for k in range(300):
        pose = STANDING if k % 3 == 0 else bent
        estimator.update(k * 33_000_000, pose @ camera.T, np.eye(3)[None])
    up = camera @ np.array([0.0, 0.0, 1.0])
    assert np.degrees(np.arccos(estimator.up @ up)) < 4


def test_behind_a_desk_the_trunk_and_the_cameras_tell_the_level() -> None:
    """Legs that nobody sees are guesses, and once tilted the world by them."""
    camera = Rotation.from_euler("x", 90 - 20, degrees=True).as_matrix()  # camera ← world
    wrong_legs = STANDING.copy()
    wrong_legs[[2, 3, 5, 6]] += np.array([0.5, 0.4, 0.3]) * [[1.0], [2.0], [1.0], [2.0]]
    up = camera @ np.array([0.0, 0.0, 1.0])
    errors = []
    for legs_seen in (False, True):
        estimator = LevelEstimator()
        for k in range(450):
            estimator.update(k * 33_000_000, wrong_legs @ camera.T, np.eye(3)[None], legs_seen)
        errors.append(np.degrees(np.arccos(np.clip(estimator.up @ up, -1, 1))))
        assert estimator.known == legs_seen
    assert errors[0] < 11 < errors[1], errors  # half way between the camera's top and the trunk


@pytest.mark.parametrize("legs_seen", [True, False])
def test_who_sits_down_for_long_keeps_the_level(legs_seen: bool) -> None:
    """Up was told while they stood; a tilted camera's top does not take over."""
    camera = Rotation.from_euler("x", 90 - 25, degrees=True).as_matrix()  # camera ← world
    seated = STANDING.copy()
    seated[[2, 5]] += [0, -0.43, 0.43]
    seated[[3, 6]] += [0, -0.40, 0.43]
    seated[7:] = seated[7:] @ Rotation.from_euler("x", 15, degrees=True).as_matrix().T
    estimator = LevelEstimator()
    for k in range(600):
        estimator.update(k * 100_000_000, STANDING @ camera.T, np.eye(3)[None])
    for k in range(600, 600 + 6000):
        estimator.update(k * 100_000_000, seated @ camera.T, np.eye(3)[None], legs_seen)
    assert estimator.known
    up = camera @ np.array([0.0, 0.0, 1.0])
    assert np.degrees(np.arccos(np.clip(estimator.up @ up, -1, 1))) < 1.5


def test_at_a_desk_the_trunk_is_what_is_upright_on_purpose() -> None:
    camera = Rotation.from_euler("x", 90 - 25, degrees=True).as_matrix()  # camera ← world
    guessed = STANDING.copy()
    guessed[[2, 3, 5, 6]] += np.array([0.5, 0.4, 0.3]) * [[1.0], [2.0], [1.0], [2.0]]
    estimator = LevelEstimator()
    estimator.set_level(guessed @ camera.T, legs_seen=False)
    assert estimator.up @ camera @ [0.0, 0.0, 1.0] > np.cos(np.radians(1))


def test_what_is_known_of_the_views_does_not_fade_away() -> None:
    """The first camera sees nobody for an hour, then the room is empty for another."""
    rng = np.random.default_rng(4)
    cameras = Rotation.random(3, random_state=4).as_matrix()
    fusion, sigma = ViewFusion(3), np.full((3, 17), 0.05)
    time_ns, fused = 0, None
    for minutes, present in ((1, [1, 1, 1]), (60, [0, 1, 1]), (60, [0, 0, 0]), (0.1, [0, 0, 1])):
        for _ in range(int(minutes * 60 * 2)):
            time_ns += 500_000_000
            pose = _random_pose(rng)
            answers = np.stack([pose @ c.T for c in cameras])
            fused = fusion.update(time_ns, answers, sigma, np.array(present, bool))
    assert fused is not None and fused.reference == 0
    for view in range(3):
        assert _angle_deg(fused.rotations[view], cameras[0] @ cameras[view].T) < 0.5
    # Whose camera was turned in the meantime is found out soon.
    turned = cameras.copy()
    turned[2] = Rotation.from_euler("y", 20, degrees=True).as_matrix() @ cameras[2]
    for _ in range(10 * 120):
        time_ns += 100_000_000
        pose = _random_pose(rng)
        answers = np.stack([pose @ c.T for c in turned])
        fused = fusion.update(time_ns, answers, sigma, np.ones(3, bool))
    assert fused is not None
    assert _angle_deg(fused.rotations[2], cameras[0] @ turned[2].T) < 1


def test_in_the_first_moments_the_cameras_around_the_person_give_the_level() -> None:
    cameras = np.stack(
        [
            (
                Rotation.from_euler("z", 8 * (-1) ** k, degrees=True)
                * Rotation.from_euler("x", 90 + 25, degrees=True)
                * Rotation.from_euler("z", 90 * k, degrees=True)
            ).as_matrix()
            for k in range(4)
        ]
    )  # camera ← world, all looking 25° down
    rotations = np.stack([cameras[0] @ c.T for c in cameras])
    estimator = LevelEstimator()
    lying = STANDING[:, [2, 1, 0]]
    estimator.update(0, lying @ cameras[0].T, rotations)
    up = cameras[0] @ np.array([0.0, 0.0, 1.0])
    assert np.degrees(np.arccos(np.clip(estimator.up @ up, -1, 1))) < 10


def test_front_and_level_can_be_set_by_the_person() -> None:
    camera = Rotation.from_euler("zx", [25, 100], degrees=True).as_matrix()
    estimator = LevelEstimator()
    seen = STANDING @ camera.T
    estimator.set_level(seen)
    estimator.set_front(seen)
    world = seen @ estimator.rotation().T
    np.testing.assert_allclose(world, STANDING, atol=0.02)
