"""Sequences of slow webcams, put onto the full rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.training.even_rate import at_full_rate, step_of
from tools.training.feature_scenes import RATE_HZ, FeatureScene


def _scene(count: int, step: int, views: int = 2) -> FeatureScene:
    rng = np.random.default_rng(count)
    time = np.arange(count) * step / RATE_HZ
    path = np.stack([np.sin(time), np.cos(2 * time), 0.3 * time], -1)
    shape = (count, views, 17)
    return FeatureScene(
        keypoints=rng.uniform(0.2, 1, (*shape, 3)).astype(np.float32),
        context=rng.normal(size=(*shape, 4)).astype(np.float16),
        crop=rng.uniform(0.5, 1, shape[:2]).astype(np.float32),
        offset_s=rng.uniform(-0.01, 0.01, (count, views)).astype(np.float32),
        truth=rng.normal(size=(*shape, 2)).astype(np.float32),
        visibility=rng.integers(0, 3, shape).astype(np.uint8),
        joints_m=(path[:, None] + np.arange(17)[None, :, None]).astype(np.float32),
        rotation=np.tile(np.eye(3, dtype=np.float32), (views, 1, 1)),
        digest="x",
    )


@given(st.integers(4, 20), st.integers(1, 3))
def test_pictures_stay_and_nothing_is_made_up_in_between(count: int, step: int) -> None:
    sparse = _scene(count, step)
    full = at_full_rate(sparse, step)
    assert len(full.keypoints) == (count - 1) * step + 1
    for name in ("keypoints", "context", "crop", "offset_s", "truth", "visibility"):
        assert np.array_equal(getattr(full, name)[::step], getattr(sparse, name)), name
    between = np.arange(len(full.keypoints)) % step != 0
    assert not full.keypoints[between].any() and np.isnan(full.offset_s[between]).all()
    assert np.abs(full.joints_m[::step] - sparse.joints_m).max() < 1e-5


def test_true_joints_in_between_follow_the_motion() -> None:
    sparse, full = at_full_rate(_scene(18, 3), 3), _scene(52, 1)
    assert np.abs(sparse.joints_m - full.joints_m).max() < 2e-3


@given(st.integers(2, 40), st.integers(1, 4), st.floats(0, 100))
def test_the_step_is_found(count: int, step: int, begin: float) -> None:
    assert step_of(begin + np.arange(count) * step / RATE_HZ) == step


def test_uneven_instants_are_refused() -> None:
    with pytest.raises(ValueError, match="steps apart"):
        step_of(np.array([0.0, 1 / 30, 3 / 30]))
