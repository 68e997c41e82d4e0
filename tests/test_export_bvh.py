"""Rotations of bones, and the BVH files made of them, read back by another library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bvhio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engines.skeleton import JOINT_COUNT, JOINT_NAMES, PARENTS
from tools.export.bone_rotations import Turned, place_joints, turn_bones
from tools.export.bvh_file import write_bvh
from tools.export.motion import Motion

KNEE, ANKLE = JOINT_NAMES.index("left_knee"), JOINT_NAMES.index("left_ankle")
HEAD, WRIST = JOINT_NAMES.index("head"), JOINT_NAMES.index("right_wrist")
OFFSETS = np.array(
    [
        (0, 0, 0), (-0.12, -0.05, 0), (0, -0.42, 0), (0, -0.44, 0), (0.13, -0.05, 0.01),
        (0, -0.43, 0), (0, -0.44, 0), (0.01, 0.2, -0.02), (0, 0.25, 0), (0.01, 0.12, 0.03),
        (0, 0.2, 0), (0.17, 0.03, -0.01), (0.28, 0, 0), (0.25, 0, 0), (-0.18, 0.02, 0),
        (-0.29, 0, 0), (-0.24, 0, 0),
    ]
)  # fmt: skip


def moving(count: int, seed: int = 0, largest: float = 2.5) -> np.ndarray:
    """(N, 17, 3) joints in metres, y up, of bones that never change, turned at random."""
    rng = np.random.default_rng(seed)
    vectors = rng.uniform(-largest, largest, (2, JOINT_COUNT, 3))
    share = np.linspace(0, 1, count)[:, None, None]
    mixed = Rotation.from_rotvec((vectors[0] * (1 - share) + vectors[1] * share).reshape(-1, 3))
    turns = mixed.as_matrix().reshape(count, JOINT_COUNT, 3, 3)
    root = np.cumsum(rng.normal(0, 0.02, (count, 3)), axis=0)
    nothing = np.zeros((count, JOINT_COUNT), bool)
    return place_joints(Turned(OFFSETS, root, turns, nothing))


def as_motion(joints: np.ndarray, rate_hz: float | None = 30.0) -> Motion:
    """Joints that stand y up, as the recording has them: z up."""
    x, y, z = np.moveaxis(joints, -1, 0)
    turned = np.stack((x, -z, y), axis=-1)
    times = np.arange(len(joints)) / 30
    known = np.isfinite(joints[..., 0]) * 1.0
    axes = np.zeros(len(joints), np.int64)
    root = turned[:, 0]
    return Motion(0, times, turned - root[:, None], known, root, axes, "room", rate_hz=rate_hz)


def frames_of(path: Path) -> np.ndarray:
    """(N, 51) the numbers of a file's frames: place, then angles."""
    lines = path.read_text().splitlines()
    return np.array([line.split() for line in lines[lines.index("MOTION") + 3 :]], float)


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_any_motion_of_fixed_bones_comes_back(seed: int, count: int) -> None:
    joints = moving(count, seed)
    turned = turn_bones(joints)
    assert not turned.guessed.any()
    assert np.abs(place_joints(turned) - joints).max() < 1e-9
    rotations = turned.rotations.reshape(-1, 3, 3)
    assert np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)).max() < 1e-9
    assert np.allclose(np.linalg.det(rotations), 1)
    assert np.abs(turned.offsets - OFFSETS)[[KNEE, ANKLE, HEAD, WRIST]].max() < 1e-9


def test_a_bone_that_points_straight_back_is_turned_too() -> None:
    joints = np.cumsum(OFFSETS, axis=0)[None].repeat(2, 0) * 0
    for joint, parent in enumerate(PARENTS):
        joints[:, joint] = OFFSETS[joint] + (joints[:, parent] if parent >= 0 else 0)
    joints[1, ANKLE] = joints[1, KNEE] - OFFSETS[ANKLE]
    assert np.abs(place_joints(turn_bones(joints)) - joints).max() < 1e-9


def test_what_is_not_seen_is_filled_in_and_told() -> None:
    whole = moving(41, largest=0.8)
    joints = whole.copy()
    joints[10:15, ANKLE] = np.nan
    joints[:5, WRIST] = np.nan
    joints[:, HEAD] = np.nan
    joints[30:32] = np.nan
    turned = turn_bones(joints)
    assert np.isfinite(turned.rotations).all() and np.isfinite(turned.root).all()
    knee, elbow = PARENTS[ANKLE], PARENTS[WRIST]
    assert np.flatnonzero(turned.guessed[:, knee]).tolist() == [10, 11, 12, 13, 14, 30, 31]
    assert turned.guessed[:5, elbow].all() and turned.guessed[:, PARENTS[HEAD]].all()
    error = np.linalg.norm(place_joints(turned) - whole, axis=-1)
    assert error[10:15, ANKLE].max() < 0.02  # it moves little in a sixth of a second
    assert error[5:10, :HEAD].max() < 1e-9
    held = turned.rotations[:6, elbow]
    assert np.allclose(held, held[5])
    assert not turn_bones(np.full_like(joints, np.nan)).offsets.any()


@given(st.floats(0.5, 200.0), st.integers(0, 1000))
def test_bones_that_are_never_seen_are_as_long_as_usual(size: float, seed: int) -> None:
    """Who sits at a desk has legs all the same, of their size; programs stumble over none."""
    joints = moving(20, seed) * size
    unseen = [index for index, name in enumerate(JOINT_NAMES) if name.endswith(("knee", "ankle"))]
    joints[:, [*unseen, HEAD]] = np.nan
    turned = turn_bones(joints)
    lengths = np.linalg.norm(turned.offsets, axis=1) / size
    expected = np.linalg.norm(OFFSETS, axis=1)
    assert np.allclose(lengths[unseen], expected[unseen], rtol=0.3)
    assert (turned.offsets[unseen, 1] < 0).all() and turned.offsets[HEAD, 1] > 0
    known = np.delete(np.arange(JOINT_COUNT), [*unseen, HEAD])
    assert np.allclose(lengths[known], expected[known])
    assert np.isfinite(place_joints(turned)).all()


def test_another_reader_puts_the_joints_where_they_were(tmp_path: Path) -> None:
    joints = moving(25, seed=3)
    write_bvh(as_motion(joints), tmp_path / "a.bvh")
    root = bvhio.readAsHierarchy(str(tmp_path / "a.bvh"))
    bones = {
        "Hips": "pelvis", "RightUpLeg": "right_hip", "RightLeg": "right_knee",
        "RightFoot": "right_ankle", "LeftUpLeg": "left_hip", "LeftLeg": "left_knee",
        "LeftFoot": "left_ankle", "Spine": "spine", "Chest": "thorax", "Head": "neck",
        "LeftArm": "left_shoulder", "LeftForeArm": "left_elbow", "LeftHand": "left_wrist",
        "RightArm": "right_shoulder", "RightForeArm": "right_elbow", "RightHand": "right_wrist",
    }  # fmt: skip
    for frame in range(len(joints)):
        root.loadPose(frame)
        read = {joint.Name: np.array(joint.PositionWorld) for joint, _, _ in root.layout()}
        assert set(bones) <= set(read)
        for bone, name in bones.items():
            place = 100 * joints[frame, JOINT_NAMES.index(name)]
            assert np.abs(read[bone] - place).max() < 0.02, (frame, bone)
    file = bvhio.readAsBvh(str(tmp_path / "a.bvh"))
    assert file.FrameCount == len(joints) and file.FrameTime == pytest.approx(1 / 30)


def test_turns_go_on_beyond_half_a_circle(tmp_path: Path) -> None:
    angles = np.linspace(0, 4 * np.pi, 200)
    still = moving(1, largest=0.5)[0]
    joints = np.stack([still @ Rotation.from_euler("y", a).as_matrix().T for a in angles])
    write_bvh(as_motion(joints), tmp_path / "a.bvh")
    rows = frames_of(tmp_path / "a.bvh")
    assert rows.shape == (200, 3 + 16 * 3)
    assert np.abs(np.diff(rows, axis=0)).max() < 10
    assert rows[-1, 5] - rows[0, 5] == pytest.approx(720, abs=0.01)


def test_it_needs_an_even_rate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even rate"):
        write_bvh(as_motion(moving(3), rate_hz=None), tmp_path / "a.bvh")


def test_turns_are_exported_where_the_place_is_not_known(tmp_path: Path) -> None:
    """Before the cameras are found everything but the place is known."""
    motion = as_motion(moving(30, seed=5))
    root = motion.root.copy()
    root[:12] = np.nan
    remark = write_bvh(replace(motion, root=root), tmp_path / "late.bvh")
    write_bvh(motion, tmp_path / "whole.bvh")
    late, whole = (frames_of(tmp_path / name) for name in ("late.bvh", "whole.bvh"))
    assert np.abs(late[:, 3:] - whole[:, 3:]).max() < 1e-3
    assert np.abs(late[12:] - whole[12:]).max() < 1e-3
    assert np.allclose(late[:12, :3], whole[12, :3], atol=1e-3)
    assert "for 0.4 s its place is not known" in remark and "by 0 mm" in remark
