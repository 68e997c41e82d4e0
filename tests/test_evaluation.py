"""Errors against ground truth, and files that are no ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from app.evaluation import Truth, pose_errors
from engines.errors import UserError
from test_geometry import STANDING


def _clip(folder: Path, camera_yaw_deg: float) -> Path:
    """Somebody who moves steadily along x, filmed by a camera that looks 10° down."""
    times = np.linspace(0, 2, 121)
    joints = STANDING[None] + times[:, None, None] * np.array([0.5, 0, 0])
    look = Rotation.from_euler("x", 100, degrees=True) * Rotation.from_euler(
        "z", camera_yaw_deg, degrees=True
    )
    path = folder / "truth.npz"
    np.savez(
        path, times_s=times, joints_m=joints.astype(np.float32), camera_R=look.as_matrix()[None]
    )
    return path


@pytest.mark.parametrize("yaw", [0.0, 37.0, -120.0])
def test_the_truth_itself_has_no_error_and_a_turned_one_has(tmp_path: Path, yaw: float) -> None:
    truth = Truth(_clip(tmp_path, yaw))
    times = np.linspace(0.1, 1.9, 20)
    exact = truth.at(times)
    errors = pose_errors(truth, times, exact)
    assert errors is not None
    assert errors.mpjpe_mm < 1e-6
    # The frame is the one that poses are published in: the camera looks along +y.
    turn = Rotation.from_euler("z", yaw, degrees=True).as_matrix()
    np.testing.assert_allclose(exact[0], (STANDING - STANDING[:1]) @ turn.T, atol=1e-6)
    turned = exact @ Rotation.from_euler("z", 10, degrees=True).as_matrix().T
    errors = pose_errors(truth, times, turned * 1.1 + 0.3)
    assert errors is not None
    assert errors.mpjpe_mm > 20
    assert errors.pa_mpjpe_mm < 1e-6


def test_poses_outside_the_clip_do_not_count(tmp_path: Path) -> None:
    truth = Truth(_clip(tmp_path, 0))
    assert pose_errors(truth, np.array([-1.0, 5.0]), np.zeros((2, 17, 3))) is None
    errors = pose_errors(truth, np.array([-1.0, 1.0]), np.zeros((2, 17, 3)))
    assert errors is not None
    assert errors.poses == 1


def test_what_is_no_ground_truth_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such ground-truth file"):
        Truth(tmp_path / "absent.npz")
    text = tmp_path / "text.npz"
    text.write_text("hello")
    with pytest.raises(UserError, match="not a ground-truth file"):
        Truth(text)
    whole = _clip(tmp_path, 0).read_bytes()
    text.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a ground-truth file"):
        Truth(text)
    np.savez(text, times_s=np.array([object()]), joints_m=1, camera_R=1)
    with pytest.raises(UserError, match="not a ground-truth file"):
        Truth(text)
    np.savez(text, times_s=np.arange(3), joints_m=np.zeros((2, 17, 3)), camera_R=np.eye(3)[None])
    with pytest.raises(UserError, match="do not belong together"):
        Truth(text)
