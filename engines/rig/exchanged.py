"""Whether a rig fits once its cameras are put into another order."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np

from engines.rig.epipolar import essential_matrices, normalised_joints, sampson_ratios
from engines.rig.monitor import NEEDED, OFF
from engines.rig.triangulation import Cameras
from engines.rig.types import Floats


def exchanged_cameras(
    cameras: Cameras, keypoints: Floats, aspects: Floats
) -> tuple[int, ...] | None:
    """Looks for an order of the cameras in which the rig fits.

    Args:
        cameras: of the rig.
        keypoints: (T, V, 17, 3) some sets, time offsets taken into account.
        aspects: (V,) height over width of the pictures.

    Returns:
        For each view the camera of the rig that it really is, where another order than the present
        fits and the present one does not; else None.
    """
    views = len(aspects)
    # Each view's joints as each camera's lens would have seen them: [camera, set, view].
    every = [normalised_joints(_alike(cameras, i), keypoints, aspects) for i in range(views)]
    pairs = np.full((views, views, views, views), np.nan)  # [camera i, camera j, view a, view b]
    for i, j in permutations(range(views), 2):
        essential = essential_matrices(cameras, np.array([i]), np.array([j]))
        for a, b in combinations(range(views), 2):
            (xa, sa), (xb, sb) = every[i], every[j]
            sets = sampson_ratios(essential, xa[:, a], sa[:, a], xb[:, b], sb[:, b])
            kept = sets[np.isfinite(sets)]
            if len(kept) >= NEEDED:
                pairs[i, j, a, b] = pairs[j, i, b, a] = np.median(kept)
    best, best_cost, own_cost = None, np.inf, np.inf
    for order in permutations(range(views)):
        values = [pairs[order[a], order[b], a, b] for a, b in combinations(range(views), 2)]
        known = [v for v in values if np.isfinite(v)]
        if len(known) < max(1, len(values) // 2):
            continue
        cost = max(known)
        if order == tuple(range(views)):
            own_cost = cost
        if cost < best_cost:
            best, best_cost = order, cost
    if best is None or own_cost < OFF or best_cost >= OFF:
        return None
    return best


def _alike(cameras: Cameras, index: int) -> Cameras:
    """As if all views had the lens and the noise of one camera."""
    same = np.full(len(cameras.focal), index)
    return replace(
        cameras,
        focal=cameras.focal[same],
        k1=cameras.k1[same],
        principal=cameras.principal[same],
        noise=cameras.noise[same],
        slack=cameras.slack[same],
        known=cameras.known[same],
    )
