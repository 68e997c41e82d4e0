"""Left/right swaps are found and mended, and joints that were right stay as they were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.skeleton import JOINT_COUNT, LEFT_JOINTS, MIRROR, RIGHT_JOINTS
from engines.swap_mending import ARMS, GROUPS, LEGS, SwapMender, exchanged

Array = npt.NDArray[np.floating]
VIEWS = 4
RATE_HZ = 10


def walker(seconds: float, rng: np.random.Generator) -> Array:
    """(T, 17, 3) metres, z up: somebody who walks on the spot, waves and turns around."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    swing = np.sin(2 * np.pi * 0.9 * times + rng.uniform(0, 6))
    wave = np.sin(2 * np.pi * 0.4 * times + rng.uniform(0, 6))
    heading = rng.uniform(0, 6) + 0.5 * times
    pose = np.zeros((len(times), JOINT_COUNT, 3))

    def limb(
        start: Array, lengths: tuple[float, float], angles: tuple[Array, Array]
    ) -> list[Array]:
        points: list[Array] = []
        at = start
        for length, angle in zip(lengths, angles, strict=True):
            step = np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)], axis=-1)
            at = at + length * step
            points.append(at)
        return points

    for side, (hip, shoulder) in ((1, (4, 11)), (-1, (1, 14))):
        pose[:, hip] = (0, side * 0.09, 0)
        pose[:, shoulder] = (0.02, side * 0.15, 0.45)
        thigh = side * swing * 0.5
        shank = thigh - 0.3 * (1 + side * swing)
        pose[:, hip + 1], pose[:, hip + 2] = limb(pose[:, hip], (0.42, 0.42), (thigh, shank))
        upper = -side * swing * 0.5 + (side > 0) * (1.2 + wave)
        lower = upper + 0.4 + (side > 0) * 0.5
        arm = limb(pose[:, shoulder], (0.29, 0.25), (upper, lower))
        pose[:, shoulder + 1], pose[:, shoulder + 2] = arm
    pose[:, 7:11] = ((0.01, 0, 0.23), (0.02, 0, 0.48), (0.1, 0, 0.6), (0.08, 0, 0.72))
    cosine, sine = np.cos(heading), np.sin(heading)
    zero, one = np.zeros_like(cosine), np.ones_like(cosine)
    turn = np.array([[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]])
    return np.asarray(np.einsum("ijt,tkj->tki", turn, pose), np.float32)


def camera(azimuth: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rotation (world to camera) and position of a camera that looks at the person."""
    distance, height = rng.uniform(2.5, 5), rng.uniform(-0.6, 1.6)
    position = np.array([np.cos(azimuth) * distance, np.sin(azimuth) * distance, height])
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward]).astype(np.float32), position


def small_rotation(degrees: float, rng: np.random.Generator) -> Array:
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis) * np.radians(degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / 2, np.float32)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Per set, view and group: what was swapped, what was reported, how far the sides are apart."""

    truth: npt.NDArray[np.bool_]
    reported: npt.NDArray[np.bool_]
    apart_m: Array


def play(poses: Array, rng: np.random.Generator, swap_chance: float, lag: int = 1) -> Outcome:
    """Shows ``poses`` to four noisy, free cameras and swaps sides at random."""
    azimuth = rng.uniform(0, 6)
    cameras = [camera(azimuth + view * 1.6 + rng.normal(0, 0.3), rng) for view in range(VIEWS)]
    tilts = [small_rotation(rng.normal(0, 5), rng) for _ in range(VIEWS)]
    mender = SwapMender(VIEWS)
    state = np.zeros((VIEWS, 2), np.bool_)
    truth, reported, apart = [], [], []
    for before, now in zip(poses[:-lag], poses[lag:], strict=True):
        keypoints = np.zeros((VIEWS, JOINT_COUNT, 3), np.float32)
        predicted = np.zeros((VIEWS, JOINT_COUNT, 3), np.float32)
        separation = np.zeros((VIEWS, 2), np.float32)
        guess = before + rng.normal(0, 0.04, before.shape)
        for view, (rotation, position) in enumerate(cameras):
            seen = (now - position) @ rotation.T
            depth = float(seen[:, 2].mean())
            places = seen[:, :2] / seen[:, 2:]
            for group, joints in enumerate(GROUPS):
                gaps = places[list(joints)] - places[[MIRROR[joint] for joint in joints]]
                separation[view, group] = depth * np.sqrt((gaps**2).sum(-1).mean())
            keypoints[view, :, :2] = places + rng.normal(0, 0.03 / depth, places.shape)
            keypoints[view, :, 2] = rng.uniform(0.4, 1, JOINT_COUNT)
            keypoints[view, rng.random(JOINT_COUNT) < 0.03] = 0
            predicted[view] = guess @ (tilts[view] @ rotation).T
        chance = rng.random((VIEWS, 2))
        chance = np.where(rng.random((VIEWS, 1)) < 0.5, chance[:, :1], chance)
        state = np.where(state, chance > 0.08, chance < swap_chance)
        shown = keypoints.copy()
        for view, group in np.argwhere(state):
            moved = list(GROUPS[group])
            shown[view, moved] = keypoints[view, [MIRROR[joint] for joint in moved]]
        mended = mender.mend(shown, predicted)
        right = (mended.swapped == state).all(axis=1)
        np.testing.assert_array_equal(mended.keypoints[right], keypoints[right])
        truth.append(state.copy())
        reported.append(mended.swapped)
        apart.append(separation)
    return Outcome(np.array(truth), np.array(reported), np.array(apart))


CLEAR_M = 0.15
"""RMS distance in the picture plane between left and right from which a swap can be seen."""


def check(outcomes: list[Outcome]) -> None:
    truth = np.concatenate([outcome.truth.reshape(-1) for outcome in outcomes])
    reported = np.concatenate([outcome.reported.reshape(-1) for outcome in outcomes])
    apart = np.concatenate([outcome.apart_m.reshape(-1) for outcome in outcomes])
    clear = apart > CLEAR_M
    assert (truth & clear).sum() > 200
    assert reported[truth & clear].mean() >= 0.95
    assert reported[~truth & clear].mean() <= 0.005
    # Where the sides nearly cover each other either label is nearly right; it still must not hurt.
    assert reported[~truth & ~clear].mean() <= 0.05


def test_swaps_of_a_synthetic_walker_are_mended() -> None:
    rng = np.random.default_rng(1)
    check([play(walker(20, rng), rng, swap_chance=0.03) for _ in range(4)])


def test_swaps_of_motion_capture_are_mended(shared_dir: Path) -> None:
    rng = np.random.default_rng(2)
    with np.load(
        shared_dir / "data" / "mocap" / "cmu_mocap17_30fps.npz", allow_pickle=False
    ) as file:
        places, offsets = file["xyz"].astype(np.float32), file["offsets"]
    outcomes = []
    for clip in range(0, 240, 24):
        poses = places[offsets[clip] : offsets[clip + 1] : 30 // RATE_HZ][:150]
        outcomes.append(play(poses - poses[:, :1], rng, swap_chance=0.03))
    check(outcomes)


def test_without_swaps_nothing_is_touched_where_sides_are_apart() -> None:
    rng = np.random.default_rng(3)
    outcome = play(walker(30, rng), rng, swap_chance=0.0)
    assert outcome.reported[outcome.apart_m > CLEAR_M].mean() <= 0.003


def clean_views(azimuths: tuple[float, ...], rng: np.random.Generator) -> tuple[Array, Array]:
    pose = walker(0.2, rng)[1]
    keypoints = np.ones((len(azimuths), JOINT_COUNT, 3), np.float32)
    predicted = np.zeros((len(azimuths), JOINT_COUNT, 3), np.float32)
    for view, azimuth in enumerate(azimuths):
        rotation, position = camera(azimuth, rng)
        seen = (pose - position) @ rotation.T
        keypoints[view, :, :2] = seen[:, :2] / seen[:, 2:]
        predicted[view] = pose @ rotation.T
    return keypoints, predicted


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(1e-3, 1e3),
    shift=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
)
def test_units_and_place_do_not_matter(seed: int, scale: float, shift: tuple[float, float]) -> None:
    keypoints, predicted = clean_views((0.3, 1.8, 3.5), np.random.default_rng(seed))
    keypoints[1] = keypoints[1, list(MIRROR)]
    moved = keypoints.copy()
    moved[..., :2] = (moved[..., :2] + shift) * np.float32(scale)
    plain = SwapMender(3).mend(keypoints, predicted)
    other = SwapMender(3).mend(moved, predicted * np.float32(scale))
    np.testing.assert_array_equal(plain.swapped, other.swapped)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_joints_are_only_ever_exchanged_within_a_group(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    keypoints = rng.normal(0, 0.3, (2, JOINT_COUNT, 3)).astype(np.float32)
    keypoints[..., 2] = rng.uniform(-0.3, 1, (2, JOINT_COUNT)).clip(0)
    predicted = rng.normal(0, 0.5, (2, JOINT_COUNT, 3)).astype(np.float32)
    if data.draw(st.booleans()):
        predicted[0] = np.nan
    mender = SwapMender(2)
    for _ in range(data.draw(st.integers(1, 4))):
        given_copy = keypoints.copy()
        mended = mender.mend(keypoints, predicted)
        np.testing.assert_array_equal(keypoints, given_copy)
        for view in range(2):
            expected = keypoints[view].copy()
            for group, joints in enumerate(GROUPS):
                if mended.swapped[view, group]:
                    expected[list(joints)] = keypoints[view, [MIRROR[joint] for joint in joints]]
            np.testing.assert_array_equal(mended.keypoints[view], expected)


def test_a_sudden_swap_is_mended_in_the_same_set() -> None:
    keypoints, predicted = clean_views((0.0, 1.6, 3.1), np.random.default_rng(4))
    mender = SwapMender(3)
    for _ in range(5):
        assert not mender.mend(keypoints, predicted).swapped.any()
    broken = keypoints.copy()
    broken[0] = keypoints[0, list(MIRROR)]
    arms = list(GROUPS[ARMS])
    broken[2, arms] = keypoints[2, [MIRROR[joint] for joint in arms]]
    mended = mender.mend(broken, predicted)
    assert mended.swapped.tolist() == [[True, True], [False, False], [True, False]]
    np.testing.assert_array_equal(mended.keypoints, keypoints)


def test_without_a_prediction_nothing_is_relabelled() -> None:
    keypoints, _ = clean_views((0.0, 1.6), np.random.default_rng(5))
    mender = SwapMender(2)
    for turn in range(20):
        shown = keypoints.copy()
        if turn % 2:
            shown[0] = keypoints[0, list(MIRROR)]
        assert not mender.mend(shown, None).swapped.any()


def test_a_decision_outlasts_sets_without_a_prediction() -> None:
    keypoints, predicted = clean_views((0.0, 1.6), np.random.default_rng(6))
    broken = keypoints.copy()
    broken[0] = keypoints[0, list(MIRROR)]
    mender = SwapMender(2)
    assert mender.mend(broken, predicted).swapped[0].all()
    for _ in range(10):
        assert mender.mend(broken, None).swapped[0].all()


def test_side_on_bodies_are_left_alone() -> None:
    keypoints, predicted = clean_views((0.0,), np.random.default_rng(7))
    for left, right in zip(LEFT_JOINTS, RIGHT_JOINTS, strict=True):
        middle = (predicted[0, left] + predicted[0, right]) / 2
        predicted[0, left] = predicted[0, right] = middle
    keypoints[0, :, :2] = predicted[0, :, :2] * 0.3
    mender = SwapMender(1)
    for _ in range(30):
        assert not mender.mend(keypoints, predicted).swapped.any()


def test_empty_views_pass_through() -> None:
    keypoints, predicted = clean_views((0.0, 1.6), np.random.default_rng(8))
    keypoints[1] = 0
    mended = SwapMender(2).mend(keypoints, predicted)
    np.testing.assert_array_equal(mended.keypoints, keypoints)
    assert not mended.swapped[:, LEGS].any()


def test_a_view_forgets_its_state_after_a_long_absence() -> None:
    keypoints, predicted = clean_views((0.0,), np.random.default_rng(9))
    broken = keypoints[:, list(MIRROR)]
    mender = SwapMender(1)
    assert mender.mend(broken, predicted).swapped.all()
    for _ in range(30):
        mender.mend(np.zeros_like(keypoints), None)
    assert not mender.mend(keypoints, None).swapped.any()


@pytest.mark.parametrize("shape", [(3, 17, 3), (2, 16, 3), (2, 17, 2)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected keypoints"):
        SwapMender(2).mend(np.zeros(shape, np.float32), None)


def test_whatever_belongs_to_joints_changes_places_with_them() -> None:
    swapped = np.array([[True, False], [False, True], [True, True]])
    keypoints = np.random.default_rng(0).uniform(0, 1, (3, 17, 3)).astype(np.float32)
    features = np.repeat(keypoints[..., :1], 64, axis=2)
    moved = exchanged(keypoints, swapped)
    np.testing.assert_array_equal(exchanged(features, swapped)[..., 5], moved[..., 0])
    np.testing.assert_array_equal(exchanged(moved, swapped), keypoints)
    assert (moved[0, 11:14] == keypoints[0, 14:17]).all()
    assert (moved[0, 1:7] == keypoints[0, 1:7]).all()
    assert (moved[1, 1:4] == keypoints[1, 4:7]).all()
    assert (moved[:, 7:11] == keypoints[:, 7:11]).all()
