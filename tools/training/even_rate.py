"""Sequences that were rendered at a part of the full rate, put onto it.

A webcam of ten pictures a second leaves two of three instants without one. That is how the live
application sees it, too: joints in between are read from the pictures around them.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import make_interp_spline

from tools.training.feature_scenes import RATE_HZ, FeatureScene


def step_of(instant_times_s: np.ndarray) -> int:
    """How many instants at ``RATE_HZ`` lie from one of a sequence's (T,) instants to the next.

    Raises:
        ValueError: they are not evenly spaced by a whole number of them.
    """
    gaps = np.diff(instant_times_s) * RATE_HZ
    step = round(float(np.median(gaps))) if len(gaps) else 1
    if step < 1 or (len(gaps) and np.abs(gaps - step).max() > 0.05):
        raise ValueError(f"instants are {gaps.min():.2f} to {gaps.max():.2f} steps apart")
    return step


def at_full_rate(scene: FeatureScene, step: int) -> FeatureScene:
    """Puts a sequence onto every instant at ``RATE_HZ``.

    Args:
        scene: T instants, ``step`` / ``RATE_HZ`` apart.
        step: 1 changes nothing.

    Returns:
        (T - 1) · step + 1 instants. Those in between have no picture; the true joints there lie
        on a cubic spline, and visibility is that of the nearest instant with a picture.
    """
    count = len(scene.keypoints)
    if step == 1 or count < 2:
        return scene
    total = (count - 1) * step + 1

    def spread(values: np.ndarray, empty: float) -> np.ndarray:
        out = np.full((total, *values.shape[1:]), empty, values.dtype)
        out[::step] = values
        return out

    every = np.arange(total)
    spline = make_interp_spline(every[::step], scene.joints_m, k=min(3, count - 1), axis=0)
    return FeatureScene(
        keypoints=spread(scene.keypoints, 0),
        context=spread(scene.context, 0),
        crop=spread(scene.crop, 0),
        offset_s=spread(scene.offset_s, np.nan),
        truth=spread(scene.truth, np.nan),
        visibility=scene.visibility[(every + step // 2) // step],
        joints_m=np.asarray(spline(every), np.float32),
        rotation=scene.rotation,
        digest=scene.digest,
        boards=scene.boards,
    )
