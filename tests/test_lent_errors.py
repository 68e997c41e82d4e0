"""Errors of rendered people lent to motion capture, and views turned about their axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from drawn_features import (
    ARMS,
    CPU,
    CROP,
    NO_ERRORS,
    RIVAL,
    TOLD_BONE_DOUBT,
    TOLD_DOUBT,
    TOLD_SEEN,
    drawn_features,
)
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
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
from engines.skeleton import PARENTS
from tools.training.feature_scenes import FeatureScene
from tools.training.keypoint_errors import box_size
from tools.training.lent_errors import ErrorLender
from tools.training.lifter_data import SeenJoints
from tools.training.rendered_errors import turn_views
from tools.training.rendered_windows import WindowBank
from tools.training.rigs import RigRanges, random_rigs
from tools.training.told_context import BODY_UNITS_PER_HEIGHT
from walking import walking_clip


def seen_walkers(batch: int, views: int) -> SeenJoints:
    """Walkers as random rigs see them."""
    generator = torch.Generator().manual_seed(2)
    rig = random_rigs(batch, views, RigRanges(), generator)
    world = torch.stack([torch.from_numpy(walking_clip(27, n)).float() for n in range(batch)])
    camera = rig.to_camera(world[:, :, None])
    relative = camera - camera[..., :1, :]
    return SeenJoints(rig.project(camera), camera[..., 2], relative, rig)


def lender_of(bank: WindowBank) -> ErrorLender:
    """Lends the errors of a bank as they are."""
    return ErrorLender(bank, NO_ERRORS)


def scene_xy(scene: FeatureScene) -> torch.Tensor:
    """True joints (1, T, V, 17, 2) of a scene's pictures."""
    return torch.from_numpy(scene.truth)[None]


def erring(scene: FeatureScene, by: tuple[float, float], confidence: float) -> FeatureScene:
    """A front end that errs by the same share of the person's box everywhere."""
    high, low = scene.truth.max(2), scene.truth.min(2)
    # The lender measures a person once a window, not once a picture.
    size = float((high - low).max(-1).mean())
    keypoints = scene.keypoints.copy()
    keypoints[..., :2] = scene.truth + np.float32(size) * np.array(by, np.float32)
    keypoints[..., 2] = confidence
    return replace(scene, keypoints=keypoints)


def test_errors_are_lent_in_proportion_to_the_person() -> None:
    bank = WindowBank([erring(drawn_features(60, 1), (0.05, -0.02), 0.6)], 27, CPU)
    seen = seen_walkers(3, 4)
    lender = lender_of(bank)
    found = lender.observe(seen, torch.Generator().manual_seed(0)).keypoints
    assert found.shape == (3, 27, 4, 17, 3)
    inside = (found[..., 2] - 0.6).abs() < 1e-3
    assert inside.float().mean() > 0.8
    share = (found[..., :2] - seen.xy) / box_size(seen.xy)
    # Slow sets move joints besides, more those that swing.
    middle = share[inside].median(0).values
    assert middle.tolist() == pytest.approx([0.05, -0.02], abs=0.01)


def test_what_is_missing_there_is_missing_here() -> None:
    scene = drawn_features(60, 2)
    scene.keypoints[:, :, 13] = 0.0
    scene.keypoints[:, 1, :, 2] *= 0.5
    lender = lender_of(WindowBank([scene], 27, CPU))
    lent = lender.observe(seen_walkers(4, 3), torch.Generator().manual_seed(1))
    found = lent.keypoints
    assert (found[..., 13, :] == 0).all()
    assert lent.context is not None and (lent.context[..., 13, :] == 0).all()
    # Whole views borrow of one camera each.
    highest = found[..., 2].amax((1, 3))
    assert {round(float(v), 2) for v in highest.flatten()} <= {0.9, 0.45}


def test_what_is_told_is_as_wrong_as_it_was_there() -> None:
    wrong = np.zeros(JOINT_CHANNELS, np.float32)
    wrong[DEPTH], wrong[BONE] = 0.0625, -0.25
    wrong[TOWARDS] = 0.25, -0.5, 1.0, 0.125
    scene = drawn_features(60, 2)
    context = scene.context.astype(np.float32)
    context[..., :JOINT_CHANNELS] += wrong
    bank = WindowBank([replace(scene, context=context.astype(np.float16))], 27, CPU)
    seen = seen_walkers(3, 4)
    lent = lender_of(bank).observe(seen, torch.Generator().manual_seed(0))
    assert lent.context is not None and lent.context_mask is not None
    assert lent.context.shape == (3, 27, 4, 17, JOINT_CHANNELS + RIVAL_CHANNELS)
    assert (lent.context_mask == 1).all()
    there = (lent.keypoints[..., 2] > 0).all(-1)
    assert int(there.sum()) > 100
    told = lent.context[there]
    rivals = told[..., JOINT_CHANNELS:]
    assert (rivals[:, ARMS, :3] == torch.tensor(RIVAL)).all()
    assert (rivals[:, : ARMS.start] == 0).all() and (rivals[..., 3:] == 0).all()
    for channel, value in ((DOUBT, TOLD_DOUBT), (BONE_DOUBT, TOLD_BONE_DOUBT), (SEEN, TOLD_SEEN)):
        torch.testing.assert_close(told[..., channel], torch.full_like(told[..., channel], value))
    # Depth is that of the captured people along each camera's ray to the pelvis.
    pelvis = torch.cat(
        (seen.xy[..., 0, :] / seen.rig.focal[:, None, :, None], there[..., None]), -1
    )
    ray = pelvis / pelvis.norm(dim=-1, keepdim=True)
    depth = (seen.target * ray[..., None, :]).sum(-1)[there] / BODY_UNITS_PER_HEIGHT
    off = told[..., DEPTH] - depth - wrong[DEPTH]
    assert float(off.abs().median()) < 0.002
    bone = (depth[:, 1:] - depth[:, PARENTS[1:]]) / BONE_UNIT
    off = told[:, 1:, BONE] - bone - wrong[BONE]
    assert float(off.abs().median()) < 0.02 and float(bone.abs().max()) > 1.0
    # From where a joint was found its neighbours lie where they are, but for the error.
    size = (box_size(scene_xy(scene)) / CROP).mean()
    crops = (box_size(seen.xy) / size).expand(*there.shape, 1, 1)[there]
    off = torch.from_numpy(wrong[TOWARDS]).reshape(2, 2)
    around = told[..., TOWARDS].reshape(-1, 17, 2, 2) - off
    found = lent.keypoints[there][..., :2]
    pointed = found[..., None, :] + around * TOWARDS_UNIT * crops[..., None]
    true = seen.xy[there][:, torch.tensor(NEIGHBOURS)]
    gap = (pointed - true).norm(dim=-1) / crops
    # Slow sets move joints besides.
    assert float(gap.median()) < 0.01 and float((gap < 0.03).float().mean()) > 0.8


def test_poses_borrow_of_their_like() -> None:
    """Errors differ between a walker who stands upright and one on the head."""
    upright = drawn_features(60, 1, seed=1)
    flat = np.eye(3, dtype=np.float32)[[0, 2, 1]] * np.array([[1], [-1], [1]], np.float32)
    scenes = []
    for turn, confidence in ((flat, 0.8), (np.diag([-1.0, -1, 1]).astype(np.float32) @ flat, 0.4)):
        scene = erring(replace(upright, rotation=turn[None]), (0.0, 0.0), confidence)
        scenes.append(scene)
    lender = lender_of(WindowBank(scenes, 27, CPU))
    seen = seen_walkers(6, 2)
    assert (seen.target[..., 10, 1] < seen.target[..., 3, 1]).all(), "y is down, heads are up"
    found = lender.observe(seen, torch.Generator().manual_seed(3)).keypoints
    assert float(found[..., 2].amax()) == pytest.approx(0.8)
    assert (found[..., 2] > 0.5).float().mean() > 0.8


def test_turned_views_are_what_turned_cameras_see() -> None:
    bank = WindowBank([drawn_features(60, 3)], 27, CPU)
    windows = bank.choose(5, 3, torch.Generator().manual_seed(0))
    plain = bank.batch(windows, bank.pictures(windows))
    turned = turn_views(plain, 25.0, 0.2, torch.Generator().manual_seed(4))
    lengths = [batch.target.norm(dim=-1) for batch in (plain, turned)]
    torch.testing.assert_close(lengths[0], lengths[1])
    torch.testing.assert_close(plain.target[..., 2], turned.target[..., 2])
    assert torch.equal(plain.keypoints[..., 2], turned.keypoints[..., 2])
    # A rival that lay where another joint is still does, as far as its direction goes.
    stays = [DEPTH, DOUBT, SEEN, BONE, BONE_DOUBT, *range(JOINT_CHANNELS)[TOWARDS_DOUBT]]
    stays += range(JOINT_CHANNELS + 2, JOINT_CHANNELS + RIVAL_CHANNELS)
    assert torch.equal(plain.context[..., stays], turned.context[..., stays])
    for axis, wanted in ((0, plain), (1, turned)):
        away = wanted.context[..., ARMS, JOINT_CHANNELS : JOINT_CHANNELS + 2]
        angle = torch.atan2(away[..., 1], away[..., 0])
        arm = wanted.target[..., 13, :2] - wanted.target[..., 11, :2]
        between = angle - torch.atan2(arm[..., 1], arm[..., 0])[..., None]
        if axis == 0:
            before = between
        else:
            torch.testing.assert_close(between.cos(), before.cos(), atol=1e-3, rtol=0)
            torch.testing.assert_close(between.sin(), before.sin(), atol=1e-3, rtol=0)
    for batch in (plain, turned):  # neighbours are pointed to as before
        pointed = batch.context[..., TOWARDS].reshape(*batch.target.shape[:-1], 2, 2)
        flat = batch.target[..., :2]
        true = flat[..., torch.tensor(NEIGHBOURS), :] - flat[..., None, :]
        across = pointed[..., 0] * true[..., 1] - pointed[..., 1] * true[..., 0]
        long = true.norm(dim=-1) > 0.1
        angle = torch.atan2(across, (pointed * true).sum(-1))[long]
        assert float(angle.abs().median()) < 0.02
    # These cameras are orthographic: what is seen is the target's x and y, times one factor a view.
    known = plain.keypoints[..., 2] > 0
    for batch, name in ((plain, "plain"), (turned, "turned")):
        flat, xy = batch.target[..., :2], batch.keypoints[..., :2]
        factor = (flat * xy).sum((1, 3, 4)) / flat.square().sum((1, 3, 4))
        off = xy - factor[:, None, :, None, None] * flat
        assert float(off[known].norm(dim=-1).median()) < 0.01, name
        assert float(factor.std()) > (0.02 if name == "turned" else -1)
    assert (turned.target - plain.target).abs().max() > 0.1
