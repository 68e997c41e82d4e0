"""Puts a motion onto an even rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engines.errors import UserError
from engines.skeleton import JOINT_COUNT
from tools.export.motion import Floats, Motion

_GAP_S: Final = 0.5
_MOST_INSTANTS: Final = 5_000_000


def resample(
    motion: Motion, rate_hz: float | None = None, longest_gap_s: float | None = None
) -> Motion:
    """Puts a motion onto evenly spaced instants, joint by joint, by linear interpolation.

    Args:
        motion: any.
        rate_hz: the new rate; None takes the usual one of the recording, rounded.
        longest_gap_s: where a joint is not known for longer, it stays unknown. None takes half a
            second, or one and a half of the usual steps where the recording is that slow.

    Returns:
        From the first instant to the last one that fits; nothing is extrapolated, and nothing
        interpolated between axes before and after they were set anew.

    Raises:
        UserError: there is a single instant only, or there would be too many of them.
    """
    times = motion.times_s
    if len(times) < 2:
        raise UserError("the recording holds a single pose; only .csv can take that")
    steps = np.diff(times)
    usual = steps[steps <= 1.5 * np.median(steps)]  # not over sets that were left out
    if longest_gap_s is None:
        longest_gap_s = max(_GAP_S, 1.5 * float(np.median(steps)))
    rate = rate_hz or max(1.0, float(np.round(1.0 / usual.mean())))
    count = int(np.floor(times[-1] * rate + 1e-6)) + 1
    if count > _MOST_INSTANTS:
        raise UserError(f"{count} instants at {rate:g} Hz; at most {_MOST_INSTANTS} are handled")
    wanted = np.arange(count) / rate
    joints = np.full((count, JOINT_COUNT, 3), np.nan)
    confidence = np.zeros((count, JOINT_COUNT))
    for joint in range(JOINT_COUNT):
        values = np.column_stack((motion.joints[:, joint], motion.confidence[:, joint]))
        mixed = _interpolated(motion, values, wanted, longest_gap_s)
        joints[:, joint] = mixed[:, :3]
        confidence[:, joint] = np.nan_to_num(mixed[:, 3])
    last = np.clip(np.searchsorted(times, wanted + 1e-9, side="right") - 1, 0, None)
    return replace(
        motion,
        times_s=wanted,
        joints=joints,
        confidence=confidence,
        root=_interpolated(motion, motion.root, wanted, longest_gap_s),
        world=motion.world[last],
        rate_hz=rate,
    )


def _interpolated(motion: Motion, values: Floats, wanted: Floats, longest_gap_s: float) -> Floats:
    """(M, C) values (N, C) of a motion's instants at others; NaN where they are not known."""
    mixed = np.full((len(wanted), values.shape[1]), np.nan)
    rows = np.flatnonzero(np.isfinite(values[:, 0]))
    if len(rows) == 0:
        return mixed
    times, world, values = motion.times_s[rows], motion.world[rows], values[rows]
    after = np.clip(np.searchsorted(times, wanted), 0, len(rows) - 1)
    before = np.where(times[after] <= wanted, after, np.maximum(after - 1, 0))
    early, late = times[before], times[after]
    inside = (early <= wanted + 1e-9) & (wanted <= late + 1e-9)
    inside &= (late - early <= longest_gap_s) & (world[before] == world[after])
    apart = np.where(late > early, late - early, 1.0)
    share = (wanted - early) / apart  # 0 where both are the same
    between = values[before] + share[:, None] * (values[after] - values[before])
    mixed[inside] = between[inside]
    return mixed
