"""The yolo_cpn front end as a whole, with real networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engines.backends.select import open_backend
from engines.backends.torch_backend import TorchBackend
from engines.errors import UserError
from engines.export import export_onnx
from engines.front_ends.factory import network_file
from engines.front_ends.tracking import TrackSettings, prominence
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd, open_yolo_cpn
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.joint_finder import JointFinder
from engines.front_ends.yolo_cpn.person_finder import PersonFinder
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from engines.networks.catalog import darknet_detector
from engines.networks.darknet_weights import load_darknet
from engines.networks.engine_network import EngineNetwork
from marker_networks import (
    blank_picture,
    draw_person,
    joint_colours,
    marker_detector,
    marker_pose_network,
)

Floats = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def marker_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("markers")
    export_onnx(marker_detector(), folder / "detector.onnx")
    export_onnx(marker_pose_network(), folder / "pose.onnx")
    return folder / "detector.onnx", folder / "pose.onnx"


@pytest.fixture(params=["host", "torch"])
def front_end(request: pytest.FixtureRequest) -> Iterator[YoloCpnFrontEnd]:
    """The front end on torch, with the host's steps and with the device's."""
    operations = HostOperations() if request.param == "host" else TensorOperations("cpu")
    detector, pose = TorchBackend(marker_detector(), 1), TorchBackend(marker_pose_network(), 1)
    made = YoloCpnFrontEnd(detector, pose, 3, operations=operations)
    yield made
    made.close()


def test_joints_are_found_in_every_view(front_end: YoloCpnFrontEnd) -> None:
    sizes = ((480, 640), (720, 1280), (640, 360))
    images = [blank_picture(*size) for size in sizes]
    truth = [
        draw_person(images[0], 200, 250, 300),
        draw_person(images[1], 900, 350, 500),
        draw_person(images[2], 180, 300, 280),
    ]
    results = front_end.process(images)
    for result, joints, size in zip(results, truth, sizes, strict=True):
        assert result is not None
        assert result.keypoints.dtype == np.float32
        error = np.linalg.norm(result.keypoints[:, :2] - joints, axis=1)
        assert error.max() < 0.02 * size[0], error
        assert result.keypoints[:, 2].min() > 0.3
    assert {time.stage for time in front_end.stage_times()} == {
        "pictures",
        "detect",
        "pose",
        "context",
    }


def test_context_is_what_the_picture_shows_at_the_joints(front_end: YoloCpnFrontEnd) -> None:
    images = [blank_picture(480, 640) for _ in range(3)]
    for image in images:
        draw_person(image, 300, 240, 400)
    results = front_end.process(images)
    assert front_end.context_channels == 3 + RIVAL_CHANNELS
    for result in results:
        assert result is not None and result.context is not None
        assert result.context.shape == (17, 3 + RIVAL_CHANNELS)
        # The marker network's features are the crop's colours.
        assert np.abs(result.context[:, :3] - joint_colours()).max() < 0.25


def test_the_box_follows_the_person_without_detecting_again() -> None:
    detector, pose = TorchBackend(marker_detector(), 1), TorchBackend(marker_pose_network(), 1)
    patient = YoloCpnSettings(track=TrackSettings(check_every=10_000, check_every_unsure=10_000))
    front_end = YoloCpnFrontEnd(detector, pose, 1, patient)
    for step in range(12):
        image = blank_picture(480, 640)
        joints = draw_person(image, 150 + 25 * step, 240, 300)
        (result,) = front_end.process([image])
        assert result is not None
        assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 10
        detect = {time.stage: time.milliseconds for time in front_end.stage_times()}["detect"]
        assert (detect > 0) == (step == 0), "the detector ran again"


def test_of_two_people_the_one_whom_the_other_views_see(front_end: YoloCpnFrontEnd) -> None:
    image = blank_picture(480, 640)
    draw_person(image, 180, 240, 400)
    joints = draw_person(image, 500, 260, 260)
    box = np.concatenate([joints.min(0) - 10, joints.max(0) + 10]).astype(np.float32)
    front_end.expect([box, None, None])
    expected, large, _ = front_end.process([image, image, None])
    assert expected is not None and large is not None
    assert np.linalg.norm(expected.keypoints[:, :2] - joints, axis=1).max() < 10
    assert large.keypoints[:, 0].mean() < 300


def test_a_lost_person_is_found_again_in_the_same_set(front_end: YoloCpnFrontEnd) -> None:
    first, second = blank_picture(480, 640), blank_picture(480, 640)
    draw_person(first, 130, 240, 250)
    joints = draw_person(second, 500, 240, 250)
    assert front_end.process([first, None, None])[0] is not None
    result = front_end.process([second, None, None])[0]
    assert result is not None
    assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 10


def test_a_person_lost_while_being_checked_is_found_in_the_same_set() -> None:
    detector, pose = TorchBackend(marker_detector(), 1), TorchBackend(marker_pose_network(), 1)
    eager = YoloCpnSettings(track=TrackSettings(check_every=1, lost_after_checks=9))
    front_end = YoloCpnFrontEnd(detector, pose, 1, eager)
    for x in (130, 500, 130):
        image = blank_picture(480, 640)
        joints = draw_person(image, x, 240, 250)
        (result,) = front_end.process([image])
        assert result is not None
        assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 10
    assert front_end.process([blank_picture(480, 640)]) == (None,)


class _CountingBackend(TorchBackend):
    """A real one that notes how many pictures it is shown at once."""

    def __init__(self, network: EngineNetwork) -> None:
        super().__init__(network, 1)
        self.shown: list[int] = []

    def run(self, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        self.shown.append(len(inputs["images"]))
        return super().run(inputs)


def test_one_view_is_checked_in_a_set_and_every_view_that_is_lost() -> None:
    detector, pose = _CountingBackend(marker_detector()), TorchBackend(marker_pose_network(), 1)
    eager = YoloCpnSettings(track=TrackSettings(check_every=1))
    front_end = YoloCpnFrontEnd(detector, pose, 3, eager, HostOperations())
    picture = blank_picture(480, 640)
    draw_person(picture, 300, 240, 300)
    for _ in range(4):
        assert None not in front_end.process([picture] * 3)
    assert detector.shown == [3, 1, 1, 1]
    front_end.process([blank_picture(480, 640)] * 3)
    assert sum(detector.shown[4:]) == 3


def test_a_box_that_reaches_too_far_is_not_believed() -> None:
    """The marker detector's boxes are all alike; around a small person they are far too large."""
    detector, pose = TorchBackend(marker_detector(), 1), TorchBackend(marker_pose_network(), 1)
    front_end = YoloCpnFrontEnd(detector, pose, 1)
    image = blank_picture(480, 640)
    joints = draw_person(image, 320, 240, 210)
    operations = HostOperations()
    operations.take([image])
    (person,) = PersonFinder(detector, operations, 0.3, 0.45).find([image], [0])[0]
    (whole,) = JointFinder(pose, operations, "none").find([(0, person.box)], lambda *_: None)
    (result,) = front_end.process([image])
    assert result is not None
    sure, unsure = (float(view.keypoints[:, 2].mean()) for view in (result, whole))
    assert sure > unsure + 0.02
    assert result.box[3] - result.box[1] < 0.9 * (whole.box[3] - whole.box[1])
    assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 6
    # From then on the box follows the joints, and one look is enough.
    (again,) = front_end.process([image])
    assert again is not None and float(again.keypoints[:, 2].mean()) >= sure


def with_coat(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A green block alone, nearer to the middle of a 640×480 picture than a person aside."""
    cv2.rectangle(image, (330, 250), (380, 300), (0, 255, 0), -1)
    return image


def test_a_coat_does_not_keep_somebody_from_being_found() -> None:
    detector, pose = (
        TorchBackend(marker_detector(24, 44), 1),
        TorchBackend(marker_pose_network(), 1),
    )
    front_end = YoloCpnFrontEnd(detector, pose, 1)
    image = with_coat(blank_picture(480, 640))
    joints = draw_person(image, 520, 240, 180)
    operations = HostOperations()
    operations.take([image])
    people = PersonFinder(detector, operations, 0.3, 0.6).find([image], [0])[0]
    coat = max(people, key=lambda person: prominence(person, 480, 640))
    assert coat.box[2] < 450, "the coat is not the more prominent one"
    (result,) = front_end.process([image])
    assert result is not None
    assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 6


def test_who_is_seen_faintly_is_found_and_a_faint_coat_is_not() -> None:
    detector, pose = (
        TorchBackend(marker_detector(24, 44), 1),
        TorchBackend(marker_pose_network(), 1),
    )
    person = blank_picture(480, 640)
    joints = draw_person(person, 320, 240, 180)
    coat = with_coat(blank_picture(480, 640))
    # Blocks have scores of nearly 1; of nobody the detector is as sure as these settings ask.
    faint = YoloCpnSettings(score=1.1, faint_score=0.1)
    front_end = YoloCpnFrontEnd(detector, pose, 1, faint)
    (result,) = front_end.process([person])
    assert result is not None
    assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 6
    for picture, settings in (
        (coat, faint),
        (person, YoloCpnSettings(score=1.1, faint_score=1.1)),
    ):
        assert YoloCpnFrontEnd(detector, pose, 1, settings).process([picture]) == (None,)


def test_a_coat_does_not_take_a_track_over() -> None:
    detector, pose = (
        TorchBackend(marker_detector(24, 44), 1),
        TorchBackend(marker_pose_network(), 1),
    )
    hasty = TrackSettings(
        check_every=1, check_every_unsure=1, takeover_prominence=1.1, takeover_checks=1
    )
    front_end = YoloCpnFrontEnd(detector, pose, 1, YoloCpnSettings(track=hasty))
    image = blank_picture(480, 640)
    joints = draw_person(image, 520, 240, 180)
    assert front_end.process([image])[0] is not None
    for _ in range(4):
        (result,) = front_end.process([with_coat(image)])
        assert result is not None
        assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 6


def test_nobody_is_found_where_nobody_is(front_end: YoloCpnFrontEnd) -> None:
    person = blank_picture(480, 640)
    draw_person(person, 300, 240, 300)
    empty = blank_picture(480, 640)
    assert front_end.process([empty, person, None])[::2] == (None, None)
    # and the person who leaves is gone at once
    assert front_end.process([None, empty, None]) == (None, None, None)


def test_read_only_pictures_are_taken(front_end: YoloCpnFrontEnd) -> None:
    image = blank_picture(480, 640)
    draw_person(image, 300, 240, 300)
    image.flags.writeable = False
    assert front_end.process([image, image, image])[2] is not None


@pytest.mark.parametrize(("loose", "higher"), [(False, 1.2), (True, 1.3)])
def test_the_light_cpn_looks_closer_where_the_box_is_exact(loose: bool, higher: float) -> None:
    pose = open_backend(network_file("shipped", "pose2d"), "onnxruntime", 1)
    operations = HostOperations()
    operations.take([blank_picture(480, 640)])
    box = np.array((300, 100, 340, 300), np.float32)
    finder = JointFinder(pose, operations, "none")
    (view,) = finder.find([(0, box)], lambda *_: None, loose)
    assert view.box[3] - view.box[1] == pytest.approx(200 * higher)
    pose.close()


def test_pooled_context_is_the_same_for_every_joint(marker_files: tuple[Path, Path]) -> None:
    image = blank_picture(480, 640)
    draw_person(image, 300, 240, 300)
    front_end = open_yolo_cpn(1, *marker_files, "onnxruntime", 1, YoloCpnSettings(context="pooled"))
    front_end.warm_up(480, 640)
    (result,) = front_end.process([image])
    assert result is not None and result.context is not None
    assert np.ptp(result.context, axis=0).max() == 0
    assert np.abs(result.context - 0.5).max() < 0.1  # mostly grey
    assert "128×128" in front_end.description and "ONNX Runtime" in front_end.description


def test_swapped_files_are_refused(marker_files: tuple[Path, Path]) -> None:
    detector, pose = marker_files
    with pytest.raises(UserError, match="given as detector is a pose2d"):
        open_yolo_cpn(1, pose, detector, "onnxruntime", 1)


def test_wrong_number_of_pictures(front_end: YoloCpnFrontEnd) -> None:
    with pytest.raises(ValueError, match="expected 3 pictures"):
        front_end.process([blank_picture(48, 64)])


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_a_real_person_is_detected_in_all_four_views(shared_dir: Path, kind: str) -> None:
    data = shared_dir / "data"
    cfg = data / "yolo_fastest" / "yolo-fastest-1.1-xl.cfg"
    network = load_darknet(cfg, cfg.with_suffix(".weights"))
    detector = TorchBackend(darknet_detector(network, cfg.read_text(encoding="utf-8")), 1)
    pose = TorchBackend(marker_pose_network(), 1)
    operations = HostOperations() if kind == "host" else TensorOperations("cpu")
    front_end = YoloCpnFrontEnd(detector, pose, 4, operations=operations)
    images = [_first_picture(data / "pose2sim" / f"cam0{i}.mp4") for i in range(1, 5)]
    operations.take(images)
    people = front_end._people.find(images, range(4))
    # Where he stands, read off the pictures: x and y of the middle of the trunk.
    for found, place in zip(people, ((415, 620), (570, 640), (640, 760), (410, 800)), strict=True):
        best = max(found, key=lambda person: person.score)
        assert best.score > 0.8
        assert (best.box[:2] < place).all() and (place < best.box[2:]).all()
        assert 500 < best.box[3] - best.box[1] < 1100


def _first_picture(path: Path) -> npt.NDArray[np.uint8]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    found, picture = capture.read()
    assert found
    return np.asarray(picture)
