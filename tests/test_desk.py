"""Somebody whose legs no camera sees: what is seen is followed, what is not is not drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from app.recording.reader import Recording
from app.topics import Topic
from clip_pictures import CLIP, clip_pictures
from engines.skeleton import JOINT_NAMES
from live_runs import run_app, write_config
from tools.studio.video import write_video

CAMERAS = 4
_SECONDS = 5
ANKLES = [JOINT_NAMES.index(f"{side}_ankle") for side in ("left", "right")]
TRUNK = [JOINT_NAMES.index(name) for name in ("spine", "thorax", "neck", "head")]


def _behind_desks(folder: Path) -> list[dict[str, object]]:
    """The demo's clip with a dark board from the hips down, which goes along with the person."""
    with np.load(CLIP / "truth.npz", allow_pickle=False) as truth:
        times, pelvis = truth["times_s"], truth["joints_m"][:, 0]
        views = [
            (truth["camera_R"][c], truth["camera_t"][c], truth["camera_K"][c])
            for c in range(CAMERAS)
        ]
        frame_times = [truth[f"frame_times_s_{c}"] for c in range(CAMERAS)]
    sources: list[dict[str, object]] = []
    for camera, (rotation, translation, matrix) in enumerate(views):
        first = frame_times[camera][0]
        rows = []  # with the pictures' own times: one camera drops out for a second
        for time in frame_times[camera][frame_times[camera] < first + _SECONDS + 1]:
            place = np.array([np.interp(time, times, pelvis[:, axis]) for axis in range(3)])
            seen = matrix @ (rotation @ place + translation)
            below = 0.08 * matrix[1, 1] / seen[2]  # centimetres below the pelvis
            rows.append((float(time - first), max(0, int(seen[1] / seen[2] + below))))
        path = folder / f"camera{camera}.mp4"
        pictures = clip_pictures(camera, 0, len(rows))
        frames = (
            (time, _covered(picture, row))
            for (time, row), picture in zip(rows, pictures, strict=True)
        )
        write_video(path, frames, (640, 480), 20, 30)
        sources.append(
            {"kind": "file", "path": str(path), "pace": "as_consumed", "start_s": -float(first)}
        )
    return sources


def _covered(picture: npt.NDArray[np.uint8], row: int) -> npt.NDArray[np.uint8]:
    """RGB of a BGR picture, hidden from a row on."""
    picture[row:] = (52, 60, 74)
    return np.ascontiguousarray(picture[..., ::-1])


@pytest.mark.timeout(400)
def test_no_feet(tmp_path: Path) -> None:
    sources = _behind_desks(tmp_path)
    config = write_config(
        tmp_path,
        sources,
        body_height_m=1.76,
        front_end={"kind": "yolo_cpn", "flip_test": False},
        calibration={"enabled": False},
    )
    take = tmp_path / "take.mcap"
    done = run_app(tmp_path, "live", "--config", config, "--headless", "--record", take)
    assert done.returncode == 0, done.stdout + done.stderr
    poses = [item.message for item in Recording(take).messages([Topic.POSES])]
    confidence = np.array([pose.confidence for pose in poses if pose.valid])
    assert len(confidence) > 60
    assert (confidence[:, ANKLES] == 0).mean() > 0.75
    assert (confidence[:, TRUNK] > 0.5).mean() > 0.9
