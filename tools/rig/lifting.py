"""The lifter's per-view answers for a whole take, as the live application would get them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.backends.select import open_backend
from engines.lifter import Lifter, read_card
from engines.rig.types import Floats

_STEP = 9
"""A window every so many instants; the newest of it are kept."""
_MAX_GAP_S = 0.2


def open_lifter(weights: Path, threads: int = 1) -> Lifter:
    """Loads the lifter.

    Raises:
        UserError: the weights are missing or broken.
    """
    return Lifter(open_backend(weights, "onnxruntime", threads), read_card(weights))


def lift_take(
    lifter: Lifter, times_s: Floats, view_times_s: Floats, keypoints: Floats
) -> tuple[Floats, Floats]:
    """Lifts a whole take.

    Args:
        lifter: the lifter.
        times_s: (T,) common times, ascending.
        view_times_s: (T, V) time stamps of the pictures.
        keypoints: (T, V, 17, 3) half-width units and confidence.

    Returns:
        (T, V, 17, 3) answers in camera axes, body units, and (T, V, 17) their sigma, infinite
        where a view has seen nothing around that time.
    """
    rate = lifter.card.rate_hz
    span = lifter.card.frames
    count = int(np.floor((times_s[-1] - times_s[0]) * rate)) + 1
    grid = times_s[0] + np.arange(count) / rate
    views = keypoints.shape[1]
    even = resample_views(view_times_s, keypoints, grid).astype(np.float32)
    joints = np.zeros((count, views, 17, 3))
    sigma = np.full((count, views, 17), np.inf)
    for end in range(min(_STEP, count), count + _STEP, _STEP):
        end = min(end, count)
        rows = np.clip(np.arange(end - span, end), 0, None)
        window = even[rows]
        mask = np.asarray((window[..., 2] > 0).any((0, 2)))
        if not mask.any():
            continue
        answer = lifter.lift(window, mask)
        newest = slice(max(end - _STEP, 0), end)
        kept = newest.stop - newest.start
        joints[newest] = answer.joints[-kept:]
        seen = (even[newest, :, :, 2] > 0).sum(-1) >= 4
        sigma[newest] = np.where(seen[..., None], answer.sigma[-kept:], np.inf)
    nearest = np.clip(np.round((times_s - times_s[0]) * rate).astype(int), 0, count - 1)
    return joints[nearest], sigma[nearest]


def resample(
    seen_s: Floats, keypoints: Floats, wanted_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """One view's joints at other times, linearly between pictures.

    Args:
        seen_s: (T,) times of the pictures, ascending.
        keypoints: (T, 17, 3).
        wanted_s: (N,) times.

    Returns:
        (N, 17, 3); confidence 0 where a joint is missing in a neighbouring picture.
    """
    after = np.clip(np.searchsorted(seen_s, wanted_s), 1, len(seen_s) - 1)
    before = after - 1
    gap = seen_s[after] - seen_s[before]
    share = np.clip((wanted_s - seen_s[before]) / np.maximum(gap, 1e-9), 0.0, 1.0)
    a, b = keypoints[before], keypoints[after]
    xy = a[..., :2] + (b[..., :2] - a[..., :2]) * share[:, None, None]
    confidence = np.where(gap[:, None] < _MAX_GAP_S, np.minimum(a[..., 2], b[..., 2]), 0.0)
    xy = np.where(confidence[..., None] > 0, xy, 0.0)
    return np.concatenate([xy, confidence[..., None]], axis=-1)


def resample_views(
    view_times_s: Floats, keypoints: Floats, wanted_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """All views' joints at the same times; see ``resample``.

    Args:
        view_times_s: (T, V) times of the pictures, time offsets included where they are known.
        keypoints: (T, V, 17, 3).
        wanted_s: (N,) times.

    Returns:
        (N, V, 17, 3).
    """
    views = range(keypoints.shape[1])
    return np.stack([resample(view_times_s[:, v], keypoints[:, v], wanted_s) for v in views], 1)
