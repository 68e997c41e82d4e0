"""What the 2D networks learn from: looks, crops of people, whole pictures with boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import UserError
from engines.skeleton import MIRROR
from picture_scenes import box_scene, write_scenes
from rendered_scenes import marker_scene
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE, Scene, scene_path, write_scene
from tools.training.detector_samples import (
    IGNORED,
    NOBODY,
    PERSON,
    DetectorVariety,
    PictureSource,
    whole_picture,
)
from tools.training.looks import blur_disc, cover, vary_look
from tools.training.pose2d_samples import CropSource, PoseVariety, plain_crop
from tools.training.sample_stream import SampleStream
from tools.training.scene_person import person_of
from walking import walking_clip

PLAIN = PoseVariety(
    scale=0,
    shift=0,
    turned_share=0,
    half_share=0,
    board_share=0,
    cover_share=0,
    loose_share=0,
    faceless_share=0,
    look=0,
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of both kinds for every split."""
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="session")
def crops() -> Scene:
    return marker_scene(walking_clip(4, 1).astype(np.float32), 2)


def source(data: Path, variety: PoseVariety) -> CropSource:
    return CropSource(data, "train", 64, 48, variety)


def test_a_joint_behind_the_camera_is_outside_the_crop_and_nowhere_near(
    crops: Scene, tmp_path: Path
) -> None:
    """It has no place in the picture (NaN), which once went through a network and crashed it."""
    joints, visibility = crops.joints_px.copy(), crops.visibility.copy()
    joints[:, 0, 3], visibility[:, 0, 3] = np.nan, OUTSIDE
    scene = replace(crops, joints_px=joints, visibility=visibility)
    write_scene(scene, scene_path(tmp_path / "train", scene.kind, 0))
    drawn = source(tmp_path, PoseVariety())
    rng = np.random.default_rng(0)
    for sample in (drawn.draw(rng) for _ in range(20)):
        assert np.isfinite(sample.joints).all() and np.isfinite(sample.depths).all()
    for index in range(len(scene)):
        sample = plain_crop(scene, index, 64, 48)
        assert sample.visibility[3] == OUTSIDE and np.abs(sample.joints[3]).max() > 500


# ---- looks


@given(st.integers(0, 2**32), st.integers(16, 70), st.integers(16, 70))
@settings(max_examples=60, deadline=None)
def test_looks_keep_size_and_move_nothing(seed: int, height: int, width: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2] = 255
    varied = vary_look(picture, np.random.default_rng(seed))
    assert varied.shape == picture.shape and varied.dtype == np.uint8
    light = varied.astype(float).mean((1, 2))
    # Still lighter above than below, unless it is all dark or all light now.
    assert light[: height // 3].mean() >= light[-height // 3 :].mean() - 12


def test_a_look_of_no_strength_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert np.array_equal(vary_look(picture, np.random.default_rng(1), 0.0), picture)


def test_spoilt_pictures_are_as_frequent_as_asked_whatever_the_strength() -> None:
    edges = np.tile(np.repeat(np.arange(8) % 2, 4)[None, :, None] * 120 + 60, (32, 1, 3))
    picture = edges.astype(np.uint8)

    def changed_rows(spoilt: float) -> float:
        """Share of pictures whose rows, all the same before, differ: by light, grain, JPEG."""
        looks = (
            vary_look(picture, np.random.default_rng(seed), 0.2, spoilt) for seed in range(300)
        )
        return float(np.mean([np.ptp(look.astype(int), axis=0).max() > 0 for look in looks]))

    assert changed_rows(0.0) == 0
    assert 0.2 < changed_rows(0.5) < 0.55 < changed_rows(1.0) < 0.9


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_cover_says_what_it_covers(seed: int) -> None:
    picture = np.full((60, 40, 3), 77, np.uint8)
    covered = cover(picture, np.random.default_rng(seed), None)
    assert (picture[~covered] == 77).all()
    assert covered.mean() < 0.5


@given(
    st.integers(0, 2**32),
    st.floats(-30, 70),
    st.floats(-30, 90),
    st.floats(0, 40),
)
@settings(max_examples=80, deadline=None)
def test_a_blurred_disc_loses_detail_and_nothing_else_changes(
    seed: int, x: float, y: float, radius: float
) -> None:
    before = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    after = before.copy()
    blur_disc(after, np.array((x, y), np.float32), radius, np.random.default_rng(seed))
    rows, columns = np.ogrid[:60, :40]
    inside = np.hypot(columns + 0.5 - x, rows + 0.5 - y) <= radius
    assert np.array_equal(after[~inside], before[~inside])
    if inside.sum() > 500:
        assert after[inside].std() < 0.6 * before[inside].std()


# ---- crops


def test_a_plain_crop_shows_each_joint_where_its_label_says(crops: Scene) -> None:
    from marker_networks import joint_colours

    sample = plain_crop(crops, 3, 256, 192)
    assert sample.picture.shape == (256, 192, 3)
    colours = 255 * joint_colours()
    for joint in (3, 6, 13, 16):  # nothing is drawn over the outer ones
        x, y = (int(v) for v in sample.joints[joint])
        seen = sample.picture[y, x].astype(float)
        assert np.abs(seen - colours[joint]).max() < 90, joint


def test_a_mirrored_crop_exchanges_left_and_right(data: Path, crops: Scene) -> None:
    from marker_networks import joint_colours

    colours = 255 * joint_colours()
    drawn = source(data, PLAIN)
    exchanged = 0
    for seed in range(12):
        sample = drawn.draw(np.random.default_rng(seed))
        x, y = (int(v) for v in sample.joints[6])
        seen = sample.picture[y, x].astype(float)
        own, other = (np.abs(seen - colours[j]).max() for j in (6, MIRROR[6]))
        exchanged += other < own
    assert 0 < exchanged < 12


def test_joints_follow_scale_turn_and_shift(data: Path) -> None:
    wild = PoseVariety(turned_share=1.0, half_share=0.3, board_share=0, cover_share=0, look=0)
    drawn = source(data, wild)
    spread = []
    for seed in range(30):
        sample = drawn.draw(np.random.default_rng(seed))
        inside = ((sample.joints >= 0) & (sample.joints < (48, 64))).all(1)
        assert (sample.visibility[~inside] == OUTSIDE).all()
        assert (sample.visibility[inside] == VISIBLE).all()
        length = np.linalg.norm(sample.joints[0] - sample.joints[8]) / sample.stature
        spread.append(length)
    # Lengths in body heights are the same whatever the crop: same person, same distance nearly.
    assert np.std(spread) / np.mean(spread) < 0.25


def test_boxes_that_reach_too_far_only_move_the_crop(data: Path) -> None:
    from marker_networks import joint_colours

    colours = 255 * joint_colours()
    loose = source(data, replace(PLAIN, loose_share=1.0))
    tight = source(data, PLAIN)
    larger = 0
    for seed in range(20):
        sample = loose.draw(np.random.default_rng(seed))
        larger += sample.stature < 0.95 * tight.draw(np.random.default_rng(seed)).stature
        x, y = (int(v) for v in sample.joints[8])
        if 1 <= x < 47 and 1 <= y < 63 and sample.stature > 30:
            around = sample.picture[y - 1 : y + 2, x - 1 : x + 2].astype(float)
            assert np.abs(around - colours[8]).max(-1).min() < 90
    assert larger > 5


def test_a_head_without_a_face_keeps_its_labels(data: Path) -> None:
    faceless = source(data, replace(PLAIN, faceless_share=1.0))
    for seed in range(10):
        seen = source(data, PLAIN).draw(np.random.default_rng(seed))
        hidden = faceless.draw(np.random.default_rng(seed))
        changed = (seen.picture != hidden.picture).any(-1)
        assert np.array_equal(seen.joints, hidden.joints)
        assert np.array_equal(seen.visibility, hidden.visibility)
        places = np.argwhere(changed)[:, ::-1] + 0.5
        away = np.linalg.norm(places - seen.joints[[9, 10]].mean(0), axis=1)
        assert len(away) > 0 and away.max() <= 0.08 * float(seen.stature) + 1


def test_covered_joints_are_hidden(data: Path) -> None:
    variety = PoseVariety(cover_share=1.0, half_share=0, look=0)
    drawn = source(data, variety)
    seen = np.concatenate([drawn.draw(np.random.default_rng(s)).visibility for s in range(30)])
    assert 0.01 < float((seen == HIDDEN).mean()) < 0.6


def test_the_same_seed_gives_the_same_batch(data: Path) -> None:
    batches = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(4)
        batches.append(SampleStream(source(data, PoseVariety()).draw, 3, 0, generator).draw())
    assert torch.equal(torch.as_tensor(batches[0].picture), torch.as_tensor(batches[1].picture))


def test_processes_make_samples_ahead(data: Path) -> None:
    generator = torch.Generator().manual_seed(4)
    batch = SampleStream(source(data, PLAIN).draw, 3, 1, generator).draw()
    here = SampleStream(source(data, PLAIN).draw, 3, 0, torch.Generator().manual_seed(4)).draw()
    assert torch.equal(torch.as_tensor(batch.joints), torch.as_tensor(here.joints))


def test_stature_is_the_person_standing(crops: Scene) -> None:
    person = person_of(crops, 0)
    tall = person.joints[:, 1].max() - person.joints[:, 1].min()
    # The stick person stands 1.64 m from ankle to head, of a stature said to be 1.75 m.
    assert 0.8 < tall / person.stature < 1.05


# ---- pictures


def test_whole_pictures_are_letterboxed_with_their_people() -> None:
    scene = box_scene([[(100, 50, 180, 230), (0, 0, 6, 6)], []])
    sample = whole_picture(scene, 0, 256, 256)
    assert (sample.picture[:32] == 127).all() and (sample.picture[-32:] == 127).all()
    assert sample.kinds.tolist()[:3] == [PERSON, IGNORED, NOBODY]
    np.testing.assert_allclose(sample.boxes[0], [80, 72, 144, 216], atol=0.6)
    x0, y0, x1, y1 = sample.boxes[0].astype(int)
    assert sample.picture[y0 + 3 : y1, x0 + 3 : x1 - 3].mean() > 180
    assert (whole_picture(scene, 1, 256, 256).kinds == NOBODY).all()


def test_varied_pictures_keep_boxes_on_people(data: Path) -> None:
    variety = DetectorVariety(crops_share=0, cover_share=0, look=0, mosaic_share=0.5)
    drawn = PictureSource(data, "train", 128, 128, variety)
    people = 0
    for seed in range(40):
        sample = drawn.draw(np.random.default_rng(seed))
        assert sample.picture.shape == (128, 128, 3)
        for box in sample.boxes[sample.kinds == PERSON]:
            x0, y0, x1, y1 = np.round(box).astype(int)
            assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
            inside = sample.picture[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
            people += 1
            if inside.size > 3 * 60:
                assert inside.mean() > 170
    assert people > 15


def test_scenes_without_anybody_are_refused(crops: Scene, tmp_path: Path) -> None:
    import dataclasses

    nobody = dataclasses.replace(crops, pixels=np.zeros_like(crops.pixels))
    write_scene(nobody, scene_path(tmp_path / "train", "crops", 0))
    with pytest.raises(UserError, match="seen well"):
        source(tmp_path, PLAIN).draw(np.random.default_rng(0))
