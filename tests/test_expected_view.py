"""Where a person should be in a view that looks at somebody else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.picture_boxes import box_in_picture
from engines.rig.expected_view import expected_boxes
from engines.rig.fusion import RigPose, pose_with_rig
from engines.rig.triangulation import Cameras, cameras_of
from engines.rig.types import Floats
from tests.rig_scenes import Scene, SceneOptions, make_scene

ASPECTS = np.full(4, 0.75)


def _pose(scene: Scene, cameras: Cameras, keypoints: Floats) -> RigPose | None:
    """Made with answers of the lifter that are 3 cm off."""
    relative = scene.joints[20] - scene.joints[20, 0]
    wrong = relative + np.random.default_rng(0).normal(0, 0.02, relative.shape)
    lifted = np.einsum("vij,pj->vpi", scene.rotations, wrong - wrong[:1])
    return pose_with_rig(cameras, keypoints, ASPECTS, 0.01, lifted, np.full((4, 17), 0.03))


def _scene() -> tuple[Scene, Cameras, Floats]:
    scene = make_scene(SceneOptions(seed=5, seconds=2, offset_s=0.0))
    return scene, replace(cameras_of(scene.rig()), offsets=np.zeros(4)), scene.keypoints[20].copy()


def test_a_view_on_somebody_else_is_told_where_the_person_is() -> None:
    scene, cameras, keypoints = _scene()
    truth = keypoints[3, :, :2].copy()
    keypoints[3, :, 0] += 0.5
    pose = _pose(scene, cameras, keypoints)
    assert pose is not None
    x0, y0, x1, y1 = expected_boxes(cameras, pose)[3]
    height = np.ptp(truth[:, 1])
    low, high = truth.min(0), truth.max(0)
    assert np.abs(np.array([x0, y0]) - low).max() < 0.25 * height
    assert np.abs(np.array([x1, y1]) - high).max() < 0.25 * height


def test_two_views_that_disagree_are_told_nothing() -> None:
    scene, cameras, keypoints = _scene()
    keypoints[2:, :, 2] = 0.0
    keypoints[1, :, 0] += 0.5
    pose = _pose(scene, cameras, keypoints)
    assert pose is None or np.isnan(expected_boxes(cameras, pose)).all()


def test_a_camera_that_is_not_known_is_told_nothing() -> None:
    scene, cameras, keypoints = _scene()
    known = np.array([True, True, True, False])
    cameras = replace(cameras, known=known)
    pose = _pose(scene, cameras, keypoints)
    assert pose is not None
    assert np.isfinite(expected_boxes(cameras, pose)[:, 0]).tolist() == known.tolist()


def test_boxes_end_where_the_picture_ends() -> None:
    inside = box_in_picture(np.array([-0.2, -0.3, 0.2, 0.3]), 640, 480)
    assert inside is not None
    assert inside.tolist() == [256, 144, 384, 336]
    cut = box_in_picture(np.array([-0.2, 0.3, 0.2, 1.2]), 640, 480)
    assert cut is not None and cut[3] == 480
    assert box_in_picture(np.array([-0.2, 0.65, 0.2, 1.2]), 640, 480) is None
    assert box_in_picture(np.array([1.5, -0.3, 2.0, 0.3]), 640, 480) is None
    assert box_in_picture(np.full(4, np.nan), 640, 480) is None
