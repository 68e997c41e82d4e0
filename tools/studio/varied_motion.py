"""Motions that were not captured: captured ones with limbs and trunk turned away throughout.

There is little capture of little else than walking and simple sports. Networks that see rendered
sequences of it alone learn how people stood in it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from tools.studio.motion import Mocap
from tools.training.bodies import BodyRanges, vary_bodies

VARIED_SHARE: Final = 0.75
"""Of the sequences to train on."""

_RANGES: Final = BodyRanges(
    bone_sigma=0.0, turn_share=1.0, turn_deg=18.0, turn_sizes=(0.2, 1.6), tilt_share=0.08
)


def vary_motion(
    mocap: Mocap, clip: int, start: int, frames: int, rng: np.random.Generator
) -> Mocap:
    """A stretch of capture in which everybody holds limbs and trunk otherwise.

    Args:
        mocap: the capture.
        clip: number of the clip.
        start: the stretch's first row in the clip.
        frames: its length.
        rng: source of chance.

    Returns:
        Capture of one clip of the same name, which is that stretch; bones are as long as before.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
    rows = torch.from_numpy(mocap.clip(clip)[start : start + frames].copy())
    varied = vary_bodies(rows[None, :, None], _RANGES, generator)[0, :, 0].numpy()
    skeleton = mocap.skeletons[clip]
    return Mocap(
        joints=np.asarray(varied, np.float32),
        offsets=np.array([0, len(varied)], np.int32),
        names=(mocap.names[clip],),
        descriptions=(mocap.descriptions[clip],),
        skeletons=(skeleton,),
        fps=mocap.fps,
        references={skeleton: mocap.reference(skeleton)},
    )
