"""On an NVIDIA GPU: the same answers as on the CPU, in single and in half precision.

Everything here skips without one. Reference answers of the full-size networks are computed on the
CPU for as few views as they take.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from engines.backends.base import Array, DescribedBackend
from engines.backends.cuda_graphs import CudaGraphs
from engines.backends.device import find_gpu
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend, available_providers
from engines.backends.torch_backend import TorchBackend
from engines.device_chain import DeviceChain
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.network_facts import pose_facts
from engines.front_ends.yolo_cpn.operations import Operations, Patch
from engines.front_ends.yolo_cpn.regions import crop_region, letterbox_region
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from engines.model_files import SHIPPED_FOLDER
from engines.networks.cpn import Bottleneck
from engines.networks.darknet import ConvolutionLayer, Darknet
from engines.networks.darknet_plan import Shortcut
from engines.networks.engine_network import EngineNetwork
from tools.bench.sample_networks import _tame, make_sample

DEVICE = "cuda:0"
CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"
LIGHT = ("detector", "pose2d", "lifter")
FULL_SIZE = ("yolov3", "cpn50-384x288", "dsvtformer")

pytestmark = pytest.mark.skipif(
    find_gpu() is None or not torch.cuda.is_available(),
    reason="needs an NVIDIA GPU and a build of torch for CUDA",
)

Pictures = list[npt.NDArray[np.uint8]]


@pytest.fixture(autouse=True)
def _single_precision_is_single() -> Iterator[None]:
    """Without TF32, which keeps 10 bits of each factor."""
    kept = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


@cache
def _sets() -> tuple[Pictures, ...]:
    """Sets of four pictures of the built-in clip, at twelve times."""
    videos = [
        cv2.VideoCapture(str(CLIP / f"camera{view}.mp4"), cv2.CAP_FFMPEG) for view in range(4)
    ]
    sets: list[Pictures] = []
    for number in range(221):
        if number % 20:
            assert all(video.grab() for video in videos)
        else:
            sets.append([np.asarray(video.read()[1], np.uint8) for video in videos])
    return tuple(sets)


def _inputs(network: EngineNetwork, views: int, seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for port in network.info.inputs:
        value = generator.uniform(0.05, 0.95, port.sized(views)).astype(np.float32)
        inputs[port.name] = np.ones_like(value) if port.name.endswith("mask") else value
    return inputs


def _assert_close(found: dict[str, Array], expected: dict[str, Array], share: float) -> None:
    """Each output differs by no more than a share of its largest value."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert np.isfinite(found[name]).all(), name
        gap = float(np.abs(np.subtract(found[name], value)).max())
        assert gap <= share * float(np.abs(value).max()), (name, gap)


def _steady(network: EngineNetwork) -> EngineNetwork:
    """Makes residual branches count for less, as in trained networks.

    With random weights, values double from block to block, and leave the range of half precision.
    """
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.bn3.weight.data *= 0.2
    if isinstance(network.inner, Darknet):
        for index, plan in enumerate(network.inner.plans):
            if isinstance(plan, Shortcut):
                before = network.inner.layers[index - 1]
                assert isinstance(before, ConvolutionLayer) and before.norm is not None
                before.norm.weight.data *= 0.2
        _tame(network.inner, torch.rand(network.info.inputs[0].sized(1)))
    return network


def _close(*backends: DescribedBackend) -> None:
    for backend in backends:
        backend.close()


# --- torch -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LIGHT, *FULL_SIZE])
def test_torch_on_the_gpu_agrees_with_the_cpu(name: str) -> None:
    network = make_sample(name)
    # (two numbers of views come twice, with another in between: a recording is found again)
    cases = [
        (views, seed) for views in ((1, 4, 3, 8, 1) if name in LIGHT else (1,)) for seed in (0, 1)
    ]
    on_cpu = TorchBackend(network)
    references: dict[tuple[int, int], dict[str, Array]] = {}
    for case in cases:
        if case not in references and (case[0] != 8 or case[1] == 0):
            references[case] = on_cpu.run(_inputs(network, *case))
    eager = TorchBackend(network, None, DEVICE, graphs=False)
    replayed = TorchBackend(network, None, DEVICE)
    for case in cases:
        inputs = _inputs(network, *case)
        once = eager.run(inputs)
        first = replayed.run(inputs)
        kept = {key: value.copy() for key, value in first.items()}
        again = replayed.run(inputs)
        _assert_close(first, once, 1e-4)
        _assert_close(again, kept, 1e-4)
        if case in references:
            _assert_close(first, references[case], 1e-3)
        other = replayed.run(_inputs(network, case[0], 2))
        for key, value in other.items():
            gap = float(np.abs(np.subtract(value, first[key])).max())
            assert gap > 1e-3 * float(np.abs(value).max()), f"{key} does not depend on the input"
            np.testing.assert_array_equal(first[key], kept[key])  # it belongs to the caller
    assert replayed.provider.endswith(", CUDA graphs")
    assert "CUDA graphs" not in eager.provider
    _close(eager, replayed)


@pytest.mark.parametrize("name", [*LIGHT, *FULL_SIZE])
def test_half_precision_stays_finite(name: str) -> None:
    network = make_sample(name)
    if name in FULL_SIZE:
        _steady(network)
    eager = TorchBackend(network, None, DEVICE, half=True, graphs=False)
    replayed = TorchBackend(network, None, DEVICE, half=True)
    for seed in (0, 1, 0):
        inputs = _inputs(network, 4, seed)
        _assert_close(replayed.run(inputs), eager.run(inputs), 2e-2)
    assert "fp16" in replayed.provider
    assert replayed.provider.endswith(", CUDA graphs")
    _close(eager, replayed)


def test_tensors_on_the_gpu_stay_there() -> None:
    network = make_sample("pose2d")
    backend = TorchBackend(network, None, DEVICE)
    (images,) = _inputs(network, 2, 0).values()
    answer = backend.run_tensors({"images": torch.from_numpy(images).to(DEVICE)})
    assert {str(value.device) for value in answer.values()} == {DEVICE}
    assert all(value.is_contiguous() and value.dtype == torch.float32 for value in answer.values())
    with pytest.raises(ValueError, match="is on cpu"):
        backend.run_tensors({"images": torch.from_numpy(images)})
    backend.close()


def test_half_precision_moves_a_person_by_less_than_a_pixel() -> None:
    """On the clip: detections within 1 px, sure joints within 0.5 px.

    All but one joint in a hundred: where the two highest cells are all but equal, the least
    difference makes the other one the highest.
    """
    front_ends = []
    for half in (False, True):
        detector, pose = (
            TorchBackend(make_sample(name), None, DEVICE, half) for name in ("detector", "pose2d")
        )
        front_ends.append(YoloCpnFrontEnd(detector, pose, 4))
    people = 0
    apart: list[float] = []
    for images in _sets():
        for front_end in front_ends:
            front_end._operations.take(images)
        found = [front_end._people.find(images, range(4)) for front_end in front_ends]
        for here, there in zip(*found, strict=True):
            if here and here[0].score >= 0.5:
                assert np.abs(here[0].box - there[0].box).max() < 1
                people += 1
        boxes = [(view, here[0].box) for view, here in enumerate(found[0]) if here]
        answers = [front_end._joints.find(boxes, lambda *_: None) for front_end in front_ends]
        for one, other in zip(*answers, strict=True):
            sure = one.keypoints[:, 2] > 0.5
            gaps = np.abs(one.keypoints[sure, :2] - other.keypoints[sure, :2])
            apart += gaps.max(1).tolist()
    assert people >= 8
    assert len(apart) >= 80
    assert np.quantile(apart, 0.99) < 0.5


# --- around the networks -----------------------------------------------------------------------


def test_the_steps_around_the_networks_agree_with_the_cpu() -> None:
    """Detections and joints on the clip, against the same code and the host's on the CPU."""
    kinds: list[tuple[Operations, str]] = [
        (TensorOperations(DEVICE), DEVICE),
        (TensorOperations("cpu"), "cpu"),
        (HostOperations(), "cpu"),
    ]
    networks = [
        [TorchBackend(make_sample(name), None, device) for name in ("detector", "pose2d")]
        for _, device in kinds
    ]
    reading = pose_facts(networks[0][1]).reading(None)
    gaps: dict[str, list[float]] = {key: [] for key in ("box", "joint", "host box", "host joint")}
    for images in _sets()[::4]:
        letters = [
            Patch(view, letterbox_region(*image.shape[:2], 320, 320))
            for view, image in enumerate(images)
        ]
        for operations, _ in kinds:
            operations.take(images)
        detections = [
            operations.detect(detector, letters)
            for (operations, _), (detector, _) in zip(kinds, networks, strict=True)
        ]
        boxes, scores = detections[1]
        crops: list[Patch] = []
        for patch, box, score in zip(letters, boxes[:, 0], scores[:, 0], strict=True):
            if score < 0.5:
                continue
            for (found, certain), key in ((detections[0], "box"), (detections[2], "host box")):
                assert abs(float(certain[patch.view, 0] - score)) < (0.01 if key == "box" else 0.1)
                # of two boxes about one person, either may be the surest
                nearest = np.abs(found[patch.view] - box).max(1).min()
                gaps[key].append(float(nearest))
            corners = np.stack((box[:2] - box[2:] / 2, box[:2] + box[2:] / 2))
            place = patch.region.to_picture(corners, 320, 320).reshape(4)
            height, width = (int(size or 0) for size in networks[0][1].inputs[0].shape[2:])
            crops.append(Patch(patch.view, crop_region(place, height, width)))
        if not crops:
            continue
        answers = [
            operations.find_joints(pose, crops, reading)
            for (operations, _), (_, pose) in zip(kinds, networks, strict=True)
        ]
        sure = answers[1].confidence > 0.5
        for answer, key in ((answers[0], "joint"), (answers[2], "host joint")):
            gaps[key] += np.abs(answer.places - answers[1].places).max(2)[sure].tolist()
        sampled = [
            operations.sample(answer, answers[1].places, height, width)
            for (operations, _), answer in zip(kinds, answers, strict=True)
        ]
        scale = float(np.abs(sampled[1]).max())
        assert np.abs(sampled[0] - sampled[1]).max() <= 5e-3 * scale
        pooled = [kinds[index][0].pool(answers[index]) for index in (0, 1)]
        assert np.abs(pooled[0] - pooled[1]).max() <= 1e-3 * float(np.abs(pooled[1]).max())
    assert len(gaps["box"]) >= 3
    assert len(gaps["joint"]) >= 30
    assert max(gaps["box"]) < 0.1
    assert np.quantile(gaps["joint"], 0.97) < 0.05
    # The host's pictures are rounded to bytes once more.
    assert np.median(gaps["host box"]) < 2
    assert np.quantile(gaps["host joint"], 0.9) < 1
    for pair in networks:
        _close(*pair)


def test_the_whole_chain_agrees_with_the_cpu() -> None:
    chains = []
    for device in (DEVICE, "cpu"):
        backends = [TorchBackend(make_sample(name), None, device) for name in LIGHT]
        chains.append(DeviceChain(backends[0], backends[1], backends[2], 4))
    apart: list[float] = []
    for images in _sets()[:4]:
        here, there = (chain.process(images) for chain in chains)
        assert np.isfinite(here.joints).all()
        sure = there.keypoints[..., 2] > 0.5
        apart += np.abs(here.keypoints - there.keypoints)[..., :2].max(2)[sure].tolist()
        assert np.median(np.abs(here.joints - there.joints)) < 1e-3
        assert np.abs(here.joints - there.joints).max() < 0.05
    assert len(apart) >= 80
    assert np.quantile(apart, 0.97) < 0.1


# --- ONNX Runtime ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIGHT)
def test_the_plug_in_provider_agrees_with_the_cpu(name: str) -> None:
    if "tensorrt_rtx" not in available_providers():
        pytest.skip("the plug-in provider TensorRT for RTX is not installed")
    path = SHIPPED_FOLDER / f"{name}.onnx"
    inputs = _inputs(make_sample(name), 4, 0)
    plugin, on_cpu = OnnxRuntimeBackend(path, None, "tensorrt_rtx"), OnnxRuntimeBackend(path)
    # It may use TF32 where it sees fit.
    found, expected = plugin.run(inputs), on_cpu.run(inputs)
    _assert_close(found, expected, 1e-2)
    tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in inputs.items()}
    given = plugin.run_tensors({key: value.to(plugin.device) for key, value in tensors.items()})
    _assert_close({key: value.cpu().numpy() for key, value in given.items()}, expected, 1e-2)
    _close(plugin, on_cpu)


# --- CUDA graphs -------------------------------------------------------------------------------


def test_only_the_newest_graphs_are_kept() -> None:
    def run(x: Tensor) -> tuple[Tensor, ...]:
        return (x.cumsum(0) * 2,)

    graphs = CudaGraphs(run, "sums")
    for size in (*range(1, 12), *range(11, 0, -1)):
        x = torch.rand(size, 3, device=DEVICE)
        assert torch.allclose(graphs(x)[0], x.cumsum(0) * 2)
    assert len(graphs._recordings) == 8
    assert graphs.in_use
    graphs.close()
    assert not graphs.in_use
    x = torch.rand(5, 3, device=DEVICE)
    assert torch.allclose(graphs(x)[0], x.cumsum(0) * 2)
    graphs.close()


def test_what_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The last one: what a failed recording leaves behind concerns nobody after it."""

    def run(x: Tensor) -> tuple[Tensor, ...]:
        return (x * 2 if float(x.sum()) > 0 else x * 3,)

    graphs = CudaGraphs(run, "picky")
    stream = torch.cuda.current_stream()
    x = torch.ones(4, device=DEVICE)
    with caplog.at_level(logging.WARNING):
        for sign in (1, -1, 1):
            expected = x * sign * (2 if sign > 0 else 3)
            assert torch.equal(graphs(x * sign)[0], expected)
    assert not graphs.in_use
    assert sum("picky" in message for message in caplog.messages) == 1
    assert torch.cuda.current_stream() == stream
    graphs.close()
    # Others can be recorded all the same.
    network = make_sample("pose2d")
    backend = TorchBackend(network, None, DEVICE)
    inputs = _inputs(network, 2, 0)
    _assert_close(
        backend.run(inputs), TorchBackend(network, None, DEVICE, graphs=False).run(inputs), 1e-4
    )
    assert backend.provider.endswith(", CUDA graphs")
    backend.close()
