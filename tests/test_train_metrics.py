"""Measures of 3D joints: alignment, triangulation, reliability."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.lifter_training import CPU, NO_ERRORS
from tools.training.lifter_data import SKETCH_SCENES, WindowSource
from tools.training.lifter_evaluation import reliability_line
from tools.training.metrics import joint_errors, procrustes_errors, triangulate
from tools.training.mocap import load_mocap

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
