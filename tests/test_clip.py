"""The built-in clip: its files open, its times are real, its truth fits its pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from engines.skeleton import LEFT_JOINTS, RIGHT_JOINTS

CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"


@pytest.fixture(scope="module")
def about() -> dict[str, object]:
    loaded = yaml.safe_load((CLIP / "clip.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def truth() -> dict[str, npt.NDArray[np.float64]]:
    with np.load(CLIP / "truth.npz", allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def test_the_clip_is_small() -> None:
    assert sum(path.stat().st_size for path in CLIP.iterdir()) <= 8_000_000


@pytest.mark.parametrize("number", range(4))
def test_frames_have_their_capture_times(
    number: int, about: dict[str, object], truth: dict[str, npt.NDArray[np.float64]]
) -> None:
    entry = about["cameras"][number]  # type: ignore[index]
    video = cv2.VideoCapture(str(CLIP / entry["file"]))
    times: list[float] = []
    while True:
        good, picture = video.read()
        if not good:
            break
        assert picture.shape == (480, 640, 3)
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 + entry["start_s"])
        if len(times) % 60 == 1:
            assert picture.std() > 15
    want = truth[f"frame_times_s_{number}"]
    assert len(times) == len(want) == entry["frames"]
    np.testing.assert_allclose(times, want, atol=1e-4)
    steps = np.diff(want)
    assert steps.min() > 0
    assert np.median(steps) == pytest.approx(1 / 30, abs=0.004)
    # Free-running with jitter; only the third camera falls silent, for one second.
    assert steps.std() > 0.004
    if number == 2:
        assert 0.95 < steps.max() < 1.1
    else:
        assert steps.max() < 0.07


def test_truth_is_a_moving_person_seen_by_all_cameras(
    about: dict[str, object], truth: dict[str, npt.NDArray[np.float64]]
) -> None:
    times, joints = truth["times_s"], truth["joints_m"]
    assert joints.shape == (len(times), 17, 3)
    np.testing.assert_allclose(np.diff(times), 1 / 60, atol=1e-9)
    assert 11.0 < times[-1] < 13.5
    for number in range(4):
        shot = truth[f"frame_times_s_{number}"]
        assert shot[0] >= 0
        assert shot[-1] <= times[-1]
    assert truth["stature_m"] == about["stature_m"]
    assert 0.0 < joints[..., 2].min() < 0.15
    assert 1.5 < joints[..., 2].max() < 2.3
    # It squats, and it raises a hand above the head.
    assert joints[:, 0, 2].min() < 0.55
    assert (joints[:, [13, 16], 2].max(1) > joints[:, 10, 2]).any()
    # Left is left: facing forward (from back to nose), left joints lie to the left.
    ahead = joints[:, 9] - joints[:, 8]
    left = np.cross(joints[:, 10] - joints[:, 0], ahead)
    for one, other in zip(LEFT_JOINTS[:1] + LEFT_JOINTS[3:4], (1, 14), strict=True):
        across = ((joints[:, one] - joints[:, other]) * left).sum(-1)
        assert (across > 0).mean() > 0.97
    assert set(LEFT_JOINTS) | set(RIGHT_JOINTS) == {1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16}
    for number in range(4):
        R, t, K = (truth[f"camera_{name}"][number] for name in "RtK")
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-5)
        seen = (joints @ R.T + t) @ K.T
        pixels = seen[..., :2] / seen[..., 2:]
        inside = (seen[..., 2] > 0.5) & (pixels > 0).all(-1) & (pixels < [640, 480]).all(-1)
        assert inside.all(-1).mean() > 0.97


@pytest.mark.parametrize("number", range(4))
def test_the_person_is_where_the_truth_says(
    number: int, truth: dict[str, npt.NDArray[np.float64]]
) -> None:
    video = cv2.VideoCapture(str(CLIP / f"camera{number}.mp4"))
    pictures = []
    while True:
        good, picture = video.read()
        if not good:
            break
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    times = truth[f"frame_times_s_{number}"]
    R, t, K = (truth[f"camera_{name}"][number] for name in "RtK")
    room = np.median(np.stack(pictures[::6]), 0)
    hits = []
    for index in range(10, len(pictures), 25):
        nearest = np.abs(truth["times_s"] - times[index]).argmin()
        seen = (truth["joints_m"][nearest] @ R.T + t) @ K.T
        pixels = np.round(seen[:, :2] / seen[:, 2:]).astype(int)
        moved = cv2.dilate((np.abs(pictures[index] - room) > 18).astype(np.uint8), np.ones((9, 9)))
        hits.append(np.mean([moved[y, x] for x, y in pixels]))
    # Cloth that happens to have the wall's brightness is not seen as moved.
    assert np.mean(hits) > 0.8
