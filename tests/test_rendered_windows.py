"""Windows of rendered sequences: read as live, with what goes wrong around a front end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tracks import JointTrack
from drawn_features import CPU, NO_ERRORS, drawn_features
from engines.networks.joint_context import DEPTH, JOINT_CHANNELS, TOWARDS
from tools.training.rendered_errors import disturb, disturb_context, hide, newest_at_sets
from tools.training.rendered_windows import WindowBank
from tools.training.window_reading import LEAD, Pictures, read_windows


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.15, 1.0), missing=st.floats(0.0, 0.6))
def test_windows_are_read_as_live(seed: int, share: float, missing: float) -> None:
    """Batched reading gives what the live application's tracks give for the same pictures."""
    random = np.random.default_rng(seed)
    frames, views, channels = 9, 3, 2
    count = LEAD + frames
    keypoints = random.normal(size=(count, views, 17, 3)).astype(np.float32)
    keypoints[..., 2] = random.uniform(0.1, 1, (count, views, 17))
    keypoints[random.uniform(size=(count, views, 17)) < missing] = 0
    kept = (random.uniform(size=(count, views)) < share) & (keypoints[..., 2] > 0).any(-1)
    times = (np.arange(count)[:, None] - LEAD) / 30 + random.uniform(-0.015, 0.015, (count, views))
    context = random.normal(size=(count, views, 17, channels)).astype(np.float32)
    pictures = Pictures(
        torch.from_numpy(keypoints)[None],
        torch.from_numpy(context)[None],
        torch.ones(1, count, views),
        torch.from_numpy(times).float()[None],
        torch.from_numpy(kept)[None],
    )
    joints, features, mask = (part[0].numpy() for part in read_windows(pictures, frames))
    wanted = np.round(np.arange(frames) / 30 * 1e9).astype(np.int64)
    for view in range(views):
        track = JointTrack()
        for picture in np.flatnonzero(kept[:, view]):
            time_ns = 10**9 + int(times[picture, view] * 1e9)
            track.add(time_ns, keypoints[picture, view], context[picture, view])
        live = track.sample(wanted + 10**9)
        assert np.array_equal(live[..., 2] > 0, joints[:, view, :, 2] > 0)
        known = live[..., 2] > 0
        assert np.allclose(live[known], joints[:, view][known], atol=2e-3)
        live_features, live_mask = track.sample_context(wanted + 10**9, channels)
        assert np.array_equal(live_mask, mask[:, view])
        assert np.allclose(live_features, features[:, view] * live_mask[:, None, None], atol=1e-6)


def test_windows_hold_the_scene_and_the_truth() -> None:
    scenes = [drawn_features(30, 2, 0), drawn_features(20, 4, 1), drawn_features(8, 6, 2)]
    bank = WindowBank(scenes, 9, CPU)
    assert bank.most_views == 4, "the last scene is too short for a window"
    random = torch.Generator().manual_seed(0)
    windows = bank.choose(64, 2, random)
    assert set(windows.scene.tolist()) == {0, 1}
    assert all(len(set(views)) == 2 for views in windows.views.tolist())
    assert set(bank.choose(16, 4, random).scene.tolist()) == {1}
    batch = bank.batch(windows, bank.pictures(windows))
    assert torch.isfinite(batch.keypoints).all() and torch.isfinite(batch.target).all()
    for n in range(8):
        scene = scenes[int(windows.scene[n])]
        start, view = int(windows.start[n]), int(windows.views[n, 1])
        now = scene.joints_m[start + 4] - scene.joints_m[start + 4, 0]
        wanted = now @ scene.rotation[view].T * float(batch.unit[n])
        assert np.allclose(batch.target[n, 4, 1].numpy(), wanted, atol=1e-4)
        # Drawn at the instant, read out from pictures a few milliseconds beside it.
        off = batch.keypoints[n, 4, 1, :, :2].numpy() - scene.truth[start + 4, view]
        assert np.abs(off).max() < 0.02
    assert (batch.context_mask == 1).all()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"sigma": (0.01, 0.01)}, "moved"),
        ({"slow_share": 1.0}, "gone"),
        ({"missing_pictures": 0.3}, "gone"),
        ({"absent_share": 1.0}, "gone"),
        ({"hidden_views": 1.0}, "hidden"),
        ({"swap_share": 1.0}, "moved"),
        ({"doubt": (0.5, 0.6)}, "doubted"),
    ],
)
def test_each_error_does_what_it_says(change: dict[str, object], kind: str) -> None:
    bank = WindowBank([drawn_features(60, 3)], 27, CPU)
    random = torch.Generator().manual_seed(0)
    pictures = bank.pictures(bank.choose(32, 3, random))
    same = disturb(pictures, NO_ERRORS, random)
    assert torch.allclose(same.keypoints, pictures.keypoints)
    assert torch.equal(same.kept, pictures.kept)
    worse = disturb(pictures, dataclasses.replace(NO_ERRORS, **change), random)
    gone = (pictures.kept & ~worse.kept).float().mean()
    hidden = (worse.keypoints[..., 2] == 0).float().mean()
    # What is to be seen at a place stays there.
    exchanged = (worse.context != pictures.context).any(-1)
    assert bool(exchanged.any()) == ("swap_share" in change)
    moved = (worse.keypoints[..., :2] != pictures.keypoints[..., :2]).any(-1) & (
        worse.keypoints[..., 2] > 0
    )
    assert (0.1 < float(gone) < 0.9) == (kind == "gone")
    assert (0.05 < float(hidden) < 0.5) == (kind == "hidden")
    assert (float(moved.float().mean()) > 0.1) == (kind == "moved")
    if kind == "doubted":
        assert float(worse.keypoints[..., 2].max()) < 0.55
    if change == {"slow_share": 1.0}:
        assert worse.kept[:, -1].all(), "a window ends with the newest set"


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 30), st.floats(0.1, 1.0))
@settings(max_examples=60, deadline=None)
def test_slow_sets_show_the_newest_picture_of_each_camera(
    seed: int, step: int, count: int, share: float
) -> None:
    kept = torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed)) < share
    found = newest_at_sets(kept, torch.tensor([[step]]))[0]
    for view in range(2):
        wanted = set()
        for instant in range(count - 1, -1, -step):
            before = [i for i in range(instant + 1) if kept[0, i, view]]
            wanted.update(before[-1:])
        assert set(found[:, view].nonzero()[:, 0].tolist()) == wanted


def test_a_missing_joint_has_no_context() -> None:
    bank = WindowBank([drawn_features(60, 2)], 27, CPU)
    windows = bank.choose(4, 2, torch.Generator().manual_seed(0))
    pictures = bank.pictures(windows)
    hidden = torch.zeros(1, 1, 1, 17, dtype=torch.bool)
    hidden[..., 5] = True
    batch = bank.batch(windows, hide(pictures, hidden))
    assert (batch.keypoints[:, :, :, 5] == 0).all()
    assert (batch.context[:, :, :, 5] == 0).all()
    assert (batch.context[:, :, :, 4] != 0).any()


def test_context_noise_stays_for_a_window() -> None:
    bank = WindowBank([drawn_features(60, 3)], 27, CPU)
    random = torch.Generator().manual_seed(0)
    windows = bank.choose(64, 2, random)
    hidden = torch.zeros(1, 1, 1, 17, dtype=torch.bool)
    hidden[..., 5] = True
    batch = bank.batch(windows, hide(bank.pictures(windows), hidden))
    _, deviation = bank.feature_statistics()
    noise = disturb_context(batch, deviation, 0.8, random).context - batch.context
    assert (noise[..., 5, :] == 0).all(), "a joint that is missing has no context"
    known = (batch.context[:, :1] != 0).any(-1, keepdim=True) & (batch.context[:, -1:] != 0).any(
        -1, keepdim=True
    )
    assert torch.allclose(
        torch.where(known, noise[:, :1] - noise[:, -1:], 0.0), torch.zeros(()), atol=1e-5
    )
    assert (noise[..., JOINT_CHANNELS:] == 0).all(), "a rival's place is no look"
    sizes = (noise[:, 0] / deviation)[..., [DEPTH, *range(JOINT_CHANNELS)[TOWARDS]]].std((1, 2, 3))
    assert float(sizes.min()) > 0.0 and float(sizes.max()) < 0.9
    assert 0.3 < float(sizes.mean()) < 0.5
    still = disturb_context(batch, deviation, 0.0, random)
    assert torch.equal(still.context, batch.context)


def test_scenes_too_short_for_a_window_give_none() -> None:
    bank = WindowBank([drawn_features(60, 2), drawn_features(20, 3)], 27, CPU)
    assert bank.most_views == 2 and (bank.starts[:, 0] == 0).all() and len(bank.starts) == 34
