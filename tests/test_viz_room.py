"""The cameras and the path in the viewer: frusta, pictures in them, the ribbon on the floor."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest

from app.clock import now_ns
from app.messages import Pose, RigUpdate
from app.run_spec import RunSpec
from app.topics import Topic
from engines.rig.rig_file import rig_to_json
from engines.rig.types import Rig
from tests.rig_scenes import SceneOptions, make_scene
from tests.staged_run import CAST_TOPICS, STANDING, config, pose, staged, status
from viz.orbit_camera import OrbitCamera, View
from viz.room import (
    MOST_CAMERAS,
    PATH_POINTS,
    FloorPath,
    frusta,
    frustum_lines,
    frustum_points,
    path_mesh,
)
from viz.room_pictures import draw_pictures
from viz.scene import Body

pytestmark = pytest.mark.alone


def _rig(cameras: int = 2) -> Rig:
    rig = make_scene(SceneOptions(seed=3, seconds=1, views=cameras)).rig()
    named = tuple(
        None if c is None else replace(c, id=f"cam{v}") for v, c in enumerate(rig.cameras)
    )
    return replace(rig, cameras=named)


def test_a_frustum_has_the_corners_of_the_picture() -> None:
    rig = _rig(4)
    for camera, frustum in zip(rig.cameras, frusta(rig), strict=True):
        assert camera is not None
        seen = (frustum.corners - camera.position) @ camera.rotation.T
        xy = camera.model.focal * seen[:, :2] / seen[:, 2:]
        aspect = camera.model.height / camera.model.width
        wanted = np.array([[-1, -aspect], [1, -aspect], [1, aspect], [-1, aspect]])
        np.testing.assert_allclose(xy, wanted, atol=1e-9)
        np.testing.assert_allclose(frustum.apex, camera.position)


def test_cameras_that_are_not_known_are_not_drawn() -> None:
    rig = _rig(3)
    first, _, third = rig.cameras
    shown = frusta(replace(rig, cameras=(first, None, third)))
    assert [f.camera for f in shown] == ["cam0", "cam2"]
    lines, colours = frustum_lines()
    points = frustum_points(shown)
    assert len(points) == 5 * MOST_CAMERAS and len(lines) == len(colours)
    lengths = np.linalg.norm(points[lines[:, 0]] - points[lines[:, 1]], axis=1).reshape(-1, 8)
    assert (lengths[:2] > 0.1).all() and (lengths[2:] == 0).all()


def test_the_path_is_a_ribbon_that_faces_up() -> None:
    path = FloorPath()
    triangles, colours = path_mesh()
    assert len(colours) == 2 * PATH_POINTS == len(path.vertices())
    for angle in np.linspace(0, 2, 60):
        path.add(float(np.cos(angle)), float(np.sin(angle)))
    vertices = path.vertices()
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    area = np.linalg.norm(normals, axis=1) / 2
    assert (normals[area > 1e-9][:, 2] > 0).all()
    assert 0.035 * 1.8 < area.sum() < 0.035 * 2.2
    assert colours[-1].sum() > colours[0].sum()


def test_the_path_does_not_shake_and_does_not_jump() -> None:
    path = FloorPath()
    assert path.add(0.0, 0.0) and not path.add(0.01, 0.0) and path.add(0.2, 0.0)
    assert path.add(5.0, 0.0)
    assert np.ptp(path.vertices()[:, 0]) < 0.1


def test_the_view_steps_back_once_and_not_against_the_user() -> None:
    camera = OrbitCamera()
    camera.step_back(3.0)
    for _ in range(100):
        view = camera.step(0.1)
    assert 5.0 < view.distance < 7.0
    camera.zoom(0.5)
    camera.step_back(4.0)
    for _ in range(100):
        view = camera.step(0.1)
    assert view.distance < 4.0


def test_a_picture_lies_in_its_frustum_and_behind_the_person() -> None:
    rig = _rig(4)
    shown = frusta(rig)
    view = View(azimuth=0.3, elevation=0.35, distance=9.0)
    red = {f.camera: np.full((24, 32, 3), (0, 0, 255), np.uint8) for f in shown}

    def seen(body: Body | None) -> int:
        image = np.zeros((480, 640, 3), np.uint8)
        draw_pictures(image, view, shown, red, body)
        return int((image[..., 2] > 150).sum())

    alone = seen(None)
    assert alone > 400
    # A person who stands before the farthest frustum hides a part of it.
    eye = view.eye()
    far = max(shown, key=lambda f: float(np.linalg.norm(f.apex - eye)))
    place = eye + 0.6 * (far.corners.mean(0) - eye)
    assert 0 < seen(Body(STANDING + place, np.ones(17))) < alone


def test_the_viewer_shows_cameras_and_quality(tmp_path: Path) -> None:
    video = tmp_path / "run.mp4"
    spec = RunSpec.model_validate(
        {
            "mode": "live",
            "config": config(tmp_path / "out", width=1280, height=720).model_dump(),
            "headless": True,
            "video": video,
        }
    )
    rig = rig_to_json(_rig(2)).decode()
    topics = (*CAST_TOPICS, Topic.RIG)
    with staged(spec, "viz.viewer_process", "viewer", topics) as run:
        run.ready()
        for index in range(80):
            run.cast.say()
            root = (0.02 * index, 0.0, 0.9)
            staged_pose = pose(index)
            if index >= 40:
                run.cast.send(
                    Topic.RIG,
                    RigUpdate(
                        at_ns=now_ns(), version=1, rig=rig, quality="good", expected_error_mm=21.0
                    ),
                )
                staged_pose = _with_root(staged_pose, root)
            run.cast.send(Topic.POSES, staged_pose)
            run.cast.previews(index)
            run.cast.send(Topic.PIPELINE_STATUS, status(index))
            time.sleep(0.05)
        assert run.stop() == 0
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    # The word stands in green in the figures' band, where there was none before.
    band = slice(20, 56)
    first, last = _green(frames[len(frames) // 4][band, :900]), _green(frames[-1][band, :900])
    assert last > first + 60


def _green(picture: np.ndarray) -> int:
    blue, green, red = (picture[..., channel].astype(int) for channel in range(3))
    return int(((green > red + 40) & (green > blue + 40)).sum())


def _with_root(message: Pose, root: tuple[float, float, float]) -> Pose:
    return msgspec.structs.replace(message, root=root, stage="rig")
