"""What the lifter learns from: people, their bodies, cameras that look at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import UserError
from engines.skeleton import BODY_UNIT_BONE_LENGTH, MIRROR, PARENTS
from tests.lifter_training import CPU
from tools.training.bodies import BodyRanges, body_offsets, vary_bodies
from tools.training.lifter_data import TRAIN_SCENES, WindowSource
from tools.training.mocap import bone_length_sum, in_split, load_mocap, subject_of
from tools.training.rigs import RigRanges, random_rigs
from walking import walking_clip


def test_nobody_is_in_two_splits() -> None:
    names = ["cmu_01_01", "cmu_02_05", "cmu_13_26", "indian_07#3", "salsa_18", "cmu_10_01"]
    names += [f"cseq_train_{clip}_1" for clip in ("jumping_jumping", "soccer_soccer")]
    for name in names:
        splits = [split for split in ("train", "validation", "test") if in_split(name, split)]
        assert len(splits) <= 1
    assert subject_of("cmu_05_06#1") == "cmu_05"
    assert in_split("cmu_13_26", "train") and in_split("cseq_train_soccer_soccer_1", "test")
    assert in_split("cseq_train_jumping_jumping_1", "train"), "a recording of subject 13"
    assert in_split("cseq_train_walking_walking_1", "validation"), "a recording of subject 2"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "not found"),
        (b"not a zip", "cannot be read"),
        ({"xyz": np.zeros((4, 16, 3)), "offsets": [0, 4], "names": ["cmu_03_01"]}, "17"),
        ({"xyz": np.zeros((4, 17, 3)), "offsets": [0, 9], "names": ["cmu_03_01"]}, "offsets"),
        ({"xyz": np.full((4, 17, 3), np.nan), "offsets": [0, 4], "names": ["cmu_03_01"]}, "finite"),
        ({"xyz": np.zeros((4, 17, 3)), "offsets": [0, 4], "names": ["cmu_01_01"]}, "no clip"),
    ],
)
def test_bad_mocap_is_one_line(tmp_path: Path, content: object, word: str) -> None:
    path = tmp_path / "mocap.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    with pytest.raises(UserError, match=word) as error:
        load_mocap(path, "train")
    assert "\n" not in str(error.value) and "mocap.npz" in str(error.value)


def test_too_short_clips_are_refused(mocap: Path) -> None:
    with pytest.raises(UserError, match="longer clips"):
        load_mocap(mocap, "train").window_starts(1000)


def test_cameras_look_at_the_person_and_are_rotations() -> None:
    rig = random_rigs(64, 5, RigRanges(), torch.Generator().manual_seed(0))
    identity = rig.rotation @ rig.rotation.transpose(-1, -2)
    assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rig.rotation), torch.ones(64, 5), atol=1e-5)
    person = torch.tensor([0.0, 0.0, 0.95]).expand(64, 1, 1, 1, 3)
    assert (rig.to_camera(person)[..., 2] > 1.0).all()
    assert (rig.rotation[..., 1, 2] < 0.1).all(), "y points down"
    assert float(rig.position[..., 2].min()) >= 0.4 and float(rig.position[..., 2].max()) <= 2.8


def test_windows_keep_units_symmetry_and_truth(mocap: Path) -> None:
    source = WindowSource(load_mocap(mocap, "train"), 6, TRAIN_SCENES, CPU)
    batch = source.draw(32, 3, torch.Generator().manual_seed(1))
    assert batch.keypoints.shape == (32, 6, 3, 17, 3)
    assert torch.isfinite(batch.keypoints).all()
    assert (batch.target[..., 0, :] == 0).all()
    length = bone_length_sum(batch.target).mean((1, 2))
    assert torch.allclose(length, torch.full_like(length, BODY_UNIT_BONE_LENGTH), atol=1e-3)
    bones = batch.world - batch.world[:, :, [max(parent, 0) for parent in PARENTS]]
    lengths = bones.norm(dim=-1)
    # Sides differ only by the small shifts of spine and thorax to one side.
    uneven = (lengths - lengths[..., list(MIRROR)]).abs().mean() / lengths.mean()
    assert float(uneven) < 0.03
    spread = lengths[..., 2].mean(1).std() / lengths[..., 2].mean()
    assert float(spread) > 0.03, "bone lengths vary between people"


def test_the_same_seed_gives_the_same_data(mocap: Path) -> None:
    source = WindowSource(load_mocap(mocap, "train"), 6, TRAIN_SCENES, CPU)
    first, second = (source.draw(4, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.keypoints, second.keypoints)
    assert torch.equal(first.target, second.target)


def bones_of(joints: torch.Tensor) -> torch.Tensor:
    return (joints - joints[..., [max(parent, 0) for parent in PARENTS], :]).norm(dim=-1)


def test_without_variety_bodies_stay_as_they_are() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None]
    kept = vary_bodies(body, BodyRanges(bone_sigma=0.0), torch.Generator().manual_seed(0))
    assert torch.allclose(kept, body, atol=1e-6)


def test_varied_bodies_have_even_sides_and_the_widths_asked_for() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None].expand(64, -1, -1, -1, -1)
    ranges = BodyRanges(shoulder_m=(0.11, 0.24), hip_m=(0.07, 0.12), trunk=(0.8, 1.1))
    varied = vary_bodies(body, ranges, torch.Generator().manual_seed(0))
    assert torch.allclose(varied[..., 0, :], body[..., 0, :])
    lengths = bones_of(varied)
    assert torch.allclose(lengths, lengths[..., list(MIRROR)], rtol=1e-4)
    assert torch.allclose(lengths, lengths[:, :1], rtol=1e-3), "the same all through a window"
    shoulders = lengths[:, 0, 0, 11] / bones_of(body)[:, 0, 0].sum(-1) * 4.2
    assert 0.11 <= float(shoulders.min()) < 0.13 and 0.22 < float(shoulders.max()) <= 0.24


def test_turned_limbs_keep_their_lengths() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None].expand(16, -1, -1, -1, -1)
    ranges = BodyRanges(bone_sigma=0.0, turn_share=1.0, tilt_share=1.0)
    turned = vary_bodies(body, ranges, torch.Generator().manual_seed(0))
    assert torch.allclose(bones_of(turned), bones_of(body), atol=1e-5)
    assert float((turned - body).norm(dim=-1).mean()) > 0.1


def test_shifted_joints_are_mirrored_and_follow_the_body() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None].expand(16, -1, -1, -1, -1)
    shifted = vary_bodies(
        body, BodyRanges(bone_sigma=0.0, structure=1.0), torch.Generator().manual_seed(0)
    )
    lengths = bones_of(shifted)
    assert torch.allclose(lengths[..., 4], lengths[..., 1], atol=1e-4)
    assert float((shifted - body)[..., [7, 8, 9, 10, 11], :].norm(dim=-1).min()) > 1e-4
    kept = [0, 3, 6, 13, 16]
    assert torch.allclose(shifted[..., kept, :], body[..., kept, :], atol=1e-5)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    local = 0.05 * torch.randn(16, 17, 3, generator=torch.Generator().manual_seed(1))
    turned = body_offsets(body @ quarter.T, local)
    assert torch.allclose(turned, body_offsets(body, local) @ quarter.T, atol=1e-5)


def test_people_of_whom_there_is_much_are_drawn_less_often(mocap: Path) -> None:
    people = load_mocap(mocap, "train")
    weights = people.window_weights(20)
    assert weights.shape == people.window_starts(20).shape
    few, many = 90 - 19, 180 - 19
    assert float(weights[-1] / weights[0]) == pytest.approx((few / many) ** 0.5, rel=1e-4)
