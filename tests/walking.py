"""Motion to train and test on: stick people who walk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.skeleton import PARENTS

_OFFSETS = (
    (0, 0, 0.95), (-0.1, 0, 0), (0, 0, -0.42), (0, 0, -0.43), (0.1, 0, 0), (0, 0, -0.42),
    (0, 0, -0.43), (0, 0, 0.25), (0, 0, 0.27), (0, 0.05, 0.12), (0, -0.03, 0.12),
    (0.17, 0, -0.05), (0.05, 0, -0.27), (0, 0.1, -0.22), (-0.17, 0, -0.05),
    (-0.05, 0, -0.27), (0, 0.1, -0.22),
)  # fmt: skip


def walking_clip(frames: int, seed: int) -> np.ndarray:
    """(frames, 17, 3) metres: a stick person who walks on, swinging arms and legs."""
    time_s = np.arange(frames) / 30.0
    joints = np.zeros((frames, 17, 3))
    for joint, offset in enumerate(_OFFSETS):
        swing = 0.5 * np.sin(2 * np.pi * time_s + seed + (joint in (4, 5, 6, 14, 15, 16)) * np.pi)
        bone = np.tile(np.asarray(offset, float), (frames, 1))
        if joint in (2, 3, 5, 6, 12, 13, 15, 16):
            y, z = bone[:, 1].copy(), bone[:, 2].copy()
            bone[:, 1] = np.cos(swing) * y - np.sin(swing) * z
            bone[:, 2] = np.sin(swing) * y + np.cos(swing) * z
        if joint:
            joints[:, joint] = joints[:, PARENTS[joint]] + bone
        else:
            joints[:, 0] = bone + np.stack([0 * time_s, 0.8 * time_s, 0 * time_s], -1)
    return joints


def write_mocap(path: Path) -> Path:
    """A small file in the format of the mocap, with people of every split."""
    names = ["cmu_03_01", "cmu_13_01", "cmu_02_01", "cmu_01_01"]
    clips = [walking_clip(frames, seed) for seed, frames in enumerate((90, 180, 90, 90))]
    np.savez(
        path,
        xyz=np.concatenate(clips).astype(np.float16),
        offsets=np.cumsum([0] + [len(clip) for clip in clips]),
        names=np.array(names),
    )
    return path
