"""Rendered sequences as the 2D front end sees them, and their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.errors import UserError
from engines.skeleton import MIRROR
from marker_networks import joint_colours
from rendered_scenes import WIDTH, marker_scene
from tools.training.feature_pass import FeaturePass
from tools.training.feature_scenes import (
    FeatureScene,
    load_feature_scenes,
    read_feature_scene,
    save_feature_scene,
)
from walking import walking_clip


@pytest.fixture(scope="module")
def feature_pass(marker_pose2d: Path) -> FeaturePass:
    return FeaturePass(OnnxRuntimeBackend(marker_pose2d / "pose2d.onnx", 1))


@pytest.fixture(scope="module")
def walker(feature_pass: FeaturePass) -> FeatureScene:
    return feature_pass.see(marker_scene(walking_clip(12, 0), 3))


def test_the_pass_finds_the_joints_and_their_context(walker: FeatureScene) -> None:
    found = walker.keypoints[..., 2] > 0
    there = np.isfinite(walker.offset_s)
    assert (~there).sum() == 3, "each camera lost a picture"
    assert not found[~there].any()
    assert found[there].mean() > 0.95
    pixels = np.linalg.norm(walker.keypoints[..., :2] - walker.truth, axis=-1) * WIDTH / 2
    # Discs of one colour are no Gaussian peaks: somewhere on them.
    assert np.median(pixels[found]) < 1.2
    colours = np.abs(walker.context[..., :3].astype(np.float32) - joint_colours()).max(-1)
    assert np.median(colours[found]) < 0.25
    assert np.abs(walker.offset_s[there]).max() <= 0.0151


def test_the_truth_is_what_the_cameras_saw(walker: FeatureScene) -> None:
    """Seen from straight ahead, picture and camera axes agree about left, right, up and down."""
    camera = np.einsum("vij,tkj->tvki", walker.rotation, walker.joints_m - walker.joints_m[:, :1])
    there = np.isfinite(walker.offset_s)
    shown = walker.truth - walker.truth[..., :1, :]
    for axis in (0, 1):
        together = np.corrcoef(camera[there][..., axis].ravel(), shown[there][..., axis].ravel())
        assert together[0, 1] > 0.97


def test_a_mirrored_scene_is_the_mirror_image(feature_pass: FeaturePass) -> None:
    scene = marker_scene(walking_clip(6, 1), 2, seed=3)
    plain, mirrored = feature_pass.see(scene), feature_pass.see(scene, mirror=True)
    flip = np.array([-1.0, 1.0], np.float32)
    assert np.allclose(mirrored.truth, plain.truth[:, :, MIRROR] * flip, atol=1e-5, equal_nan=True)
    relative = plain.joints_m - plain.joints_m[:, :1]
    camera = np.einsum("vij,tkj->tvki", plain.rotation, relative)
    relative = mirrored.joints_m - mirrored.joints_m[:, :1]
    other = np.einsum("vij,tkj->tvki", mirrored.rotation, relative)
    assert np.allclose(other, camera[:, :, MIRROR] * (-1, 1, 1), atol=1e-5)
    assert np.allclose(np.linalg.det(mirrored.rotation), 1, atol=1e-5)
    # Its pictures are mirrored too: the disc of a joint is where the other side's truth is.
    found = mirrored.keypoints[..., 2] > 0
    pixels = np.abs(mirrored.keypoints[..., :2] - plain.truth * flip).max(-1) * WIDTH / 2
    assert np.median(pixels[found]) < 1.2


def test_scenes_come_back_as_they_were(walker: FeatureScene, tmp_path: Path) -> None:
    save_feature_scene(walker, tmp_path / "train/one.safetensors")
    (back,) = load_feature_scenes(tmp_path, "train")
    for field in dataclasses.fields(FeatureScene):
        mine, other = getattr(walker, field.name), getattr(back, field.name)
        assert np.array_equal(mine, other, equal_nan=True) if field.name != "digest" else True
    assert back.digest == walker.digest


@pytest.mark.parametrize("damage", ["cut", "shape", "values"])
def test_damaged_scenes_are_one_line(walker: FeatureScene, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "scene.safetensors"
    broken = walker
    if damage == "shape":
        broken = dataclasses.replace(walker, rotation=walker.rotation[:1])
    if damage == "values":
        broken = dataclasses.replace(walker, joints_m=walker.joints_m * np.float32(np.nan))
    save_feature_scene(broken, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"scene\.safetensors") as error:
        read_feature_scene(path)
    assert "\n" not in str(error.value)


def test_scenes_of_two_networks_do_not_mix(walker: FeatureScene, tmp_path: Path) -> None:
    save_feature_scene(walker, tmp_path / "train/a.safetensors")
    save_feature_scene(
        dataclasses.replace(walker, digest="other"), tmp_path / "train/b.safetensors"
    )
    with pytest.raises(UserError, match="another pose network"):
        load_feature_scenes(tmp_path, "train")
    with pytest.raises(UserError, match="no scenes"):
        load_feature_scenes(tmp_path, "test")
