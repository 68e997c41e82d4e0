"""The flip test: a mirrored crop is looked at, too, so that both sides are judged alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from clip_pictures import clip_pictures
from engines.backends.base import DescribedBackend
from engines.backends.select import open_backend
from engines.front_ends.yolo_cpn import rivals
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.joint_finder import JointFinder
from engines.front_ends.yolo_cpn.network_facts import PoseFacts, pose_facts
from engines.front_ends.yolo_cpn.operations import Floats, HeatReading, Operations, Patch
from engines.front_ends.yolo_cpn.regions import Region
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from engines.model_files import SHIPPED_FOLDER
from engines.networks.catalog import load_network
from engines.networks.joint_context import ACROSS
from engines.pose_conversion import COCO_MIRROR, coco_to_h36m
from engines.skeleton import MIRROR, mirrored

REGION = Region(190.0, 30.0, 300.0, 400.0)


@pytest.fixture(scope="module")
def picture() -> npt.NDArray[np.uint8]:
    return next(clip_pictures(1, 60))


def _open(kind: str) -> tuple[DescribedBackend, Operations]:
    path = SHIPPED_FOLDER / "pose2d.onnx"
    if kind == "host":
        return open_backend(path, "onnxruntime", 1), HostOperations()
    return open_backend(path, "torch", 1), TensorOperations("cpu")


def _joints(
    kind: str, picture: npt.NDArray[np.uint8], region: Region, flip: bool | None
) -> tuple[Floats, Floats, Floats]:
    """Places, confidence and the features' mean of one person."""
    backend, operations = _open(kind)
    operations.take([picture])
    answer = operations.find_joints(backend, [Patch(0, region)], pose_facts(backend).reading(flip))
    mean = operations.pool(answer)[0]
    backend.close()
    return answer.places[0], answer.confidence[0], mean


def _mirrored(picture: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Region]:
    right = picture.shape[1] - REGION.left - REGION.width
    region = Region(right, REGION.top, REGION.width, REGION.height)
    return np.ascontiguousarray(picture[:, ::-1]), region


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_a_mirrored_person_is_seen_mirrored(kind: str, picture: npt.NDArray[np.uint8]) -> None:
    gaps = {}
    width = load_network(SHIPPED_FOLDER / "pose2d.safetensors").info.inputs[0].shape[3]
    for flip in (False, True):
        places, confidence, _ = _joints(kind, picture, REGION, flip)
        other, other_confidence, _ = _joints(kind, *_mirrored(picture), flip)
        other = other[list(MIRROR)] * np.array([-1, 1]) + np.array([width, 0])
        gaps[flip] = float(np.linalg.norm(places - other, axis=-1).max())
        if flip:
            assert np.allclose(confidence, other_confidence[list(MIRROR)], atol=0.02)
    # What is left is the rounding of the crop.
    assert gaps[True] < 0.3 and gaps[False] > 2 * gaps[True]


def test_host_and_torch_agree(picture: npt.NDArray[np.uint8]) -> None:
    one, other = (_joints(kind, picture, REGION, True) for kind in ("host", "torch"))
    # OpenCV and torch do not cut quite the same crop.
    assert np.abs(one[0] - other[0]).max() < 0.1
    assert np.abs(one[1] - other[1]).max() < 0.02


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_the_context_is_that_of_the_picture_as_it_is(
    kind: str, picture: npt.NDArray[np.uint8]
) -> None:
    once, twice = (_joints(kind, picture, REGION, flip)[2] for flip in (False, True))
    assert np.array_equal(once, twice)


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_the_mirrored_person_has_the_mirrored_context(
    kind: str, picture: npt.NDArray[np.uint8]
) -> None:
    backend, operations = _open(kind)
    finder = JointFinder(backend, operations, "sampled")
    box = np.array((215, 50, 465, 410), np.float32)
    operations.take([picture])
    (plain,) = finder.find([(0, box)], lambda stage, seconds: None)
    shown, _ = _mirrored(picture)
    width = picture.shape[1]
    operations.take([shown])
    there = np.array((width - box[2], box[1], width - box[0], box[3]), np.float32)
    (other,) = finder.find([(0, there)], lambda stage, seconds: None)
    backend.close()
    assert plain.context is not None and other.context is not None
    told, others = plain.context[:, :-RIVAL_CHANNELS], plain.context[:, -RIVAL_CHANNELS:]
    turned = np.concatenate((mirrored(told, ACROSS), mirrored(others, rivals.ACROSS)), 1)
    # What is left is the rounding of the crop; left for right would be another context altogether.
    gap, size = np.abs(turned - other.context).mean(), np.abs(other.context).mean()
    assert gap < 0.05 * size
    assert np.abs(turned[list(MIRROR)] - other.context).mean() > 4 * gap
    assert np.abs(plain.context - other.context).mean() > 4 * gap


def test_only_light_networks_look_twice_unasked() -> None:
    def reading(light: bool, coco: bool, flip: bool | None) -> HeatReading:
        return PoseFacts(coco, 1.0, "cpn", 64, False, "", light).reading(flip)

    assert reading(True, False, None).partners == MIRROR
    assert reading(False, True, None).partners is None
    assert reading(True, False, False).partners is None
    assert reading(False, True, True).partners == COCO_MIRROR


def test_coco_partners_are_those_of_the_converted_joints() -> None:
    joints = np.random.default_rng(0).uniform(0, 1, (17, 3)).astype(np.float32)
    swapped = coco_to_h36m(joints[None, list(COCO_MIRROR)])[0]
    assert np.allclose(swapped, coco_to_h36m(joints[None])[0][list(MIRROR)], atol=1e-6)
