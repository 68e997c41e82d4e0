"""Rendered sequences as the 2D front end sees them, and their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from clip_pictures import clip_pictures
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.errors import UserError
from engines.model_files import SHIPPED_FOLDER
from engines.networks.joint_context import NEIGHBOURS, TOWARDS, TOWARDS_UNIT
from engines.skeleton import MIRROR
from marker_networks import joint_colours
from rendered_scenes import WIDTH, marker_scene
from tools.studio.shards import PICTURE_SIZES, Scene, packed
from tools.training.feature_pass import FeaturePass
from tools.training.feature_scenes import (
    FeatureScene,
    load_feature_scenes,
    read_feature_scene,
    save_feature_scene,
)
from tools.training.mirrored_scenes import mirrored_scene
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


def test_a_mirrored_scene_is_the_mirror_image(walker: FeatureScene) -> None:
    mirrored = mirrored_scene(walker)
    for name in ("keypoints", "truth"):
        plain, turned = getattr(walker, name), getattr(mirrored, name)
        assert np.array_equal(turned[..., MIRROR, 0], -plain[..., 0], equal_nan=True)
        assert np.array_equal(turned[..., MIRROR, 1:], plain[..., 1:], equal_nan=True)
    relative = walker.joints_m - walker.joints_m[:, :1]
    camera = np.einsum("vij,tkj->tvki", walker.rotation, relative)
    relative = mirrored.joints_m - mirrored.joints_m[:, :1]
    other = np.einsum("vij,tkj->tvki", mirrored.rotation, relative)
    assert np.allclose(other, camera[:, :, MIRROR] * (-1, 1, 1), atol=1e-5)
    assert np.allclose(np.linalg.det(mirrored.rotation), 1, atol=1e-5)
    again = mirrored_scene(mirrored)
    for field in dataclasses.fields(FeatureScene):
        mine, other = getattr(walker, field.name), getattr(again, field.name)
        assert np.array_equal(mine, other, equal_nan=True) if field.name != "digest" else True


def test_the_mirror_image_is_what_would_be_found_in_a_mirror() -> None:
    """The shipped network and a person of the demo's clip."""
    through = FeaturePass(OnnxRuntimeBackend(SHIPPED_FOLDER / "pose2d.onnx", 1))
    scene = _clip_scene()
    mirrored, other = mirrored_scene(through.see(scene)), through.see(_in_a_mirror(scene))
    found = (mirrored.keypoints[..., 2] > 0.3) & (other.keypoints[..., 2] > 0.3)
    assert found.mean() > 0.5
    # The boxes that the two passes begin with differ by chance.
    pixels = np.abs(mirrored.keypoints - other.keypoints)[..., :2].max(-1) * WIDTH / 2
    assert np.median(pixels[found]) < 1.5
    mine, theirs = (part.context[found].astype(np.float32) for part in (mirrored, other))
    wrong = mirrored.context[:, :, list(MIRROR)][found].astype(np.float32)
    gap = np.abs(mine - theirs).mean()
    assert gap < 0.5 * np.abs(wrong - theirs).mean()
    for name in ("truth", "visibility", "joints_m", "rotation", "offset_s"):
        close = np.allclose(getattr(mirrored, name), getattr(other, name), 0, 2e-3, equal_nan=True)
        assert close, name
    assert np.median(np.abs(mirrored.crop - other.crop)) < 0.02


def test_the_crop_is_as_tall_as_what_is_told_in_it_says() -> None:
    """Neighbours are told in tenths of it, and lie apart as far as they were found."""
    through = FeaturePass(OnnxRuntimeBackend(SHIPPED_FOLDER / "pose2d.onnx", 1))
    scene = through.see(_clip_scene())
    keypoints = torch.from_numpy(scene.keypoints)
    told = torch.from_numpy(scene.context.astype(np.float32))[..., TOWARDS].unflatten(-1, (2, 2))
    neighbours = torch.tensor(NEIGHBOURS)
    apart = keypoints[..., neighbours, :2] - keypoints[..., :, None, :2]
    found = keypoints[..., 2] > 0
    both = (found[..., None] & found[..., neighbours])[..., None]
    tenth = TOWARDS_UNIT * torch.from_numpy(scene.crop)[..., None, None, None]
    along = torch.where(both, apart * told * tenth, 0.0).sum()
    wanted = torch.where(both, (told * tenth).square(), 0.0).sum()
    assert float(along / wanted) == pytest.approx(1.0, abs=0.08)


def _in_a_mirror(scene: Scene) -> Scene:
    """Mirrored pictures of a mirrored person and cameras."""
    width, sides = int(scene.picture_size[0]), list(MIRROR)
    flip = np.array((-1.0, 1.0, 1.0), np.float32)

    def turned(boxes: np.ndarray) -> np.ndarray:
        return np.stack(
            (width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]), -1
        )

    pictures = [np.ascontiguousarray(scene.picture(n)[:, ::-1, ::-1]) for n in range(len(scene))]
    jpeg, offsets = packed([cv2.imencode(".png", picture)[1].ravel() for picture in pictures])
    places = scene.joints_px[:, :, sides].copy()
    places[..., 0] = width - places[..., 0]
    return dataclasses.replace(
        scene,
        jpeg=jpeg,
        jpeg_offsets=offsets,
        regions=turned(scene.regions),
        boxes=turned(scene.boxes),
        joints_px=places,
        visibility=scene.visibility[:, :, sides],
        joints_m=scene.joints_m[:, sides] * flip,
        camera_R=scene.camera_R * flip * flip[:, None],
    )


def _clip_scene() -> Scene:
    """A scene with pictures of a clip; its labels are of somebody else."""
    scene = marker_scene(walking_clip(6, 1), 1, seed=3)
    files = []
    for image in clip_pictures(1, 60, len(scene)):
        stored = cv2.resize(image[30:430, 190:490], PICTURE_SIZES["crops"])
        files.append(cv2.imencode(".jpg", stored)[1].ravel())
    jpeg, offsets = packed(files)
    regions = np.tile(np.array((190, 30, 490, 430), np.float32), (len(scene), 1))
    boxes = np.tile(np.array((215, 50, 465, 410), np.float32), (len(scene), 1, 1))
    return dataclasses.replace(scene, jpeg=jpeg, jpeg_offsets=offsets, regions=regions, boxes=boxes)


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
