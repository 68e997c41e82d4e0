"""What the image context is taught about joints: depth and visibility, read at their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.networks.light_cpn import LightCpn, LightCpnConfig
from engines.skeleton import MIRROR
from rendered_scenes import marker_scene
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE, Scene, scene_path, write_scene
from tools.training.joint_readout import PoseStudent, ReadoutConfig, readout_loss
from tools.training.pose2d_samples import CropSource, PoseVariety, plain_crop
from tools.training.scene_person import person_of
from walking import walking_clip

TINY = LightCpnConfig(64, 48, 8, (8, 8, 8, 8), (1, 1, 1, 1), 2, 4)
EXACT = ReadoutConfig(scatter=0.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return marker_scene(walking_clip(4, 1).astype(np.float32), 2)


def test_depths_are_along_the_axis_and_in_body_heights(scene: Scene) -> None:
    for index in range(len(scene)):
        camera, instant = scene.view[index], scene.instant[index]
        seen = scene.joints_m[instant] @ scene.camera_R[camera].T + scene.camera_t[camera]
        metres = person_of(scene, index).depths * scene.stature_m
        np.testing.assert_allclose(metres, seen[:, 2] - seen[0, 2], atol=1e-4)
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


def test_features_are_read_at_the_joints() -> None:
    student = PoseStudent(LightCpn(TINY))
    x, y = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="xy")
    features = torch.stack((x + 0.5, y + 0.5, torch.ones_like(x), torch.zeros_like(x)))[None]
    with torch.no_grad():
        student.matrix.zero_()
        student.matrix[:, 0, 0] = 1.0  # depth answers x, visibility y
        student.matrix[:, 1, 1] = 1.0
    cells = torch.rand(1, 17, 2) * torch.tensor((10.0, 14.0)) + 1
    depth, seen = student.read(features, cells)
    torch.testing.assert_close(depth, cells[..., 0])
    torch.testing.assert_close(seen, cells[..., 1])


def test_joints_outside_cost_nothing_and_right_answers_least() -> None:
    torch.manual_seed(0)
    student = PoseStudent(LightCpn(TINY))
    features = torch.randn(2, 4, 16, 12)
    joints = torch.rand(2, 17, 2) * 40
    visibility = torch.full((2, 17), VISIBLE, dtype=torch.uint8)
    visibility[:, 3] = HIDDEN
    depths = student.read(features, joints / 4)[0].detach()
    right, off = readout_loss(student, features, joints, depths, visibility, 64, EXACT)
    assert off < 1e-6
    wrong = depths.clone()
    wrong[:, 5] += 0.5
    worse, off = readout_loss(student, features, joints, wrong, visibility, 64, EXACT)
    assert worse > right and off > 0.02
    visibility[:, 5] = OUTSIDE
    one = readout_loss(student, features, joints, depths, visibility, 64, EXACT)
    other = readout_loss(student, features, joints, wrong, visibility, 64, EXACT)
    torch.testing.assert_close(one, other)


def test_the_context_learns_depth() -> None:
    """The network below learns what the readout asks for, not the readout alone."""
    torch.manual_seed(0)
    student = PoseStudent(LightCpn(TINY)).train()
    student.matrix.requires_grad_(False)
    student.bias.requires_grad_(False)
    images = torch.rand(4, 3, 64, 48)
    joints = torch.rand(4, 17, 2) * 40
    depths = torch.randn(4, 17) * 0.2
    visibility = torch.where(torch.rand(4, 17) < 0.5, VISIBLE, HIDDEN).to(torch.uint8)
    optimizer = torch.optim.Adam(student.inner.parameters(), 0.01)
    losses = []
    for _ in range(60):
        features = student.inner.training_outputs(images).features
        loss, _ = readout_loss(student, features, joints, depths, visibility, 64, EXACT)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
