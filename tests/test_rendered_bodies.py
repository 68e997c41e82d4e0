"""Other bodies in rendered windows: joints found move as the true ones do; cameras are refitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn_features import CPU, drawn_features
from tools.studio.shards import OUTSIDE, VISIBLE
from tools.training.feature_scenes import FeatureScene
from tools.training.fitted_cameras import fit_cameras, origin_of, project
from tools.training.mocap import bone_length_sum
from tools.training.rendered_bodies import vary_people
from tools.training.rendered_windows import WindowBank
from tools.training.told_context import told_truth
from tools.training.window_reading import LEAD

FRAMES = 27


def pinhole_features(seed: int, frames: int = 45, views: int = 3) -> FeatureScene:
    """A walker seen by pinhole cameras some metres off; joints found with an error that stays."""
    random = np.random.default_rng(seed)
    scene = drawn_features(frames, views, seed)
    around = scene.joints_m - scene.joints_m[:, :1].mean(0)
    place = random.uniform((-0.3, -0.3, 2.5), (0.3, 0.3, 6.0), (views, 3))
    points = np.einsum("vij,tkj->tvki", scene.rotation, around) + place[:, None]
    enlargement = random.uniform(0.8, 2.0, (views, 1, 1))
    truth = enlargement * points[..., :2] / points[..., 2:]
    found = scene.keypoints.copy()
    found[..., :2] = truth + error_of(seed, views)
    return replace(
        scene,
        keypoints=found.astype(np.float32),
        truth=truth.astype(np.float32),
        offset_s=np.zeros_like(scene.offset_s),
    )


def error_of(seed: int, views: int) -> npt.NDArray[np.float64]:
    """By how much each joint is found wrong in each view."""
    return np.random.default_rng([seed, 1]).normal(0, 0.02, (views, 17, 2))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_fitted_cameras_see_as_the_true_ones(seed: int) -> None:
    scene = pinhole_features(seed)
    cameras = torch.from_numpy(fit_cameras(scene))
    around = np.einsum("vij,tkj->tvki", scene.rotation, scene.joints_m - origin_of(scene))
    seen = project(cameras[None, :, None], torch.from_numpy(around.astype(np.float32)))
    assert np.abs(seen.numpy() - scene.truth).max() < 2e-3


def test_a_camera_that_sees_nobody_moves_nothing() -> None:
    scene = pinhole_features(0)
    visibility = np.full_like(scene.visibility, VISIBLE)
    visibility[:, 1] = OUTSIDE
    cameras = fit_cameras(replace(scene, visibility=visibility))
    assert (cameras[1] == 0).all() and (cameras[[0, 2]] != 0).all()
    assert (project(torch.from_numpy(cameras[1]), torch.ones(5, 3)) == 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_found_joints_keep_their_errors_on_other_bodies(seed: int) -> None:
    scene = pinhole_features(seed)
    scene.keypoints[:, :, 6] = 0
    bank = WindowBank([scene], FRAMES, CPU)
    random = torch.Generator().manual_seed(seed)
    windows = bank.choose(6, 2, random)
    pictures = bank.pictures(windows)
    varied, people = vary_people(bank, windows, pictures, 1.0, random)
    known = pictures.keypoints[..., 2] > 0
    assert torch.equal(varied.keypoints[..., 2], pictures.keypoints[..., 2])
    assert (varied.keypoints[..., 6, :] == 0).all(), "what was not found is not found"
    error = varied.keypoints[..., :2] - bank.seen(windows, people)
    wanted = torch.from_numpy(error_of(seed, 3)).float()[windows.views][:, None]
    assert ((error - wanted).abs()[known] < 5e-3).all()
    offs = []
    for who, shown in ((bank.people(windows), pictures), (people, varied)):
        truth = told_truth(
            bank.depths(windows, who),
            bank.seen(windows, who),
            shown.keypoints[..., :2],
            shown.crop,
            shown.context.shape[-1],
        )
        offs.append(shown.context - truth)
    assert (varied.context != pictures.context).any()
    # What is told errs by as much as before.
    assert float((offs[1] - offs[0]).abs()[known].max()) < 2e-3
    lengths = bone_length_sum(people)
    assert torch.allclose(lengths, lengths[:, :1].expand_as(lengths), atol=0.05)
    batch = bank.batch(windows, varied, people)
    turns = torch.from_numpy(scene.rotation)[windows.views]
    true = people[:, LEAD:] - people[:, LEAD:, :1]
    expected = torch.einsum("bvij,bfkj->bfvki", turns, true) * batch.unit[:, None, None, None, None]
    assert torch.allclose(batch.target, expected, atol=1e-4)
    plain = bank.batch(windows, pictures)
    apart = (batch.target - plain.target).norm(dim=-1)[..., 1:].mean()
    assert 0.02 < float(apart) < 0.3, "another pose, yet not far from the one that was rendered"


def test_the_share_of_other_bodies() -> None:
    bank = WindowBank([pinhole_features(3)], FRAMES, CPU)
    random = torch.Generator().manual_seed(0)
    windows = bank.choose(400, 2, random)
    pictures = bank.pictures(windows)
    same, people = vary_people(bank, windows, pictures, 0.0, random)
    assert torch.equal(same.keypoints, pictures.keypoints)
    plain, batch = bank.batch(windows, pictures), bank.batch(windows, same, people)
    # The scene's unit is that of all its instants, a window's that of its own.
    assert torch.allclose(plain.target, batch.target, rtol=2e-2, atol=2e-3)
    half, _ = vary_people(bank, windows, pictures, 0.5, random)
    changed = (half.keypoints != pictures.keypoints).flatten(1).any(1).float().mean()
    assert 0.4 < float(changed) < 0.6
