"""Where a body's weight is over its feet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engines.balance import balance_axis, support, upright_axis
from test_geometry import STANDING
from tools.studio.motion import read_mocap
from tools.training.mocap import in_split

UP = np.array([0.0, 0.0, 1.0])


@given(st.integers(0, 2**31), st.floats(0.01, 100.0))
def test_axes_and_units_do_not_matter(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    joints = STANDING + rng.normal(0, 0.1, (4, 17, 3))
    turn, shift = Rotation.random(random_state=seed).as_matrix(), rng.normal(0, 5, 3)
    moved = size * joints @ turn.T + shift
    np.testing.assert_allclose(support(moved), size * support(joints) @ turn.T + shift, atol=1e-6)
    for axis in (balance_axis, upright_axis):
        np.testing.assert_allclose(axis(moved), axis(joints) @ turn.T, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(axis(moved), axis=-1), 1)
        np.testing.assert_allclose(axis(moved[2]), axis(moved)[2], atol=1e-9)


def test_feet_point_where_the_person_faces() -> None:
    ahead = support(STANDING) - STANDING[[3, 6]].mean(0)
    assert abs(ahead[0]) < 1e-9
    assert -0.08 < ahead[1] < -0.06  # it faces −y
    assert balance_axis(STANDING) @ UP > np.cos(np.radians(0.5))
    assert upright_axis(STANDING) @ UP > np.cos(np.radians(0.5))


def test_people_do_not_lean_all_the_time(shared_dir: Path) -> None:
    """Five seconds of walking and standing: the mean axis is nearly vertical, and leans nowhere."""
    mocap = read_mocap(shared_dir / "data" / "mocap" / "cmu_mocap17_30fps.npz")
    tilts, ahead = [], []
    for index, name in enumerate(mocap.names):
        if not in_split(name, "validation"):
            continue
        joints = mocap.clip(index).astype(np.float64)
        for start in range(0, len(joints) - 149, 150):
            axes = balance_axis(joints[start : start + 150])
            mean = axes.mean(0) / np.linalg.norm(axes.mean(0))
            tilts.append(np.degrees(np.arccos(mean @ UP)))
            to_left = joints[start : start + 150, 4] - joints[start : start + 150, 1]
            front = np.cross(to_left, UP)
            front /= np.linalg.norm(front, axis=1, keepdims=True)
            ahead.append(np.degrees((axes * front).sum(1).mean()))
    assert len(tilts) > 10
    assert np.median(tilts) < 2.5  # 4.2° from the ankles
    assert abs(np.mean(ahead)) < 2.0  # 4.1°
