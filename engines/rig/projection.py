"""From camera axes to the picture and back: pinhole with one radial term, and its derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.rig.types import Floats

MIN_DEPTH = 0.1
"""Points nearer than this (metres), or behind the camera, are treated as lying there."""
_DONE = 1e-7
"""Newton's next step would be smaller than what a float32 pixel can say."""


def normalised(points: Floats) -> Floats:
    """(..., 3) points in camera axes to (..., 2) X/Z, Y/Z."""
    return np.asarray(points[..., :2] / np.maximum(points[..., 2:], MIN_DEPTH))


def project(points: Floats, focal: npt.ArrayLike, k1: npt.ArrayLike) -> Floats:
    """Projects points.

    Args:
        points: (..., 3) in camera axes, metres.
        focal: broadcastable to (...), half-widths.
        k1: broadcastable to (...).

    Returns:
        (..., 2) half-width units relative to the principal point.
    """
    xn = normalised(points)
    gain = np.asarray(focal) * (1 + np.asarray(k1) * (xn**2).sum(-1))
    return np.asarray(xn * gain[..., None])


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Projected points with their derivatives; see ``project``.

    Attributes:
        xy: (..., 2).
        by_point: (..., 2, 3) with respect to the point in camera axes.
        by_log_focal: (..., 2).
        by_k1: (..., 2).
    """

    xy: Floats
    by_point: Floats
    by_log_focal: Floats
    by_k1: Floats


def project_with_derivatives(points: Floats, focal: Floats, k1: Floats) -> Projection:
    """Projects points and differentiates; arguments as ``project``, with array focal and k1."""
    depth = np.maximum(points[..., 2], MIN_DEPTH)
    xn = points[..., :2] / depth[..., None]
    r2 = (xn**2).sum(-1)
    gain = focal * (1 + k1 * r2)
    xy = xn * gain[..., None]
    # d(xy)/d(xn) = gain I + 2 f k1 xn xnᵀ; d(xn)/d(point) = [I | −xn] / Z.
    inner = 2 * (focal * k1)[..., None, None] * xn[..., :, None] * xn[..., None, :]
    inner[..., 0, 0] += gain
    inner[..., 1, 1] += gain
    inner /= depth[..., None, None]
    by_point = np.empty((*xy.shape, 3))
    by_point[..., :2] = inner
    by_point[..., 2] = -(inner @ xn[..., None])[..., 0]
    return Projection(xy, by_point, xy, xn * (focal * r2)[..., None])


def undistort(xy: Floats, focal: npt.ArrayLike, k1: npt.ArrayLike) -> Floats:
    """Turns picture points into directions.

    Args:
        xy: (..., 2) half-width units relative to the principal point.
        focal: broadcastable to (...).
        k1: broadcastable to (...).

    Returns:
        (..., 2) X/Z, Y/Z. Newton's method on the radius; where a strong negative k1 folds the
        picture over, the fold itself.
    """
    distorted = xy / np.asarray(focal)[..., None]
    k = np.broadcast_to(np.asarray(k1, np.float64), distorted.shape[:-1])
    target = np.sqrt((distorted**2).sum(-1))
    radius = target.copy()
    fold = np.where(k < 0, np.sqrt(1 / np.maximum(-3 * k, 1e-12)), np.inf)
    for _ in range(6):
        bent = k * radius**2
        step = (radius * (1 + bent) - target) / np.maximum(1 + 3 * bent, 1e-3)
        radius = np.clip(radius - step, 0.0, fold)
        if np.abs(step).max(initial=0.0) < _DONE:
            break
    ratio = radius / np.maximum(target, 1e-12)
    return np.asarray(distorted * np.where(target > 1e-12, ratio, 1.0)[..., None])
