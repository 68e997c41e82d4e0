"""Joints that are missing from the first to the last picture of a window."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.training.lost_joints import LostJoints, lose_joints


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), windows=st.floats(0, 1), views=st.integers(1, 8))
def test_a_joint_is_missing_in_all_of_a_window_or_as_it_was(
    seed: int, windows: float, views: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(6, 5, views, 17, 3, generator=random) + 0.1
    context = torch.rand(6, 5, views, 17, 4, generator=random) + 0.1
    found, told = lose_joints(keypoints, context, LostJoints(windows), random)
    assert told is not None
    gone = (found == 0).all(-1)
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    assert torch.equal(gone, (told == 0).all(-1))
    assert torch.equal(found[~gone], keypoints[~gone])
    assert torch.equal(told[~gone], context[~gone])
    assert (gone.float().mean(-1) < 0.9).all(), "somebody must still be there"


def test_as_often_and_as_many_as_asked_for() -> None:
    random = torch.Generator().manual_seed(0)
    keypoints = torch.ones(2000, 1, 4, 17, 3)
    same, none = lose_joints(keypoints, None, LostJoints(0.0), random)
    assert torch.equal(same, keypoints) and none is None

    def gone(lost: LostJoints) -> torch.Tensor:
        return lose_joints(keypoints, None, lost, random)[0][:, 0, :, :, 2] == 0

    any_joints = gone(LostJoints(0.3, 0.0, 0.4))
    assert 0.25 < float(any_joints.flatten(1).any(1).float().mean()) < 0.33
    share = any_joints[any_joints.flatten(1).any(1)].float().mean()
    assert 0.17 < float(share) < 0.23
    parts = gone(LostJoints(1.0, 1.0))
    assert parts.any(1).any(1).float().mean() > 0.9
    # A view loses the window's part, or nothing.
    whole = parts.any(1, keepdim=True)
    assert (torch.eq(parts, whole).all(-1) | ~parts.any(-1)).all()
    in_all = parts.any(-1).all(1).float().mean()
    assert 0.35 < float(in_all) < 0.75, "often no view shows it"
