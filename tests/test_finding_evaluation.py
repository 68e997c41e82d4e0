"""Whether the front end finds somebody: counted on pictures of which all is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from engines.export import export_onnx
from engines.skeleton import MIRROR
from marker_networks import (
    blank_picture,
    draw_person,
    marker_detector,
    marker_pose_network,
    person_places,
)
from picture_scenes import box_scene
from tools.studio.shards import HIDDEN, Scene, packed, scene_path, write_scene
from tools.training.detector_samples import in_clear_view
from tools.training.finding_evaluation import evaluate_finding, is_on_somebody

HEIGHT, PLACE = 120, (160, 120)


def marker_pictures(drawn: list[bool], labelled: list[bool]) -> Scene:
    """Stored pictures in which the marker person is drawn, or labelled, or both."""
    joints = person_places(HEIGHT) + np.array(PLACE, np.float32)
    low, high = joints.min(0), joints.max(0)
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    scene = box_scene([[box] if there else [] for there in labelled], "test")
    pictures = []
    for there in drawn:
        picture = blank_picture(240, 320)
        if there:
            draw_person(picture, *PLACE, HEIGHT)
        pictures.append(cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].ravel())
    places = scene.joints_px.copy()
    places[:, 0] = 2 * joints  # whole pictures are twice as wide as stored ones
    jpeg, offsets = packed(pictures)
    return replace(scene, jpeg=jpeg, jpeg_offsets=offsets, joints_px=places)


def test_people_ghosts_and_people_missed_are_told_apart(tmp_path: Path) -> None:
    export_onnx(marker_detector(), tmp_path / "detector.onnx")
    export_onnx(marker_pose_network(), tmp_path / "pose.onnx")
    # A person found, one missed after one found, an empty room, a ghost.
    scene = marker_pictures([True, True, False, False, True], [True, True, True, False, False])
    write_scene(scene, scene_path(tmp_path / "data" / "test", "frames", 0))
    paths = (tmp_path / "detector.onnx", tmp_path / "pose.onnx")
    score = evaluate_finding(*paths, tmp_path / "data", 1)
    assert (score.pictures, score.empty) == (3, 2)
    assert (round(score.found, 1), score.elsewhere, score.ghosts) == (66.7, 0.0, 50.0)


def test_joints_elsewhere_are_on_nobody() -> None:
    scene = marker_pictures([True], [True])
    joints = np.ones((17, 3), np.float32)
    joints[:, :2] = person_places(HEIGHT) + np.array(PLACE, np.float32)
    assert is_on_somebody(scene, 0, joints)
    assert is_on_somebody(scene, 0, joints[list(MIRROR)])
    assert not is_on_somebody(scene, 0, joints[::-1])
    assert not is_on_somebody(scene, 0, joints + np.array((40, 0, 0), np.float32))
    assert not is_on_somebody(marker_pictures([True], [False]), 0, joints)


def test_somebody_mostly_hidden_is_not_in_clear_view() -> None:
    scene = marker_pictures([True], [True])
    assert in_clear_view(scene, 0).tolist() == [True]
    visibility = scene.visibility.copy()
    visibility[0, 0, :7] = HIDDEN
    assert in_clear_view(replace(scene, visibility=visibility), 0).tolist() == [False]
