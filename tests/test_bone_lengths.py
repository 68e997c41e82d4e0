"""Steadier bones make noisy poses better, and leave exact ones alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.bone_lengths import BoneLengths
from engines.skeleton import BONES
from test_geometry import STANDING

STEP_NS = 33_000_000


def _lengths(poses: np.ndarray) -> np.ndarray:
    return np.stack([np.linalg.norm(poses[:, c] - poses[:, p], axis=-1) for p, c in BONES])


def _dance(rng: np.random.Generator, count: int) -> np.ndarray:
    """Poses with the same bones in ever other directions."""
    poses = np.zeros((count, 17, 3))
    for parent, child in BONES:
        bone = STANDING[child] - STANDING[parent]
        direction = bone / np.linalg.norm(bone) + rng.normal(0, 0.4, (count, 3))
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        poses[:, child] = poses[:, parent] + direction * np.linalg.norm(bone)
    return poses


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_noisy_poses_get_steadier_and_no_worse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = _dance(rng, 200)
    noisy = truth + rng.normal(0, 0.03, truth.shape) * (np.arange(17) > 0)[:, None]
    bones = BoneLengths()
    sigma = np.full(17, 0.05)
    out = np.stack([bones.steady(k * STEP_NS, pose, sigma) for k, pose in enumerate(noisy)])
    before, after = _lengths(noisy[60:]), _lengths(out[60:])
    assert (after.std(1) / after.mean(1)).mean() < 0.5 * (before.std(1) / before.mean(1)).mean()
    error = np.linalg.norm(out[60:] - truth[60:], axis=-1).mean()
    assert error < 1.0 * np.linalg.norm(noisy[60:] - truth[60:], axis=-1).mean()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_poses_of_a_body_with_constant_bones_are_left_alone(seed: int) -> None:
    bones = BoneLengths()
    for k, pose in enumerate(_dance(np.random.default_rng(seed), 20)):
        np.testing.assert_allclose(bones.steady(k * STEP_NS, pose, np.ones(17)), pose, atol=1e-9)


def test_both_sides_are_alike_from_the_first_pose_on() -> None:
    pose = STANDING - STANDING[0]
    right, left = (next(k for k, (_, c) in enumerate(BONES) if c == joint) for joint in (16, 13))
    parent, child = BONES[right]
    pose[child] = pose[parent] + 1.3 * (pose[child] - pose[parent])
    before = _lengths(pose[None])
    after = _lengths(BoneLengths().steady(0, pose, np.full(17, 0.05))[None])
    assert abs(after[right] - after[left])[0] < 0.4 * abs(before[right] - before[left])[0]
