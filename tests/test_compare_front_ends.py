"""Comparing two front ends' joints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines.errors import UserError
from engines.skeleton import JOINT_NAMES, LIMB_JOINTS, MIRROR
from marker_networks import person_places
from tools.compare_front_ends import compare

ROOT = Path(__file__).resolve().parents[1]


def standing(pictures: int = 10, views: int = 2) -> np.ndarray:
    """(N, V, 17, 3): nobody moves, every joint is sure; 98 % of 500 px from ankle to head."""
    pose = np.concatenate([person_places(500.0) + 600, np.ones((17, 1), np.float32)], 1)
    return np.tile(pose.astype(float), (pictures, views, 1, 1))


def test_the_same_joints_agree_wholly() -> None:
    result = compare(standing(), standing())
    assert result.near == [100, 100] and result.near_all == 100
    assert result.found == [100, 100] and result.swapped == [0, 0]
    assert result.unrest == [0, 0] and result.median == [0, 0]
    height = (person_places(500.0)[3, 1] - person_places(500.0)[10, 1]) / 0.961
    assert result.heights_px == pytest.approx([height, height])


def test_each_kind_of_disagreement_is_seen_where_it_is() -> None:
    reference, found = standing(), standing()
    knee, wrist = JOINT_NAMES.index("left_knee"), JOINT_NAMES.index("right_wrist")
    found[:, 0, knee, 0] += 40  # 8 % of height
    found[:5, 1] = np.nan
    reference[:, :, wrist, 2] = 0.1  # hidden
    found[:, :, wrist, 0] += 300
    result = compare(found, reference)
    visible = len(LIMB_JOINTS) - 1
    assert result.near[0] == pytest.approx(100 * (visible - 1) / visible)
    assert result.near[1] == pytest.approx(50)
    assert result.found == [100, 50]
    assert result.near_by_joint[knee] == pytest.approx(25)
    assert np.isnan(result.near_by_joint[wrist])


def test_exchanged_sides_are_told() -> None:
    found = standing()
    found[:4, 0] = found[:4, 0][:, list(MIRROR)]
    assert compare(found, standing()).swapped == [40, 0]


def test_unrest_is_the_noise_of_a_picture() -> None:
    random = np.random.default_rng(0)
    found = standing(400, 1)
    found[..., :2] += random.normal(0, 2.0, found[..., :2].shape)
    result = compare(found, standing(400, 1))
    # The median length of a 2D Gaussian is 1.18 sigma.
    assert result.unrest[0] * result.heights_px[0] / 100 == pytest.approx(1.18 * 2.0, rel=0.1)


def test_a_view_without_anybody_is_an_error() -> None:
    with pytest.raises(UserError, match="nobody"):
        compare(standing(), np.full_like(standing(), np.nan))


def test_a_folder_without_videos_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.compare_front_ends", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: no .mp4 files in {tmp_path}"


def test_the_pose_network_alone_looks_around_given_joints(tmp_path: Path) -> None:
    report, kept = tmp_path / "report.json", tmp_path / "joints.npy"
    command = [
        sys.executable, "-m", "tools.compare_front_ends", str(ROOT / "capture" / "clips" / "walk"),
        "--step", "90", "--given-boxes", "--report", str(report), "--reference", str(kept),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CPN around given joints" in done.stdout
    result = json.loads(report.read_text())
    reference = np.load(kept)
    assert result["pictures"] == len(reference) and result["near_all"] > 50
    # Where BlazePose saw nobody there is no box, and so nobody.
    assert result["found"] == result["found_reference"]
    command[4:6] = ["--step", "80"]
    other = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )
    assert other.returncode == 2 and "is of other videos or another --step" in other.stderr


def test_the_other_views_mend_exchanged_sides(shared_dir: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "tools.compare_front_ends", str(shared_dir / "data" / "pose2sim"),
            "--step", "3", "--mended", "--report", str(report),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mended by the other views" in done.stdout
    result = json.loads(report.read_text())
    # By themselves BlazePose exchanges them in the second view and ours in the fourth.
    assert max(result["swapped"]) == 0
    assert result["near_all"] > 83
    assert result["found"] == [100] * 4


def test_what_does_not_go_with_mending_is_one_line(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.mp4").touch()
    command = [sys.executable, "-m", "tools.compare_front_ends", str(tmp_path), "--mended"]
    for more, words in (
        (["--given-boxes"], "goes with neither --given-boxes nor --reference"),
        ([], "takes 8 at most"),
    ):
        done = subprocess.run(
            [*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 2
        assert words in done.stderr and done.stderr.count("\n") == 1
