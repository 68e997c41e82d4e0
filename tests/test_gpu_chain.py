"""On an NVIDIA GPU: the steps around the networks, and the chain, give the answers of the CPU.

Everything here skips without one.
"""

from __future__ import annotations

import numpy as np

from engines.backends.torch_backend import TorchBackend
from engines.device_chain import DeviceChain
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.network_facts import input_size, pose_facts
from engines.front_ends.yolo_cpn.operations import FeatureLayout, Operations, Patch
from engines.front_ends.yolo_cpn.regions import crop_region, letterbox_region
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from gpu_machine import (
    DEVICE,
    LIGHT,
    assert_chains_agree,
    close_all,
    needs_gpu,
    picture_sets,
)
from tools.bench.sample_networks import make_sample

pytestmark = needs_gpu


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
    seen = input_size(networks[0][0])
    gaps: dict[str, list[float]] = {key: [] for key in ("box", "joint", "host box", "host joint")}
    for images in picture_sets()[::4]:
        letters = [
            Patch(view, letterbox_region(*image.shape[:2], *seen))
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
            place = patch.region.to_picture(corners, *seen).reshape(4)
            height, width = input_size(networks[0][1])
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
        layout = FeatureLayout(height, width, by_joint=True)
        sampled = [
            operations.sample(answer.features, answers[1].places, layout)
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
        close_all(*pair)


def test_the_whole_chain_agrees_with_the_cpu() -> None:
    chains = []
    for device in (DEVICE, "cpu"):
        backends = [TorchBackend(make_sample(name), None, device) for name in LIGHT]
        chains.append(DeviceChain(backends[0], backends[1], backends[2], 4))
    assert_chains_agree(*chains)
