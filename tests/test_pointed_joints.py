"""Missing joints are put where the others point to."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.networks.joint_context import (
    DOUBT,
    JOINT_CHANNELS,
    NEIGHBOURS,
    TOWARDS,
    TOWARDS_DOUBT,
)
from engines.networks.pointed_joints import PointedJoints
from engines.networks.rig_lifter import RigLifter, RigLifterConfig

CHANNELS = JOINT_CHANNELS + RIVAL_CHANNELS
POINTED_TO = {
    joint: [other for other, pair in enumerate(NEIGHBOURS) if joint in pair] for joint in range(17)
}


def _seen(seed: int, crop: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """People whose joints point to each other rightly, in crops of a height in half-widths."""
    torch.manual_seed(seed)
    xy = torch.randn(2, 3, 2, 17, 2) * crop / 4 + torch.randn(1, 1, 2, 1, 2) * 0.2
    keypoints = torch.cat((xy, torch.full((*xy.shape[:-1], 1), 0.9)), -1)
    context = torch.zeros(*xy.shape[:-1], CHANNELS)
    around = xy[..., torch.tensor(NEIGHBOURS), :] - xy[..., None, :]
    context[..., TOWARDS] = (around / (0.1 * crop)).flatten(-2)
    context[..., TOWARDS_DOUBT], context[..., DOUBT] = -1.5, -3.0
    return keypoints, context, torch.ones(xy.shape[:3])


def _lost(
    keypoints: torch.Tensor, context: torch.Tensor, joints: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """As they come to the lifter: what is missing is nowhere and nothing is told of it."""
    keypoints, context = keypoints.clone(), context.clone()
    keypoints[..., joints, :], context[..., joints, :] = 0.0, 0.0
    return keypoints, context


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.1, 2.0),
    st.lists(st.integers(0, 16), min_size=1, max_size=5, unique=True),
)
def test_who_is_pointed_to_is_found(seed: int, crop: float, joints: list[int]) -> None:
    keypoints, context, mask = _seen(seed, crop)
    places, confidence, away = PointedJoints()(*_lost(keypoints, context, joints), mask)
    assert float(away.abs().max()) < 0.02
    for joint in range(17):
        if not [other for other in POINTED_TO[joint] if other not in joints]:
            assert (confidence[..., joint] == 0).all()
            continue
        assert (confidence[..., joint] > 0.3).all()
        gap = (places[..., joint, :] - keypoints[..., joint, :2]).norm(dim=-1)
        assert float(gap.max()) < 2e-3 * crop


def test_who_is_surer_is_believed_more_and_the_unsure_give_little_confidence() -> None:
    keypoints, context, mask = _seen(0, 0.8)
    knee, by = 2, POINTED_TO[2]
    assert len(by) == 2
    right, wrong = by
    for joint, error, doubt in ((right, 0.0, -2.0), (wrong, 3.0, 1.5)):
        slot = NEIGHBOURS[joint].index(knee)
        context[..., joint, TOWARDS.start + 2 * slot] += error
        context[..., joint, TOWARDS_DOUBT.start + slot] = doubt
    found, told = _lost(keypoints, context, [knee])
    places, confidence, _ = PointedJoints()(found, told, mask)
    gap = (places[..., knee, :] - keypoints[..., knee, :2]).norm(dim=-1)
    assert float(gap.max()) < 0.02
    found, told = _lost(keypoints, context, [knee, right])
    alone = PointedJoints()(found, told, mask).confidence
    assert (alone[..., knee] < 0.1).all() and (confidence[..., knee] > 0.6).all()


def test_who_was_found_elsewhere_is_objected_to() -> None:
    crop, knee = 0.8, 2
    keypoints, context, mask = _seen(3, crop)
    moved = torch.tensor((1.5, -2.0)) * 0.1 * crop
    keypoints[..., knee, :2] += moved
    # What it tells itself is told from where it was found.
    context[..., knee, TOWARDS] -= torch.tensor((1.5, -2.0)).repeat(2)
    _, confidence, away = PointedJoints()(keypoints, context, mask)
    assert (confidence > 0.3).all()
    # The scale is taken from all of them, the wrong one included.
    assert float((away[..., knee, :] - torch.tensor((-1.5, 2.0))).abs().max()) < 0.6
    rest = [joint for joint in range(17) if joint != knee]
    assert float(away[..., rest, :].abs().median()) < 0.1


def test_nothing_is_made_up() -> None:
    """Of people without context, or of whom too little was found to know how large they are."""
    keypoints, context, mask = _seen(1, 0.8)
    found, told = _lost(keypoints, context, [3, 13])
    point = PointedJoints()
    assert (point(found, told, mask).confidence > 0).any()
    assert (point(found, told, torch.zeros_like(mask)).confidence == 0).all()
    assert (point(found, torch.zeros_like(told), mask).confidence == 0).all()
    one, alone = _lost(keypoints, context, [j for j in range(17) if j != 2])
    places, confidence, _ = point(one, alone, mask)
    assert (confidence == 0).all() and torch.isfinite(places).all()
    places, confidence, _ = point(torch.zeros_like(found), told, mask)
    assert (confidence == 0).all() and torch.isfinite(places).all()


def test_the_lifter_sees_pointed_joints_where_there_is_context() -> None:
    """Even untrained: a joint that is pointed to stands as good as where it was."""
    torch.manual_seed(0)
    config = RigLifterConfig(frames=3, width=32, depth=1, context_channels=CHANNELS)
    lifter = RigLifter(config).eval()
    keypoints, context, mask = _seen(2, 0.8)
    keypoints[..., 2] = 0.6
    views = torch.ones(2, 2)
    found, told = _lost(keypoints, context, [2])
    with torch.no_grad():
        whole = lifter(keypoints, views)[0]
        blind = lifter(found, views)[0]
        pointed = lifter(found, views, told, mask)[0]
        closed = lifter(found, views, told, torch.zeros_like(mask))[0]
    assert torch.equal(blind, closed)
    assert float((pointed - whole).norm()) < 0.5 * float((blind - whole).norm())
