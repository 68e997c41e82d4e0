"""The pelvis from its own sighting and from the hips'."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engines.pelvis import pelvis_between_hips
from engines.skeleton import JOINT_COUNT

HIPS = [1, 4]
SIGMAS = st.floats(1e-3, 1.0) | st.just(np.inf)


@given(st.integers(0, 10_000), SIGMAS, SIGMAS, SIGMAS)
def test_it_lies_between_both_and_nearer_to_the_surer(
    seed: int, own: float, right: float, left: float
) -> None:
    joints = np.random.default_rng(seed).normal(size=(JOINT_COUNT, 3))
    sigma = np.ones(JOINT_COUNT)
    sigma[0], sigma[HIPS] = own, (right, left)
    middle = joints[HIPS].mean(0)
    place, expected = pelvis_between_hips(joints, sigma)
    of_hips = np.hypot(right, left) / 2
    assert expected == min(own, of_hips) or np.isclose(expected, min(own, of_hips))
    if np.isinf(own) and np.isinf(of_hips):
        return
    off_own, off_hips = (np.linalg.norm(place - end) for end in (joints[0], middle))
    apart = np.linalg.norm(middle - joints[0])
    assert np.isclose(off_own + off_hips, apart)
    if own < 0.99 * of_hips:
        assert off_own < off_hips
    if of_hips < 0.99 * own:
        assert off_hips < off_own


def test_it_is_better_than_either_where_they_err_by_themselves() -> None:
    rng = np.random.default_rng(1)
    sigma = np.full(JOINT_COUNT, 0.01)
    sigma[0] = 0.015
    truth = np.zeros((JOINT_COUNT, 3))
    truth[HIPS] = [[-0.12, 0, 0], [0.12, 0, 0]]
    seen = truth + rng.normal(size=(500, JOINT_COUNT, 3)) * sigma[:, None] / np.sqrt(3)
    errors = [np.linalg.norm(pelvis_between_hips(one, sigma)[0]) for one in seen]
    alone = np.linalg.norm(seen[:, 0], axis=-1)
    hips = np.linalg.norm(seen[:, HIPS].mean(1), axis=-1)
    assert np.mean(errors) < min(alone.mean(), hips.mean())
