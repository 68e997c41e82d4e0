"""Which joints are shown: what one of many cameras sees is seen, what nobody sees is a guess."""

from __future__ import annotations

import numpy as np
import pytest

from app.drawn_joints import DrawnJoints
from engines.skeleton import JOINT_COUNT, JOINT_NAMES

ANKLE = JOINT_NAMES.index("left_ankle")


def seen(views: int, confidences: list[float]) -> np.ndarray:
    """(9, V, 17, 3) all joints well seen, but for an ankle with the given confidence a view."""
    recent = np.full((9, views, JOINT_COUNT, 3), 0.9, np.float32)
    recent[:, :, ANKLE, 2] = 0.0
    recent[:, : len(confidences), ANKLE, 2] = confidences
    return recent


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_one_view_that_sees_a_joint_well_is_enough_whatever_the_number(views: int) -> None:
    drawn = DrawnJoints()
    drawn.look(seen(views, [0.6]))
    assert drawn.legs_seen
    assert drawn.confidence(np.full(JOINT_COUNT, 90.0))[ANKLE] > 0


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_what_nobody_sees_and_nobody_can_tell_is_not_drawn_and_does_not_flicker(views: int) -> None:
    drawn = DrawnJoints()
    drawn.look(seen(views, [0.0]))
    assert not drawn.legs_seen
    sigma = np.full(JOINT_COUNT, 30.0)
    shown = []
    for ankle_mm in (70.0, 90.0, 70.0, 50.0, 70.0):
        sigma[ANKLE] = ankle_mm
        shown.append(bool(drawn.confidence(sigma)[ANKLE] > 0))
    assert shown == [True, False, False, True, True]
    assert (np.delete(drawn.confidence(sigma), ANKLE) > 0).all()


def test_a_joint_that_is_not_known_is_not_drawn() -> None:
    drawn = DrawnJoints()
    drawn.look(seen(2, [0.9]))
    sigma = np.full(JOINT_COUNT, 30.0)
    sigma[ANKLE] = np.inf
    assert drawn.confidence(sigma)[ANKLE] == 0
