"""Motions that were not captured: the same bones, held otherwise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.skeleton import PARENTS
from tools.studio.motion import Mocap
from tools.studio.varied_motion import vary_motion
from walking import walking_clip

Floats = npt.NDArray[np.float64]


def _mocap() -> Mocap:
    clips = [walking_clip(frames, seed).astype(np.float32) for seed, frames in enumerate((80, 120))]
    return Mocap(
        joints=np.concatenate(clips),
        offsets=np.array([0, 80, 200], np.int32),
        names=("one", "two"),
        descriptions=("walk", "walk slowly"),
        skeletons=("a", "b"),
        fps=30.0,
    )


def _bones(joints: npt.NDArray[np.float32]) -> Floats:
    parents = np.maximum(PARENTS, 0)
    return (joints - joints[:, parents])[:, 1:].astype(np.float64)


def test_bones_path_and_speed_stay_and_limbs_are_held_otherwise() -> None:
    mocap = _mocap()
    captured = mocap.clip(1)[10:60]
    turned: list[Floats] = []
    for seed in range(20):
        varied = vary_motion(mocap, 1, 10, 50, np.random.default_rng(seed))
        assert (varied.names, varied.skeletons, varied.fps) == (("two",), ("b",), 30.0)
        rows = varied.clip(0)
        assert rows.shape == (50, 17, 3) and rows.dtype == np.float32
        assert varied.reference("b") is mocap.reference("b")
        np.testing.assert_allclose(rows[:, 0], captured[:, 0], atol=1e-6)
        before, after = _bones(captured), _bones(rows)
        lengths = np.linalg.norm(before, axis=2)
        np.testing.assert_allclose(np.linalg.norm(after, axis=2), lengths, atol=1e-5)
        cosines = (before * after).sum(2) / lengths**2
        angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
        # One turn of each limb throughout: what it does besides is what was captured.
        np.testing.assert_allclose(
            np.linalg.norm(np.diff(after, axis=0), axis=2),
            np.linalg.norm(np.diff(before, axis=0), axis=2),
            atol=1e-5,
        )
        turned.append(angles.mean(0))
    angles = np.stack(turned)
    assert 5 < np.median(angles) < 40
    # Limbs follow the trunk, and are turned further; the two sides differ.
    assert angles[:, 12].mean() > angles[:, 6].mean()
    assert np.abs(angles[:, 1] - angles[:, 4]).mean() > 2


def test_chance_alone_decides() -> None:
    mocap = _mocap()
    one, same, other = (
        vary_motion(mocap, 0, 5, 40, np.random.default_rng(seed)).joints for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.05
