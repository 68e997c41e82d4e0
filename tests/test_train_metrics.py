"""Measures of 3D joints: alignment, triangulation, reliability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lifter_training import CPU, NO_ERRORS
from tools.training.lifter_data import SKETCH_SCENES, WindowSource
from tools.training.lifter_evaluation import reliability_line
from tools.training.metrics import joint_errors, procrustes_errors, triangulate
from tools.training.mocap import load_mocap
from tools.training.rendered_evaluation import worth_interval

# ---- measures


def test_procrustes_undoes_a_similarity_but_not_a_reflection() -> None:
    random = torch.Generator().manual_seed(0)
    pose = torch.randn(5, 17, 3, generator=random, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))
    q = q * torch.sign(torch.linalg.det(q))
    moved = 1.7 * pose @ q + torch.tensor([1.0, -2.0, 3.0])
    assert float(procrustes_errors(moved, pose).max()) < 1e-9
    mirrored = pose * torch.tensor([-1.0, 1.0, 1.0])
    assert float(procrustes_errors(mirrored, pose).mean()) > 0.1
    assert float(joint_errors(moved, pose).mean()) > 1.0


def test_triangulation_of_perfect_joints_is_exact(mocap: Path) -> None:
    import dataclasses

    scenes = dataclasses.replace(SKETCH_SCENES, errors=NO_ERRORS)
    source = WindowSource(load_mocap(mocap, "test"), 6, scenes, CPU)
    batch = source.draw(8, 3, torch.Generator().manual_seed(0))
    points = triangulate(batch.keypoints, batch.rig)
    assert float((points - batch.world).norm(dim=-1).max()) < 1e-4


def test_reliability_of_perfect_predictions_is_a_straight_line() -> None:
    sigma = torch.rand(20000, generator=torch.Generator().manual_seed(0)) + 0.1
    actual = sigma * torch.distributions.Exponential(1.0).sample((20000,))
    for part in reliability_line(actual, sigma):
        assert part.actual == pytest.approx(part.predicted, rel=0.15)


@given(st.integers(2, 30), st.floats(0.01, 0.5), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_the_streams_worth_is_as_sure_as_scenes_agree(scenes: int, worth: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    without = rng.uniform(1, 100, scenes)
    low, high = worth_interval(without * (1 - worth), without)
    assert low == pytest.approx(worth) and high == pytest.approx(worth)
    # Where scenes differ, it may be anything between the least and the most of them.
    each = rng.uniform(-0.2, 0.5, scenes)
    low, high = worth_interval(without * (1 - each), without)
    assert each.min() - 1e-9 <= low < high <= each.max() + 1e-9
    nobody = np.concatenate((without, [0.0]))  # a scene without such poses changes nothing
    assert worth_interval(nobody * (1 - worth), nobody) == pytest.approx((worth, worth))
