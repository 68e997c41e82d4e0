"""The chain that stays on the device, run on the CPU, against the same steps on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.backends.torch_backend import TorchBackend
from engines.device_chain import DeviceChain
from engines.errors import UserError
from engines.front_ends.tracking import TrackSettings
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from engines.networks.catalog import build
from engines.networks.engine_network import EngineNetwork
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.pose_network import FeatureMaps, PoseNetwork
from exported import make
from marker_networks import (
    HEIGHT,
    WIDTH,
    blank_picture,
    draw_person,
    marker_detector,
    marker_pose_network,
)
from tools.bench.sample_networks import enliven

VIEWS, FRAMES = 4, 3


def _lifter(kind: str) -> EngineNetwork:
    if kind == "dsvtformer":
        return make("dsvtformer-small")
    options = {
        "frames": FRAMES,
        "width": 32,
        "depth": 1,
        "context_channels": JOINT_CHANNELS + RIVAL_CHANNELS,
    }
    torch.manual_seed(0)
    return enliven(build("rig_lifter", {**options, "context": kind == "rig, context"}))


def _sets(count: int) -> list[list[np.ndarray]]:
    sets = []
    for step in range(count):
        images = [blank_picture(240, 320), blank_picture(480, 360), *[blank_picture(240, 320)] * 2]
        images = [image.copy() for image in images]
        for view, image in enumerate(images):
            height, width = image.shape[:2]
            draw_person(image, width / 2 + 10 * (step - view), height / 2, 0.6 * height)
        sets.append(images)
    return sets


@pytest.mark.parametrize("kind", ["rig", "rig, context"])
def test_the_rig_lifter_gets_what_the_host_would_give_it(kind: str) -> None:
    lifter = _lifter(kind)
    chain = DeviceChain(
        TorchBackend(marker_detector(), 1),
        TorchBackend(marker_pose_network(by_joint=True), 1),
        TorchBackend(lifter, 1),
        VIEWS,
    )
    front_end = YoloCpnFrontEnd(
        TorchBackend(marker_detector(), 1),
        TorchBackend(marker_pose_network(by_joint=True), 1),
        VIEWS,
        YoloCpnSettings(track=TrackSettings(check_every=1)),
    )
    windows: list[tuple[np.ndarray, np.ndarray]] = []
    for index, images in enumerate(_sets(5)):
        answer = chain.process(images)
        if index == 0:
            # Without a track yet, the host crops where the detector says, as the chain always does;
            # of two boxes about the same person they may take different ones.
            for view, result in enumerate(front_end.process(images)):
                assert result is not None
                gap = np.abs(answer.keypoints[view, :, :2] - result.keypoints[:, :2])
                assert np.median(gap) < 4
        sizes = np.array([image.shape[1::-1] for image in images], np.float32)[:, None]
        scaled = answer.keypoints.copy()
        scaled[..., :2] = (2 * answer.keypoints[..., :2] - sizes) / sizes[..., :1]
        colours = chain._context[-1].numpy().copy()
        windows = [*(windows or [(scaled, colours)] * (FRAMES - 1)), (scaled, colours)][-FRAMES:]
        inputs = [
            torch.from_numpy(np.stack([window[0] for window in windows]))[None],
            torch.ones(1, VIEWS),
        ]
        if kind == "rig, context":
            inputs.append(torch.from_numpy(np.stack([window[1] for window in windows]))[None])
            inputs.append(torch.ones(1, FRAMES, VIEWS))
        with torch.no_grad():
            expected = lifter(*inputs)[0][0, :, 0].numpy()
        np.testing.assert_allclose(answer.joints, expected - expected[:, :1], atol=1e-4)


def test_the_chain_is_the_same_with_the_steps_of_the_host() -> None:
    chains = [
        DeviceChain(
            TorchBackend(marker_detector(), 1),
            TorchBackend(marker_pose_network(by_joint=True), 1),
            TorchBackend(_lifter("rig, context"), 1),
            VIEWS,
            operations,
        )
        for operations in (None, HostOperations())
    ]
    for images in _sets(3):
        one, other = (chain.process(images) for chain in chains)
        gap = np.abs(one.keypoints[..., :2] - other.keypoints[..., :2])
        assert np.median(gap) < 1
    for name in ("_keypoints", "_context"):
        window, its = (getattr(chain, name) for chain in chains)
        assert window.shape == its.shape
    colours, its = (chain._context for chain in chains)
    assert float((colours - its).abs().median()) < 0.02


def test_the_authors_lifter_gets_pooled_context() -> None:
    class Widened(torch.nn.Module):
        """The marker network with its three feature channels repeated to CPN's 256."""

        def __init__(self) -> None:
            super().__init__()
            self.network = marker_pose_network().inner

        def forward(self, images: torch.Tensor):  # type: ignore[no-untyped-def]
            maps = self.network(images)
            return maps._replace(features=maps.features.repeat(1, 86, 1, 1)[:, :256])

    maps = FeatureMaps(256)
    pose = PoseNetwork(Widened(), "marker", {}, HEIGHT, WIDTH, maps, "h36m17", peak=1.0).eval()
    chain = DeviceChain(
        TorchBackend(marker_detector(), 1),
        TorchBackend(pose, 1),
        TorchBackend(make("dsvtformer-small"), 1),
        VIEWS,
    )
    for images in _sets(4):
        answer = chain.process(images)
    assert answer.joints.shape == (FRAMES, 17, 3)
    assert np.isfinite(answer.joints).all()
    assert np.abs(answer.joints[:, 0]).max() == 0
    assert chain._context.shape == (FRAMES, VIEWS, 256)
    assert float(chain._context.mean()) == pytest.approx(0.5, abs=0.15)  # mostly grey
    assert bool((chain._keypoints[0] != chain._keypoints[2]).any())


def test_a_picture_without_a_person_is_taken_whole() -> None:
    chain = DeviceChain(
        TorchBackend(marker_detector(), 1),
        TorchBackend(marker_pose_network(), 1),
        TorchBackend(_lifter("rig"), 1),
        2,
    )
    answer = chain.process([blank_picture(120, 160)] * 2)
    assert answer.keypoints.shape == (2, 17, 3)
    assert np.isfinite(answer.joints).all()


def test_wrong_networks_are_refused() -> None:
    detector, pose = TorchBackend(marker_detector(), 1), TorchBackend(marker_pose_network(), 1)
    with pytest.raises(UserError, match="given as lifter is a pose2d"):
        DeviceChain(detector, pose, pose, 2)


def test_steps_are_timed_where_somebody_asks() -> None:
    lifter = _lifter("rig, context")
    networks = [
        TorchBackend(n, 1) for n in (marker_detector(), marker_pose_network(by_joint=True), lifter)
    ]
    timed, plain = (DeviceChain(networks[0], networks[1], networks[2], VIEWS) for _ in range(2))
    steps: list[tuple[str, float]] = []
    for images in _sets(2):
        one = timed.process(images, lambda step, seconds: steps.append((step, seconds)))
        other = plain.process(images)
        np.testing.assert_array_equal(one.joints, other.joints)
    names = [step for step, _ in steps]
    order = ["pictures up", "detection", "2D pose", "context and window", "lifting"]
    assert names == 2 * order
    assert all(seconds >= 0 for _, seconds in steps)
