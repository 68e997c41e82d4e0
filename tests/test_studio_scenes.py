"""Scenes for training: lens, labels, files, and what is kept apart between the splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import UserError
from engines.skeleton import JOINT_COUNT
from tools.studio.assets import Assets
from tools.studio.camera import Window, clip_matrix, look_at, project, straightened, to_camera
from tools.studio.casting import TRAINING, random_outfit
from tools.studio.renderer import Renderer
from tools.studio.scenes import draw_motion, make_frames, make_sequence
from tools.studio.shards import (
    HIDDEN,
    OUTSIDE,
    PICTURE_SIZES,
    VISIBLE,
    Scene,
    Split,
    list_scenes,
    packed,
    read_scene,
    scene_path,
    write_scene,
)
from tools.studio.stagecraft import Studio, read_takes
from tools.studio.varied_motion import VARIED_SHARE
from tools.training.mocap import TEST_SUBJECTS, subject_of

numbers = st.floats(-1, 1)


@given(st.floats(-0.15, 0.08), numbers, numbers, st.floats(45, 85))
def test_lens_is_undone(k1: float, x: float, y: float, fov: float) -> None:
    camera = replace(look_at((0, -3, 1), (0, 0, 1), fov, 640, 480), k1=k1)
    half = np.tan(np.radians(fov) / 2)
    point = np.array([3 * half * x, 0.0, 1.0 + 3 * half * 0.75 * y], np.float32)
    straight = project(replace(camera, k1=0.0), point)
    np.testing.assert_allclose(straightened(camera, project(camera, point)), straight, atol=1.5)


@given(numbers, numbers, st.floats(0.2, 1.5))
def test_window_is_a_part_of_the_picture(x: float, y: float, share: float) -> None:
    camera = look_at((0, -3, 1), (0, 0, 1), 60, 640, 480)
    window = Window(300 * x, 200 * y, 640 * share, 480 * share)
    point = np.array([0.4, 0.3, 1.2], np.float32)
    pixel = project(camera, point)
    clip = clip_matrix(camera, window) @ np.array([*point, 1.0], np.float32)
    seen = clip[:2] / clip[3]
    wanted = (pixel - [window.left, window.top]) / [window.width, window.height]
    np.testing.assert_allclose((seen[0] + 1) / 2, wanted[0], atol=1e-4)
    np.testing.assert_allclose((1 - seen[1]) / 2, wanted[1], atol=1e-4)


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    shared: Path = request.getfixturevalue("shared_dir")
    return shared / "data"


@pytest.fixture(scope="module")
def assets(folder: Path) -> Assets:
    return Assets(folder / "mpfb")


def _studio(folder: Path, assets: Assets, kind: str, split: Split = "test") -> Iterator[Studio]:
    renderer = Renderer(*PICTURE_SIZES[kind], samples=0, shadow=256, texture=64)  # type: ignore[index]
    takes = read_takes(folder / "mocap" / "cmu_mocap17_30fps.npz", split)
    yield Studio(assets, takes, renderer, split)
    renderer.release()


@pytest.fixture(scope="module")
def frames(folder: Path, assets: Assets) -> Scene:
    for studio in _studio(folder, assets, "frames"):
        return make_frames(studio, 7)
    raise AssertionError


@pytest.fixture(scope="module")
def sequences(folder: Path, assets: Assets) -> tuple[Scene, Scene]:
    for studio in _studio(folder, assets, "crops"):
        return make_sequence(studio, 5), make_sequence(studio, 5)
    raise AssertionError


def test_labels_of_whole_pictures_agree_with_each_other(frames: Scene) -> None:
    counts = [int((~np.isnan(frames.joints_px[n, :, 0, 0])).sum()) for n in range(len(frames))]
    assert {0, 1} <= set(counts), "some rooms are empty, some are not"
    for n in range(len(frames)):
        picture, mask = frames.picture(n), frames.mask(n)
        assert picture.shape == (240, 320, 3) and mask.shape == (240, 320)
        assert picture.std() > 1
        assert set(np.unique(mask)) <= {0, *range(1, 1 + counts[n])}
        scale = frames.picture_size[0] / 320
        for person in range(counts[n]):
            own = mask == person + 1
            assert own.sum() == frames.pixels[n, person]
            if own.any():
                rows, columns = own.nonzero()
                box = frames.boxes[n, person] / scale
                tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(box, tight, atol=1e-3)
            else:
                assert np.isnan(frames.boxes[n, person]).all()
            seen = frames.visibility[n, person] == VISIBLE
            at = frames.joints_px[n, person, seen] / scale
            for x, y in at:
                around = own[max(int(y) - 2, 0) : int(y) + 3, max(int(x) - 2, 0) : int(x) + 3]
                assert around.any(), "a joint in plain sight lies on its person"


def test_sequence_is_what_its_cameras_see(sequences: tuple[Scene, Scene]) -> None:
    scene = sequences[0]
    views, instants = len(scene.camera_t), len(scene.instant_times_s)
    assert 3 <= views <= 5 and scene.sequence
    steps = np.diff(scene.instant_times_s) * 30
    np.testing.assert_allclose(steps, steps[0], atol=1e-6)
    assert scene.instant_times_s[-1] - scene.instant_times_s[0] >= 26 / 30
    assert np.abs(scene.picture_times_s - scene.instant_times_s[scene.instant]).max() <= 0.0151
    assert len(scene) <= views * instants
    states = np.bincount(scene.visibility[:, 0].ravel(), minlength=3)
    assert states[VISIBLE] > states[HIDDEN] > 0 and states[OUTSIDE] >= 0
    # The joints move at most 15 ms away from those of the common instant.
    for n in range(0, len(scene), 5):
        view = int(scene.view[n])
        camera = replace(
            look_at((0, -1, 0), (0, 0, 0), 60, 4, 4),
            R=scene.camera_R[view],
            t=scene.camera_t[view],
            K=scene.camera_K[view],
            k1=float(scene.camera_k1[view]),
        )
        joints = scene.joints_m[scene.instant[n]]
        if (to_camera(camera, joints)[:, 2] > 0.5).all():
            apart = np.linalg.norm(project(camera, joints) - scene.joints_px[n, 0], axis=1)
            size = scene.regions[n, 3] - scene.regions[n, 1]
            assert np.median(apart) < 0.06 * size


def test_same_seed_makes_the_same_scene(sequences: tuple[Scene, Scene]) -> None:
    first, second = sequences
    np.testing.assert_array_equal(first.joints_px, second.joints_px)
    np.testing.assert_array_equal(first.jpeg, second.jpeg)
    np.testing.assert_array_equal(first.mask_png, second.mask_png)


def test_only_who_is_learned_from_moves_as_nobody_was_captured(folder: Path) -> None:
    """Most of the motions to train on were never captured; those to test on all were."""
    takes = read_takes(folder / "mocap" / "cmu_mocap17_30fps.npz", "train")
    splits: tuple[Split, ...] = ("train", "validation", "test")
    varied = dict.fromkeys(splits, 0)
    for seed in range(60):
        captured, clip, start = takes.draw(np.random.default_rng(seed), 41)
        for split in splits:
            rng = np.random.default_rng(seed)
            mocap, piece = draw_motion(takes, split, seed, 40, rng)
            assert (piece.name, piece.stop - piece.start) == (captured.names[clip], 40)
            rows = mocap.clip(mocap.names.index(piece.name))[piece.start : piece.stop + 1]
            off = np.abs(rows - captured.clip(clip)[start : start + 41]).max()
            varied[split] += bool(off > 0.01)
    assert varied["train"] / 60 == pytest.approx(VARIED_SHARE, abs=0.15)
    assert varied["validation"] == varied["test"] == 0


def test_scene_survives_its_file(frames: Scene, tmp_path: Path) -> None:
    path = scene_path(tmp_path / "test", "frames", 7)
    write_scene(frames, path)
    again = read_scene(path)
    assert list_scenes(tmp_path / "test", "frames") == (path,)
    assert (again.kind, again.sequence, again.split, again.seed) == ("frames", False, "test", 7)
    np.testing.assert_array_equal(again.picture(3), frames.picture(3))
    np.testing.assert_array_equal(again.boxes, frames.boxes)


def small_scene() -> Scene:
    """A scene of two grey pictures, without any drawing."""
    picture = np.frombuffer(b"no picture", np.uint8)
    jpeg, offsets = packed([picture, picture])
    zeros = np.zeros
    return Scene(
        kind="frames",
        sequence=False,
        split="train",
        seed=1,
        stature_m=1.7,
        picture_size=np.array([640, 480], np.int32),
        instant=zeros(2, np.int32),
        view=zeros(2, np.int32),
        picture_times_s=zeros(2),
        instant_times_s=zeros(1),
        regions=zeros((2, 4), np.float32),
        joints_px=zeros((2, 3, JOINT_COUNT, 2), np.float32),
        visibility=zeros((2, 3, JOINT_COUNT), np.uint8),
        boxes=zeros((2, 3, 4), np.float32),
        pixels=zeros((2, 3), np.int32),
        joints_m=zeros((1, JOINT_COUNT, 3), np.float32),
        camera_R=zeros((1, 3, 3), np.float32),
        camera_t=zeros((1, 3), np.float32),
        camera_K=zeros((1, 3, 3), np.float32),
        camera_k1=zeros(1, np.float32),
        jpeg=jpeg,
        jpeg_offsets=offsets,
        mask_png=jpeg,
        mask_offsets=offsets,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": np.ones(2, np.int32)}, "not there"),
        ({"boxes": np.zeros((2, 3, 3), np.float32)}, "boxes"),
        ({"instant": np.zeros(2, np.int64)}, "instant"),
        ({"jpeg_offsets": np.array([0, 5, 999], np.int64)}, "fill the file"),
        ({"jpeg_offsets": np.array([0, 30, 20], np.int64)}, "fill the file"),
        ({"kind": "films"}, "films"),
    ],
)
def test_scene_that_does_not_fit_together_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "frames-000001.safetensors"
    write_scene(replace(small_scene(), **change), path)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        read_scene(path)


@pytest.mark.parametrize("size", [0, 7, 200, -1])
def test_damaged_file_is_one_line(size: int, tmp_path: Path) -> None:
    path = tmp_path / "frames-000001.safetensors"
    write_scene(small_scene(), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="damaged") as caught:
        read_scene(path)
    assert "\n" not in str(caught.value)


def test_damaged_picture_is_named() -> None:
    with pytest.raises(UserError, match="picture 1 is damaged"):
        small_scene().picture(1)
    with pytest.raises(UserError, match="mask 0 is damaged"):
        small_scene().mask(0)


def test_missing_scene_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.safetensors: no such scene"):
        read_scene(tmp_path / "none.safetensors")


def test_clothes_are_kept_for_the_test(assets: Assets) -> None:
    rng = np.random.default_rng(0)
    worn = [random_outfit(rng, assets, bool(i % 2), TRAINING) for i in range(300)]
    suits = {outfit.suit for outfit in worn}
    assert "male_casualsuit02" not in suits and "female_sportsuit01" not in suits
    assert len(suits) >= 7 and None in suits
    tested = {
        random_outfit(rng, assets, bool(i % 2), replace(TRAINING, split="test")).suit
        for i in range(200)
    }
    assert "male_casualsuit02" in tested


def test_motions_are_kept_for_the_test(folder: Path) -> None:
    path = folder / "mocap" / "cmu_mocap17_30fps.npz"
    rng = np.random.default_rng(0)
    train, test = read_takes(path, "train"), read_takes(path, "test")
    for takes, expected in ((train, False), (test, True)):
        for _ in range(40):
            mocap, clip, start = takes.draw(rng, 30)
            assert (subject_of(mocap.names[clip]) in TEST_SUBJECTS) == expected
            assert start + 30 <= len(mocap.clip(clip))
