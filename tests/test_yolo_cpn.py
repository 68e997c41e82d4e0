"""The yolo_cpn front end: geometry, decoding, suppression, and the whole with real networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.backends.torch_backend import TorchBackend
from engines.errors import UserError
from engines.export import export_onnx
from engines.front_ends.tracking import TrackSettings
from engines.front_ends.yolo_cpn.front_end import (
    YoloCpnFrontEnd,
    YoloCpnSettings,
    open_yolo_cpn,
)
from engines.front_ends.yolo_cpn.host_operations import HostOperations, decode
from engines.front_ends.yolo_cpn.joint_finder import JointFinder
from engines.front_ends.yolo_cpn.operations import Patch
from engines.front_ends.yolo_cpn.person_finder import PersonFinder
from engines.front_ends.yolo_cpn.regions import (
    Region,
    box_of_joints,
    crop_region,
    letterbox_region,
    likely_boxes,
)
from engines.front_ends.yolo_cpn.suppression import intersection_over_union, suppress
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from engines.networks.catalog import darknet_detector
from engines.networks.darknet_weights import load_darknet
from marker_networks import (
    HEIGHT,
    WIDTH,
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


# --- the whole ---------------------------------------------------------------------------------


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
    assert front_end.context_channels == 3
    for result in results:
        assert result is not None and result.context is not None
        assert result.context.shape == (17, 3)
        # The marker network's features are the crop's colours.
        assert np.abs(result.context - joint_colours()).max() < 0.25


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


def test_a_lost_person_is_found_again_in_the_same_set(front_end: YoloCpnFrontEnd) -> None:
    first, second = blank_picture(480, 640), blank_picture(480, 640)
    draw_person(first, 130, 240, 250)
    joints = draw_person(second, 500, 240, 250)
    assert front_end.process([first, None, None])[0] is not None
    result = front_end.process([second, None, None])[0]
    assert result is not None
    assert np.linalg.norm(result.keypoints[:, :2] - joints, axis=1).max() < 10


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


@given(st.tuples(st.floats(-50, 500), st.floats(-50, 500), st.floats(4, 800), st.floats(4, 800)))
def test_likely_boxes_are_parts_of_the_box(values: tuple[float, float, float, float]) -> None:
    box = np.array((*values[:2], values[0] + values[2], values[1] + values[3]), np.float32)
    whole, *parts = likely_boxes(box)
    assert np.array_equal(whole, box)
    for part in parts:
        assert (part[:2] >= box[:2] - 1e-3).all() and (part[2:] <= box[2:] + 1e-3).all()
        size = (part[2:] - part[:2]).prod() / (box[2:] - box[:2]).prod()
        assert 0.5 < size < 0.8


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


# --- the steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "region",
    [
        Region(100, 50, 180, 240),
        Region(-60, -40, 720, 960),
        Region(500, 300, 360, 480),
        Region(10.3, 7.7, 61.5, 82),
    ],
    ids=["inside", "all", "edge", "enlarged"],
)
def test_host_and_torch_cut_the_same_crop(region: Region) -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    pose = TorchBackend(marker_pose_network(), 1)
    patches = [Patch(0, region)]
    host, device = HostOperations(), TensorOperations("cpu")
    host.take([image])
    device.take([image])
    one = host._batch(pose, patches, (0.2, 0.4, 0.6))
    other = device._batch(pose, patches, (0.2, 0.4, 0.6)).numpy()
    difference = np.abs(one - other)
    # OpenCV samples on a grid of 1/32 pixel and rounds to bytes.
    assert difference.mean() < 0.004
    assert np.quantile(difference, 0.999) < 0.04


def test_a_crop_shows_the_right_places() -> None:
    image = blank_picture(480, 640)
    cv2.circle(image, (400, 120), 6, (255, 255, 255), -1)
    pose = TorchBackend(marker_pose_network(), 1)
    for region in (Region(310, 60, 180, 240), Region(220, -40, 360, 480)):
        host = HostOperations()
        host.take([image])
        batch = host._batch(pose, [Patch(0, region)], (0.5, 0.5, 0.5))[0, 0]
        y, x = (batch > 0.75).nonzero()
        place = np.array((x.mean() + 0.5, y.mean() + 0.5), np.float32)
        found = region.to_picture(place, HEIGHT, WIDTH)
        assert np.abs(found - (400.5, 120.5)).max() < 0.6


@given(
    st.integers(16, 2000),
    st.integers(16, 2000),
    st.sampled_from([(256, 256), (416, 416), (192, 256), (320, 320)]),
)
def test_letterbox_shows_the_whole_picture_undistorted(
    height: int, width: int, size: tuple[int, int]
) -> None:
    region = letterbox_region(height, width, *size)
    assert region.width / region.height == pytest.approx(size[1] / size[0])
    assert region.left <= 1e-6 and region.top <= 1e-6
    assert region.left + region.width >= width - 1e-6
    assert region.top + region.height >= height - 1e-6
    assert min(-region.left, -region.top) == pytest.approx(0, abs=1e-6)
    centre = np.array((size[1] / 2, size[0] / 2), np.float32)
    assert region.to_picture(centre, *size) == pytest.approx((width / 2, height / 2), rel=1e-5)


def test_crop_is_extended_as_cpn_expects() -> None:
    tall = crop_region(np.array((100, 100, 150, 300), np.float32), 256, 192)
    assert tall.height == pytest.approx(200 * 1.3)
    assert tall.width == pytest.approx(200 * 1.3 * 0.75)
    wide = crop_region(np.array((100, 100, 400, 200), np.float32), 256, 192)
    assert wide.width == pytest.approx(300 * 1.2)
    assert wide.height == pytest.approx(300 * 1.2 / 0.75)
    assert wide.left + wide.width / 2 == pytest.approx(250)
    assert wide.top + wide.height / 2 == pytest.approx(150)


def test_box_of_joints_needs_sure_joints() -> None:
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:5] = ((10, 20, 1), (50, 20, 0.9), (30, 120, 0.8), (20, 60, 0.5), (900, 900, 0.1))
    box = box_of_joints(keypoints)
    assert box is not None
    assert box == pytest.approx((10 - 8, 20 - 8, 50 + 8, 120 + 8))
    keypoints[0, 2] = 0
    assert box_of_joints(keypoints) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.floats(0.1, 0.9), st.integers(0, 10_000))
def test_suppression_is_the_greedy_one(count: int, overlap: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 60, (count, 2))
    boxes = np.concatenate((low, low + generator.uniform(1, 50, (count, 2))), 1).astype(np.float32)
    scores = generator.uniform(0, 1, count).astype(np.float32)
    overlaps = intersection_over_union(boxes, boxes)
    expected: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(overlaps[index, kept] <= overlap for kept in expected):
            expected.append(int(index))
    assert suppress(boxes, scores, overlap).tolist() == expected


def test_suppression_agrees_with_opencv() -> None:
    generator = np.random.default_rng(3)
    low = generator.uniform(0, 200, (300, 2))
    boxes = np.concatenate((low, low + generator.uniform(5, 80, (300, 2))), 1).astype(np.float32)
    scores = generator.uniform(0, 1, 300).astype(np.float32)
    sizes = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1)
    expected = cv2.dnn.NMSBoxes(sizes.tolist(), scores.tolist(), 0.0, 0.45)
    assert suppress(boxes, scores, 0.45).tolist() == np.ravel(expected).tolist()


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_log_parabola_is_exact_for_gaussian_peaks(kind: str) -> None:
    truth = np.random.default_rng(1).uniform((3, 3), (44, 60), (2, 17, 2)).astype(np.float32)
    heatmaps = _peaks(truth, 64, 48) * 0.8
    places, confidence = _decode(kind, heatmaps, "log_parabola", 1.0)
    assert np.abs(places - truth).max() < 0.02
    assert confidence.min() > 0.7 and confidence.max() <= 0.8 + 1e-6


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_cpn_decoding_moves_a_quarter_cell_towards_the_second_maximum(kind: str) -> None:
    truth = np.full((1, 17, 2), (20.4, 30.0), np.float32)
    places, confidence = _decode(kind, 255 * _peaks(truth, 64, 48), "cpn", 255.0)
    assert places == pytest.approx(np.broadcast_to((20.25, 30.0), (1, 17, 2)), abs=1e-4)
    assert confidence.min() > 0.9


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_a_peak_that_noise_splits_is_read_alike_whichever_half_is_higher(kind: str) -> None:
    """Half precision decides such ties; the joint must not jump (it did, by 0.15 cells)."""
    truth = np.full((1, 17, 2), (20.4, 30.5), np.float32)
    smooth = _peaks(truth, 64, 48)
    noise = np.random.default_rng(5).normal(0, 0.03, (1, 17, 64, 48)).astype(np.float32)
    read = []
    for higher, lower in ((30, 31), (31, 30)):
        heatmaps = smooth + noise
        heatmaps[..., higher, 20] = heatmaps[..., 30:32, 20].max(-1) + 1e-4
        heatmaps[..., lower, 20] = heatmaps[..., higher, 20] - 2e-4
        read.append(_decode(kind, heatmaps, "log_parabola", 1.0)[0])
    assert np.abs(read[0] - read[1]).max() < 0.01


def test_host_and_torch_read_noise_alike() -> None:
    heatmaps = np.random.default_rng(2).normal(0.1, 0.2, (40, 17, 32, 24)).astype(np.float32)
    for decoding in ("cpn", "log_parabola"):
        one, sure = _decode("host", heatmaps, decoding, 1.0)
        other, also = _decode("torch", heatmaps, decoding, 1.0)
        assert np.abs(one - other).max() < 1e-3
        assert np.abs(sure - also).max() < 1e-5


def _decode(kind: str, heatmaps: Floats, decoding: str, peak: float) -> tuple[Floats, Floats]:
    if kind == "host":
        return decode(heatmaps, decoding, peak)  # type: ignore[arg-type]
    operations = TensorOperations("cpu")
    found = operations.decode(torch.from_numpy(heatmaps), decoding, peak)  # type: ignore[arg-type]
    return found[..., :2].numpy(), found[..., 2].numpy()


def _peaks(places: Floats, rows: int, columns: int) -> Floats:
    x = np.arange(columns, dtype=np.float32) - places[..., 0, None]
    y = np.arange(rows, dtype=np.float32) - places[..., 1, None]
    return np.exp(-(x[..., None, :] ** 2 + y[..., :, None] ** 2) / 8).astype(np.float32)


def _first_picture(path: Path) -> npt.NDArray[np.uint8]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    found, picture = capture.read()
    assert found
    return np.asarray(picture)
