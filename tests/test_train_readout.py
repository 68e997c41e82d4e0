"""What the image context is taught to tell of joints, read at their places."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.networks.joint_context import (
    BONE,
    BONE_DOUBT,
    BONE_UNIT,
    DEPTH,
    DOUBT,
    JOINT_CHANNELS,
    NEIGHBOURS,
    SEEN,
    TOWARDS,
    TOWARDS_DOUBT,
    TOWARDS_UNIT,
)
from engines.networks.light_cpn import LightCpn, LightCpnConfig
from engines.skeleton import MIRROR, PARENTS
from rendered_scenes import marker_scene
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE, Scene, scene_path, write_scene
from tools.training.joint_readout import (
    ReadoutConfig,
    hottest_places,
    read_told,
    readout_loss,
)
from tools.training.pose2d_loss import heat_targets
from tools.training.pose2d_samples import CropSource, PoseVariety, plain_crop
from tools.training.scene_person import person_of
from walking import walking_clip

HEIGHT, WIDTH = 64, 48
TINY = LightCpnConfig(HEIGHT, WIDTH, 8, (8, 8, 8, 8), (1, 1, 1, 1), 2, 4, context_width=8)
EXACT = ReadoutConfig(scatter=0.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return marker_scene(walking_clip(4, 1).astype(np.float32), 2)


def test_depths_are_along_the_ray_and_in_body_heights(scene: Scene) -> None:
    for index in range(len(scene)):
        camera, instant = scene.view[index], scene.instant[index]
        seen = scene.joints_m[instant] @ scene.camera_R[camera].T + scene.camera_t[camera]
        metres = person_of(scene, index).depths * scene.stature_m
        ray = seen[0] / np.linalg.norm(seen[0])
        np.testing.assert_allclose(metres, (seen - seen[0]) @ ray, atol=1e-4)
        assert np.abs(metres).max() > 0.02


def test_a_mirrored_crop_exchanges_depths_too(scene: Scene, tmp_path: Path) -> None:
    write_scene(scene, scene_path(tmp_path / "train", "crops", 0))
    plain = PoseVariety(
        scale=0, shift=0, turned_share=0, half_share=0, board_share=0, cover_share=0, look=0
    )
    drawn = CropSource(tmp_path, "train", 64, 48, plain)
    known = [plain_crop(scene, index, 64, 48).depths for index in range(len(scene))]
    mirrored = 0
    for seed in range(12):
        depths = drawn.draw(np.random.default_rng(seed)).depths
        own = min(np.abs(depths - k).max() for k in known)
        other = min(np.abs(depths - k[list(MIRROR)]).max() for k in known)
        assert min(own, other) < 1e-6
        mirrored += other < own
    assert 0 < mirrored < 12


def _truth(joints: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Features (B, 17 · channels, 8, 6) that tell the truth wherever they are read."""
    rows, columns = HEIGHT // 8, WIDTH // 8
    x, y = torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy")
    here = (torch.stack((x, y), -1) + 0.5) * 8
    told = torch.zeros(len(joints), 17, JOINT_CHANNELS, rows, columns)
    told[:, :, DEPTH] = depths[..., None, None]
    bones = (depths[:, 1:] - depths[:, PARENTS[1:]]) / BONE_UNIT
    told[:, 1:, BONE] = bones[..., None, None]
    told[:, :, DOUBT], told[:, :, BONE_DOUBT], told[:, :, SEEN] = -5.0, -5.0, 5.0
    told[:, :, TOWARDS_DOUBT] = -5.0
    around = joints[:, torch.tensor(NEIGHBOURS)][:, :, :, None, None] - here
    told[:, :, TOWARDS] = (around / (TOWARDS_UNIT * HEIGHT)).movedim(-1, 3).flatten(2, 3)
    return told.flatten(1, 2)


def _people(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Joints well inside the crop, depths, and everything visible."""
    torch.manual_seed(seed)
    joints = 8 + torch.rand(2, 17, 2) * torch.tensor((WIDTH - 16.0, HEIGHT - 16.0))
    return joints, torch.randn(2, 17) * 0.2, torch.full((2, 17), VISIBLE, dtype=torch.uint8)


def test_each_joint_is_read_in_its_own_maps_where_it_is() -> None:
    joints, depths, _ = _people(0)
    told = read_told(_truth(joints, depths), joints, HEIGHT)
    torch.testing.assert_close(told[..., DEPTH], depths)
    around = joints[:, torch.tensor(NEIGHBOURS)] - joints[:, :, None]
    wanted = (around / (TOWARDS_UNIT * HEIGHT)).flatten(2)
    torch.testing.assert_close(told[..., TOWARDS], wanted, atol=1e-4, rtol=0)


def test_it_is_read_where_the_network_finds_joints() -> None:
    joints, depths, visibility = _people(4)
    elsewhere = torch.tensor([WIDTH, HEIGHT]) - joints
    heat = heat_targets(elsewhere, torch.ones(2, 17), HEIGHT // 4, WIDTH // 4, 4.0, 1.0)
    places, highest = hottest_places(heat, HEIGHT)
    assert float((places - elsewhere).abs().max()) <= 2.0 + 1e-3  # half a cell
    assert float(highest.min()) > 0.7
    # Neighbours are told as from where the joint is, everywhere: wrong, where it is read elsewhere.
    told = read_told(_truth(joints, depths), joints, HEIGHT)
    features = told.flatten(1)[..., None, None].expand(-1, -1, HEIGHT // 8, WIDTH // 8)
    found = dataclasses.replace(EXACT, found_share=1.0)
    _, off = readout_loss(features, joints, depths, visibility, HEIGHT, found, heat)
    _, plain = readout_loss(features, joints, depths, visibility, HEIGHT, EXACT)
    assert float(off["towards"]) > float(plain["towards"]) + 1
    cold = 0.1 * heat
    _, same = readout_loss(features, joints, depths, visibility, HEIGHT, found, cold)
    assert float(same["towards"]) == pytest.approx(float(plain["towards"]), abs=1e-3)


def test_the_truth_costs_least_and_joints_outside_nothing() -> None:
    joints, depths, visibility = _people(1)
    features = _truth(joints, depths)

    def cost(features: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
        loss, off = readout_loss(features, joints, depths, visibility, HEIGHT, EXACT)
        return float(loss), off

    right, off = cost(features)
    assert off["depth"] < 1e-6 and off["bone"] < 1e-6 and off["towards"] < 1e-3
    worse = {}
    changes = ((DEPTH, "depth"), (BONE, "bone"), (SEEN, "seen"), (TOWARDS.start, "towards"))
    for channel, name in changes:
        wrong = features.reshape(2, 17, JOINT_CHANNELS, *features.shape[2:]).clone()
        wrong[:, 5, channel] -= {"bone": 5.0, "seen": 9.0}.get(name, 0.5)
        worse[name] = wrong.flatten(1, 2)
        cost_now, off = cost(worse[name])
        assert cost_now > right + 1e-3, name
        if name in off:
            assert off[name] > 0.02
    visibility[:, 5] = OUTSIDE
    right, _ = cost(features)
    for name, wrong in worse.items():
        assert cost(wrong)[0] == pytest.approx(right, abs=1e-6), name


def test_neighbours_are_told_from_where_it_is_read() -> None:
    """However far from the joint: that is what a wrong peak needs."""
    joints, depths, visibility = _people(2)
    scattered = ReadoutConfig(scatter=3.0, far_share=0.0)
    _, off = readout_loss(_truth(joints, depths), joints, depths, visibility, HEIGHT, scattered)
    assert off["towards"] < 0.2


@pytest.mark.parametrize(
    ("told", "doubted"),
    [(DEPTH, DOUBT), (BONE, BONE_DOUBT), (TOWARDS.start + 2, TOWARDS_DOUBT.start + 1)],
)
def test_a_joint_told_wrong_is_doubted(told: int, doubted: int) -> None:
    joints, depths, visibility = _people(3)
    features = _truth(joints, depths).reshape(2, 17, JOINT_CHANNELS, -1)
    features[:, :, told] += 0.1
    maps = features.reshape(2, -1, HEIGHT // 8, WIDTH // 8).requires_grad_(True)
    loss, _ = readout_loss(maps, joints, depths, visibility, HEIGHT, EXACT)
    (gradient,) = torch.autograd.grad(loss, maps)
    rise = gradient.reshape(2, 17, JOINT_CHANNELS, -1).sum(-1)
    doubts = {DOUBT, BONE_DOUBT, *range(JOINT_CHANNELS)[TOWARDS_DOUBT]}
    assert (rise[:, :, doubted] < 0).all(), "an error above the expected one raises the doubt"
    for other in doubts - {doubted}:
        assert (rise[:, :, other] > 0).all(), "none at all lowers it"


def test_the_network_learns_to_tell() -> None:
    torch.manual_seed(0)
    network = LightCpn(TINY).train()
    images = torch.rand(4, 3, HEIGHT, WIDTH)
    joints, depths = torch.rand(4, 17, 2) * 40, torch.randn(4, 17) * 0.2
    visibility = torch.where(torch.rand(4, 17) < 0.5, VISIBLE, HIDDEN).to(torch.uint8)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(60):
        features = network.training_outputs(images).features
        loss, _ = readout_loss(features, joints, depths, visibility, HEIGHT, EXACT)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
