"""The BlazePose front end with its real networks on pictures of the built-in clip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.front_ends.base import Image, View2D
from engines.front_ends.blazepose import BlazePoseFrontEnd, models
from engines.skeleton import LIMB_JOINTS, MIRROR
from fetched import fetched

CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"
VIEWS = 4
SETS = 10


@pytest.fixture(scope="module")
def weights() -> None:
    for file in models.WEIGHTS:
        fetched(file)


@pytest.fixture(scope="module")
def sets() -> tuple[tuple[Image, ...], ...]:
    """The first pictures of all cameras: sets of one picture a view."""
    videos = [cv2.VideoCapture(str(CLIP / f"camera{view}.mp4")) for view in range(VIEWS)]
    return tuple(
        tuple(np.asarray(video.read()[1], np.uint8) for video in videos) for _ in range(SETS)
    )


@pytest.fixture(scope="module")
def truth() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(SETS, VIEWS, 17, 2) true joints in pixels, and (SETS, VIEWS) body heights in pixels."""
    with np.load(CLIP / "truth.npz", allow_pickle=False) as file:
        data = {name: np.asarray(file[name], np.float64) for name in file.files}
    joints = np.zeros((SETS, VIEWS, 17, 2))
    heights = np.zeros((SETS, VIEWS))
    for view in range(VIEWS):
        for number, time in enumerate(data[f"frame_times_s_{view}"][:SETS]):
            nearest = np.abs(data["times_s"] - time).argmin()
            seen = data["joints_m"][nearest] @ data["camera_R"][view].T + data["camera_t"][view]
            pixels = seen @ data["camera_K"][view].T
            joints[number, view] = pixels[:, :2] / pixels[:, 2:]
            focal = data["camera_K"][view][1, 1]
            heights[number, view] = focal * data["stature_m"] / seen[0, 2]
    return joints, heights


@pytest.fixture
def front_end(weights: None) -> Iterator[BlazePoseFrontEnd]:
    made = BlazePoseFrontEnd(1, 1)
    yield made
    made.close()


def only(front_end: BlazePoseFrontEnd, image: Image) -> View2D | None:
    (view,) = front_end.process([image])
    return view


def room_of(sets: tuple[tuple[Image, ...], ...], view: int) -> Image:
    """The room without the person: his surroundings are covered by the wall and floor beside."""
    picture = sets[0][view].copy()
    middle = picture.shape[1] // 2
    people = BlazePoseFrontEnd(1, 1)
    found = only(people, picture)
    people.close()
    assert found is not None
    if found.keypoints[0, 0] < middle:
        picture[:, :middle] = picture[:, : middle - 1 : -1]
    else:
        picture[:, middle:] = picture[:, middle - 1 :: -1]
    return picture


def test_every_joint_is_where_the_truth_says(
    weights: None,
    sets: tuple[tuple[Image, ...], ...],
    truth: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> None:
    joints, heights = truth
    front_end = BlazePoseFrontEnd(VIEWS, 2)
    front_end.warm_up(*sets[0][0].shape[:2])
    errors = []
    for number, images in enumerate(sets):
        for view, found in enumerate(front_end.process(images)):
            assert found is not None
            assert found.context is None
            assert found.keypoints.shape == (17, 3)
            assert found.keypoints.dtype == np.float32
            assert found.box.shape == (4,)
            gaps = np.linalg.norm(found.keypoints[:, :2] - joints[number, view], axis=1)
            errors.append(100 * gaps / heights[number, view])
    front_end.close()
    by_joint = np.median(errors, axis=0)
    assert np.median(by_joint) < 2.0
    assert by_joint.max() < 4.5


def test_left_and_right_are_told_apart(
    weights: None,
    sets: tuple[tuple[Image, ...], ...],
    truth: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> None:
    front_end = BlazePoseFrontEnd(VIEWS, 2)
    views = front_end.process(sets[0])
    front_end.close()
    for found, joints in zip(views, truth[0][0], strict=True):
        assert found is not None
        limbs = list(LIMB_JOINTS)
        right = np.linalg.norm(found.keypoints[limbs, :2] - joints[limbs], axis=1).mean()
        mirrored = joints[[MIRROR[joint] for joint in limbs]]
        assert right < np.linalg.norm(found.keypoints[limbs, :2] - mirrored, axis=1).mean()


def test_results_do_not_depend_on_threads_or_on_other_views(
    weights: None, sets: tuple[tuple[Image, ...], ...]
) -> None:
    together = BlazePoseFrontEnd(VIEWS, 3)
    alone = [BlazePoseFrontEnd(1, 1) for _ in range(VIEWS)]
    for images in sets[:3]:
        views = together.process(images)
        for front_end, image, view in zip(alone, images, views, strict=True):
            other = only(front_end, image)
            assert view is not None
            assert other is not None
            np.testing.assert_array_equal(view.keypoints, other.keypoints)
    for front_end in (*alone, together):
        front_end.close()


def test_the_detector_runs_only_without_a_track(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    detect_ms = []
    for images in sets[:4]:
        assert only(front_end, images[0]) is not None
        stages = {time.stage: time.milliseconds for time in front_end.stage_times()}
        assert stages["landmarks"] > 0
        detect_ms.append(stages["detect"])
    assert detect_ms[0] > 0
    assert detect_ms[1:] == [0.0, 0.0, 0.0]


def test_nobody_is_found_where_nobody_is(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    for image in (np.zeros((480, 640, 3), np.uint8), noise, room_of(sets, 0)):
        assert only(front_end, image) is None


def test_a_person_who_vanishes_is_dropped_and_found_again_elsewhere(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    picture = sets[0][0]
    before = only(front_end, picture)
    assert only(front_end, room_of(sets, 0)) is None
    after = only(front_end, np.ascontiguousarray(picture[:, ::-1]))
    assert before is not None
    assert after is not None
    assert after.keypoints[0, 0] == pytest.approx(640 - before.keypoints[0, 0], abs=6)


def test_a_jump_is_followed_within_the_same_picture(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    picture = sets[0][0]
    assert only(front_end, picture) is not None
    moved = only(front_end, np.ascontiguousarray(picture[:, ::-1]))
    assert moved is not None
    assert moved.keypoints[:, 2].mean() > 0.4


def test_a_view_without_pictures_keeps_its_track_for_a_while(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    assert only(front_end, sets[0][0]) is not None
    for _ in range(5):
        assert front_end.process([None]) == (None,)
    assert only(front_end, sets[1][0]) is not None
    assert {t.stage: t.milliseconds for t in front_end.stage_times()}["detect"] == 0.0


def test_the_larger_of_two_people_is_followed(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    """Two pictures side by side: somebody near on the left, the same one far on the right."""
    near = sets[0][3]
    small = cv2.resize(near, (384, 288), interpolation=cv2.INTER_AREA)
    far = np.asarray(cv2.copyMakeBorder(small, 96, 96, 128, 128, cv2.BORDER_REPLICATE), np.uint8)
    finder = BlazePoseFrontEnd(2, 1)
    one, other = finder.process([near, far])
    finder.close()
    assert one is not None
    assert other is not None
    scene = np.zeros((480, 640, 3), np.uint8)
    for view, picture, start in ((one, near, 0), (other, far, 320)):
        left = int(np.clip(view.keypoints[0, 0] - 160, 0, 320))
        scene[:, start : start + 320] = picture[:, left : left + 320]
    assert np.ptp(one.keypoints[:, 1]) > 1.3 * np.ptp(other.keypoints[:, 1])
    found = only(front_end, scene)
    assert found is not None
    assert found.keypoints[0, 0] < 320
    # It stays with a person it follows, although the other one is larger.
    follower = BlazePoseFrontEnd(1, 1)
    alone = scene.copy()
    alone[:, :320] = scene[:, 320:321]
    for image in (alone, alone, scene, scene, scene):
        found = only(follower, image)
        assert found is not None
        assert found.keypoints[0, 0] > 320
    follower.close()


def test_joints_outside_the_picture_get_no_confidence(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    picture = sets[0][1]
    whole = only(front_end, picture)
    assert whole is not None
    hips, knees = whole.keypoints[0, 1], whole.keypoints[[2, 5], 1].mean()
    cut = np.ascontiguousarray(picture[: int((hips + knees) / 2)])
    part = only(front_end, cut)
    assert part is not None
    upper, feet = [11, 14, 8], [3, 6]
    assert part.keypoints[feet, 2].max() < 0.1
    assert part.keypoints[upper, 2].min() > 0.4
    np.testing.assert_allclose(part.keypoints[upper, :2], whole.keypoints[upper, :2], atol=10)


@pytest.mark.parametrize("size", [(240, 320), (1080, 1440)])
def test_picture_size_does_not_matter(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...], size: tuple[int, int]
) -> None:
    scale = size[0] / 480
    whole = only(front_end, sets[0][1])
    other = BlazePoseFrontEnd(1, 1)
    scaled = only(other, np.asarray(cv2.resize(sets[0][1], size[::-1]), np.uint8))
    other.close()
    assert whole is not None
    assert scaled is not None
    gaps = np.linalg.norm(scaled.keypoints[:, :2] / scale - whole.keypoints[:, :2], axis=1)
    assert np.median(gaps) < 4


def test_read_only_pictures_are_taken(
    front_end: BlazePoseFrontEnd, sets: tuple[tuple[Image, ...], ...]
) -> None:
    picture = sets[0][0].copy()
    picture.setflags(write=False)
    assert only(front_end, picture) is not None


def test_it_describes_itself(front_end: BlazePoseFrontEnd) -> None:
    assert front_end.name == "blazepose"
    assert front_end.context_channels == 0
    for part in ("pose_detection.tflite", "pose_landmark_full.tflite", "LiteRT", "float32"):
        assert part in front_end.description
    assert "\n" not in front_end.description


def test_the_number_of_pictures_must_fit(front_end: BlazePoseFrontEnd) -> None:
    with pytest.raises(ValueError, match="expected 1 pictures"):
        front_end.process([None, None])


def test_closing_ends_its_threads(weights: None) -> None:
    before = threading.active_count()
    front_end = BlazePoseFrontEnd(VIEWS, 2)
    front_end.process([None] * VIEWS)
    assert threading.active_count() > before
    front_end.close()
    assert threading.active_count() == before


def test_the_real_person_is_found_and_not_the_bystander(weights: None, shared_dir: Path) -> None:
    paths = [shared_dir / "data" / "pose2sim" / f"cam0{view}.mp4" for view in (1, 2, 3, 4)]
    videos = [cv2.VideoCapture(str(path)) for path in paths]
    front_end = BlazePoseFrontEnd(VIEWS, 2)
    for number in range(61):
        if not all(video.grab() for video in videos):
            break
        if number % 12:
            continue
        images = [np.asarray(video.retrieve()[1], np.uint8) for video in videos]
        for found in front_end.process(images):
            assert found is not None
            # The bystanders are half as tall and stand at the sides.
            assert np.ptp(found.keypoints[:, 1]) > 450
            assert 250 < found.keypoints[0, 0] < 850
            assert found.keypoints[:, 2].mean() > 0.3
    front_end.close()
