"""Finding the cameras in a live run, and rig files given on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.config import AppConfig, CalibrationConfig, CameraConfig, SyntheticSource
from app.messages import Evidence, RigUpdate, ViewEvidence
from app.run_spec import RunSpec
from app.topics import Topic
from engines.rig.rig_file import rig_from_json
from live_runs import run_app, synthetic, wait_for, write_config
from module_process import running_module
from test_geometry import STANDING

FOCAL = 1.5
VIEWS = 4


def _cameras() -> tuple[np.ndarray, np.ndarray]:
    """World-to-camera rotations and centres of four cameras around the middle of a room."""
    rotations, centres = [], []
    for k in range(VIEWS):
        turn = Rotation.from_euler("z", 90 * k + 7 * k * k, degrees=True)
        centre = turn.apply([0, -3.2 - 0.3 * k, 1.2 + 0.2 * k])
        forward = np.array([0, 0, 1.0]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotations.append(np.stack([right, np.cross(forward, right), forward]))
        centres.append(centre)
    return np.array(rotations), np.array(centres)


def _walk(seconds: float) -> np.ndarray:
    """Somebody who walks a curve, turns and swings arms and legs; world metres, floor at 0."""
    times = np.arange(0, seconds, 1 / 15)
    poses = []
    for t in times:
        pose = STANDING.copy()
        for joints, phase in (((5, 6), 0.0), ((2, 3), np.pi)):
            swing = Rotation.from_euler("x", 25 * np.sin(3 * t + phase), degrees=True)
            hip = pose[joints[0] - 1].copy()
            pose[list(joints)] = swing.apply(pose[list(joints)] - hip) + hip
        for joints, phase in (((12, 13), np.pi), ((15, 16), 0.0)):
            swing = Rotation.from_euler("xy", [60 * np.sin(2.2 * t + phase), 30], degrees=True)
            shoulder = pose[joints[0] - 1].copy()
            pose[list(joints)] = swing.apply(pose[list(joints)] - shoulder) + shoulder
        pose = Rotation.from_euler("z", 50 * t, degrees=True).apply(pose)
        place = [1.0 * np.sin(0.9 * t), 0.8 * np.sin(0.6 * t + 1), 0.9]
        poses.append(pose + place)
    return np.array(poses)


def _evidence(index: int, time_ns: int, pose: np.ndarray, rng: np.random.Generator) -> Evidence:
    rotations, centres = _cameras()
    unit = np.linalg.norm(np.diff(STANDING, axis=0), axis=-1).sum() / 4.2
    views = []
    for rotation, centre in zip(rotations, centres, strict=True):
        seen = (pose - centre) @ rotation.T
        xy = FOCAL * seen[:, :2] / seen[:, 2:] + rng.normal(0, 0.002, (17, 2))
        lifted = (seen - seen[:1]) / unit + rng.normal(0, 0.02, (17, 3))
        views.append(
            ViewEvidence(
                capture_ns=time_ns,
                width=640,
                height=480,
                keypoints=tuple((x, y, 0.9) for x, y in xy.tolist()),
                lifted=tuple((x, y, z) for x, y, z in lifted.tolist()),
                sigma=(0.05,) * 17,
            )
        )
    return Evidence(index=index, time_ns=time_ns, body_unit_m=float(unit), views=tuple(views))


@pytest.mark.alone
def test_the_process_finds_the_cameras_of_a_moving_person_and_saves_them(short_tmp: Path) -> None:
    config = AppConfig(
        cameras=[
            CameraConfig(id=f"c{k}", source=SyntheticSource(kind="synthetic")) for k in range(VIEWS)
        ],
        calibration=CalibrationConfig(enabled=True, every_s=3),
        body_height_m=1.7,
    )
    saved = short_tmp / "rig.json"
    RunSpec(mode="live", config=config, save_rig=saved).save(short_tmp)
    rng = np.random.default_rng(1)
    poses = _walk(10.0)
    found: list[RigUpdate] = []
    with (
        Publisher[Evidence](short_tmp, Topic.EVIDENCE) as publisher,
        Subscriber[RigUpdate](short_tmp, Topic.RIG) as updates,
        running_module("app.rig_process", short_tmp, "rig") as process,
    ):
        wait_for(lambda: updates.receive(100) is not None, "the first word", 60)
        start = now_ns() - len(poses) * 66_666_667
        for index, pose in enumerate(poses):
            publisher.send(_evidence(index, start + index * 66_666_667, pose, rng))

        def done() -> bool:
            found.extend(u.message for u in updates.drain() if u.message.rig)
            return bool(found)

        wait_for(done, "a rig", 60)
        process.terminate()
        assert process.wait(20) == 0
    rig = rig_from_json(found[-1].rig.encode(), "rig")
    rotations, _ = _cameras()
    for k in range(1, VIEWS):
        camera, first = rig.cameras[k], rig.cameras[0]
        assert camera is not None
        assert first is not None
        relative = camera.rotation @ first.rotation.T
        truth = rotations[k] @ rotations[0].T
        assert Rotation.from_matrix(relative @ truth.T).magnitude() < np.radians(2)
        assert abs(camera.model.focal / FOCAL - 1) < 0.08
    assert json.loads(saved.read_text())["format"] == "dsvt-live-rig"


def test_a_rig_file_that_is_none_is_one_line(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic(), synthetic()], calibration={"enabled": True})
    wrong = short_tmp / "rig.json"
    wrong.write_text('{"format": "something else"}')
    done = run_app(short_tmp, "live", "--config", config, "--headless", "--rig", wrong)
    assert done.returncode == 2
    assert "rig.json" in done.stderr
    assert "Traceback" not in done.stderr
