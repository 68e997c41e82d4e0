"""Errors of a 2D front end, as the lifter's training makes them."""

from __future__ import annotations

import pytest
import torch

from engines.skeleton import MIRROR
from tests.lifter_training import NO_ERRORS
from tools.training.keypoint_errors import KeypointErrors, observe
from tools.training.rigs import RigRanges, random_rigs
from walking import walking_clip


def still_windows(frames: int = 27) -> tuple[torch.Tensor, torch.Tensor, object]:
    rig = random_rigs(48, 4, RigRanges(framed=False), torch.Generator().manual_seed(0))
    person = torch.from_numpy(walking_clip(frames, 0)).float()
    camera = rig.to_camera(person[None, :, None].expand(48, -1, -1, -1, -1))
    return rig.project(camera), camera[..., 2], rig


def test_without_errors_joints_are_the_truth() -> None:
    xy, depth, rig = still_windows()
    seen = observe(xy, depth, rig, NO_ERRORS, torch.Generator().manual_seed(0))
    assert torch.equal(seen[..., :2], xy)
    assert (seen[..., 2] >= 0.3).all()


def test_noise_has_the_size_and_the_memory_asked_for() -> None:
    xy, depth, rig = still_windows()
    size = xy.amax(3).sub(xy.amin(3)).amax(-1).mean(1)[:, None, :, None, None]
    memory = []
    for share in (0.0, 1.0):
        model = KeypointErrors(
            sigma=(0.01, 0.01), slow_share=(share, share), sure=False, outlier_share=0.0,
            missing_views=0.0, lost_limbs=0.0, swap_share=0.0, absent_share=0.0,
        )  # fmt: skip
        seen = observe(xy, depth, rig, model, torch.Generator().manual_seed(0))
        error = (seen[..., :2] - xy) / size
        assert float(error.std()) == pytest.approx(0.01, rel=0.1)
        memory.append(float((error[:, 1:] * error[:, :-1]).mean() / error.square().mean()))
    assert memory[0] == pytest.approx(0.0, abs=0.05)
    assert memory[1] == pytest.approx(0.88, abs=0.05)


@pytest.mark.parametrize(
    ("change", "share"),
    [
        ({"swap_share": 1.0}, "moved"),
        ({"missing_views": 1.0, "missing_share": 0.3}, "missing"),
        ({"absent_share": 1.0}, "missing"),
        ({"lost_limbs": 1.0}, "missing"),
        ({"outlier_share": 0.5}, "astray"),
        ({"derived_share": 1.0}, "trunk"),
        ({"slow_rate_share": 1.0}, "moved"),
    ],
)
def test_each_error_does_what_it_says(change: dict[str, float], share: str) -> None:
    import dataclasses

    xy, depth, rig = still_windows()
    model = dataclasses.replace(NO_ERRORS, **change)
    seen = observe(xy, depth, rig, model, torch.Generator().manual_seed(0))
    missing = seen[..., 2] == 0
    moved = (seen[..., :2] - xy).norm(dim=-1) > 1e-6
    if share == "missing":
        assert 0.03 < float(missing.float().mean()) < 0.9
        assert (seen[..., :2][missing] == 0).all()
        assert not (moved & ~missing).any()
    elif share == "astray":
        assert 0.15 < float((moved & ~missing).float().mean()) < 0.35
        assert float(seen[..., 2][moved & ~missing].mean()) < 0.5
    else:
        assert not missing.any()
        assert moved.any()
    if share == "trunk":
        pelvis = (seen[..., 1, :2] + seen[..., 4, :2]) / 2
        assert torch.allclose(seen[..., 0, :2], pelvis, atol=1e-6)
        assert not moved[..., [1, 2, 3, 4, 5, 6, 9, 10]].any()
    if "swap_share" in change:
        there = (seen[..., :2] - xy[..., list(MIRROR), :]).norm(dim=-1) < 1e-6
        assert (there | ~moved).all()


def test_a_picture_has_a_border() -> None:
    rig = random_rigs(32, 4, RigRanges(aim_m=1.5), torch.Generator().manual_seed(0))
    person = torch.from_numpy(walking_clip(6, 0)).float()
    camera = rig.to_camera(person[None, :, None].expand(32, -1, -1, -1, -1))
    seen = observe(
        rig.project(camera), camera[..., 2], rig, NO_ERRORS, torch.Generator().manual_seed(0)
    )
    known = seen[..., 2] > 0
    limit = rig.half_height[:, None, :, None].expand_as(seen[..., 1])
    assert (seen[..., 0].abs() <= 1.0).all()
    assert (seen[..., 1].abs() <= limit + 1e-6)[known].all()
    assert (~known).any()
