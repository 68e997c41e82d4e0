"""How exact each camera's 2D joints are, estimated from what the adjustment leaves over."""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.rig.bundle import reprojection, to_camera
from engines.rig.projection import project_with_derivatives
from engines.rig.types import Floats
from engines.rig.unknowns import Measurements, State
from engines.skeleton import JOINT_COUNT

START_NOISE: Final = 0.012
"""Of a 2D joint along one axis, in person sizes, before anything is known of a camera."""

JOINT_FACTORS: Final = np.array(
    [1.5, 1, 1, 1, 1, 1, 1, 2.0, 1.5, 1.5, 1.5, 1, 1, 1, 1, 1, 1], dtype=np.float64
)
"""Midline joints are constructed, not detected, and count less."""

LEAST_CONFIDENCE: Final = 0.15
"""A joint of less is no measurement."""

_LEAST: Final = 0.003
_MOST: Final = 0.06
_MEDIAN_OF_SQUARE: Final = 2 * np.log(2)  # of a 2D normal distribution, in variances of one axis
_STRENGTH: Final = 60.0  # weight of the expectation, in measurements


def view_noise(state: State, seen: Measurements, unit_sigma: Floats, current: Floats) -> Floats:
    """Estimates each view's noise from its residuals.

    Args:
        state: the solution.
        seen: the measurements, with sigmas made from ``current``.
        unit_sigma: (K, V, 17) what ``seen.sigma`` would be for a noise of 1.
        current: (V,) the noise that was assumed.

    Returns:
        (V,) medians of the residuals, with allowance for the share of the noise that the joints
        themselves have followed.
    """
    residual = reprojection(state, seen)
    freedom = 1 - _leverage(state, seen)
    square = (residual**2).sum(-1) / unit_sigma**2 / np.maximum(freedom, 0.1)
    usable = np.isfinite(seen.sigma) & (freedom > 0.1)
    out = current.copy()
    for v in range(len(current)):
        values = square[:, v][usable[:, v]]
        if len(values):
            variance = float(np.median(values)) / _MEDIAN_OF_SQUARE
            mixed = (len(values) * variance + _STRENGTH * START_NOISE**2) / (
                len(values) + _STRENGTH
            )
            out[v] = np.clip(np.sqrt(mixed), _LEAST, _MOST)
    return out


def _leverage(state: State, seen: Measurements) -> Floats:
    """(K, V, 17) share of each measurement's variance that its own joint takes up."""
    points = to_camera(state)
    shape = points.shape[:3]
    focal = np.broadcast_to(np.exp(state.log_focal)[None, :, None], shape)
    k1 = np.broadcast_to(state.k1[None, :, None], shape)
    by_point = project_with_derivatives(points, focal, k1).by_point @ state.rotations[None, :, None]
    weight = 1 / seen.sigma**2
    information = np.einsum("kvp,kvpca,kvpcb->kpab", weight, by_point, by_point)
    spread = np.linalg.inv(information + 1e2 * np.eye(3))
    share = np.einsum("kvpca,kpab,kvpcb->kvp", by_point, spread, by_point) * weight
    return np.asarray(share / 2)


def unit_sigmas(size: Floats, variance: Floats, confidence: Floats) -> Floats:
    """Standard deviations of 2D joints for a noise of 1.

    Args:
        size: (K, V) the person's size.
        variance: (K, V, 17) relative to that of one picture's joint.
        confidence: (K, V, 17).

    Returns:
        (K, V, 17); infinite where a joint is missing or its detector has no trust in it.
    """
    # Errors of neighbouring pictures are alike, so many pictures are worth no more than a few.
    spread = np.sqrt(np.maximum(variance, 0.4))
    sigma = size[..., None] * spread * JOINT_FACTORS / np.maximum(confidence, 0.1)
    usable = (confidence > LEAST_CONFIDENCE) & np.isfinite(sigma) & (sigma > 0)
    assert sigma.shape[-1] == JOINT_COUNT
    return np.where(usable, sigma, np.inf)
