"""How well pairs of views fit their epipolar geometry.

Two views of a joint lie on one plane with the two cameras. How far they are off it (Sampson
distance, Hartley & Zisserman, "Multiple View Geometry", 11.4) needs no triangulation, so each pair
of cameras is judged on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.rig.keyframes import without_border
from engines.rig.local_fit import person_size
from engines.rig.noise import JOINT_FACTORS
from engines.rig.projection import undistort
from engines.rig.rotations import skew
from engines.rig.triangulation import Cameras
from engines.rig.types import Bools, Floats

_QUANTILE: Final = 0.3
_EXPECTED: Final = 0.385  # of |normal| at that quantile
_JOINTS: Final = 6
_LEAST_CONFIDENCE: Final = 0.3

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class PairResiduals:
    """What does not fit between pairs of views.

    Attributes:
        views: how many views there are.
        first: (P,) the first view of each pair.
        second: (P,) the second.
        off: (..., P, 17) signed Sampson distance in sigmas; 0 where not known.
        known: (..., P, 17) whether both views see the joint.
        turn_first: (..., P, 17, 3) derivatives of ``off`` by a small turn of the first camera
            about its own axes (its rays turn), 1/radians.
        turn_second: the same for the second.
    """

    views: int
    first: Indices
    second: Indices
    off: Floats
    known: Bools
    turn_first: Floats
    turn_second: Floats


def pair_residuals(cameras: Cameras, keypoints: Floats, aspects: Floats) -> PairResiduals:
    """What does not fit between the views of one set.

    Args:
        cameras: of the rig.
        keypoints: (V, 17, 3) half-width units and confidence, at one instant.
        aspects: (V,) height over width of the pictures.
    """
    views = len(aspects)
    first, second = np.triu_indices(views, 1)
    xn, sigma = normalised_joints(cameras, keypoints, aspects)
    essential = essential_matrices(cameras, first, second)
    return _residuals(
        essential, xn[first], sigma[first], xn[second], sigma[second], views, first, second
    )


def low_quantile(residuals: PairResiduals) -> Floats:
    """(V, V) how far each pair is off, 1 being just noise; NaN where a pair sees too little.

    A low quantile over the joints, so that exchanged sides do not count.
    """
    out = np.full((residuals.views, residuals.views), np.nan)
    low = _quantile(residuals.off, residuals.known)
    out[residuals.first, residuals.second] = out[residuals.second, residuals.first] = low
    return out


def sampson_ratios(
    essential: Floats, xn_a: Floats, sigma_a: Floats, xn_b: Floats, sigma_b: Floats
) -> Floats:
    """(...) Sampson distances in sigmas, a low quantile over the joints; NaN where too few.

    Args:
        essential: (..., 3, 3).
        xn_a: (..., 17, 2) in the first camera.
        sigma_a: (..., 17).
        xn_b: (..., 17, 2) in the second.
        sigma_b: (..., 17).
    """
    nobody = np.zeros(0, np.intp)
    found = _residuals(essential, xn_a, sigma_a, xn_b, sigma_b, 0, nobody, nobody)
    return _quantile(found.off, found.known)


def normalised_joints(
    cameras: Cameras, keypoints: Floats, aspects: Floats
) -> tuple[Floats, Floats]:
    """(..., V, 17, 2) undistorted normalised coordinates and (..., V, 17) their sigmas."""
    seen = without_border(keypoints, aspects)
    size = person_size(seen)
    usable = seen[..., 2] > _LEAST_CONFIDENCE
    usable = usable & np.isfinite(size)[..., None] & cameras.known[:, None]
    xy = np.where(usable[..., None], seen[..., :2] - cameras.principal[:, None], 0.0)
    xn = undistort(xy, cameras.focal[:, None], cameras.k1[:, None])
    spread = (cameras.noise / cameras.focal * np.nan_to_num(size, nan=1.0))[..., None]
    sigma = np.hypot(spread * JOINT_FACTORS, cameras.slack[:, None])
    return xn, np.where(usable, sigma, np.inf)


def essential_matrices(cameras: Cameras, first: Indices, second: Indices) -> Floats:
    """(P, 3, 3) essential matrices: rayᵀ of the second camera, matrix, ray of the first is 0."""
    relative = cameras.rotations[second] @ np.swapaxes(cameras.rotations[first], 1, 2)
    gap = cameras.positions[first] - cameras.positions[second]
    base = (cameras.rotations[second] @ gap[..., None])[..., 0]
    base = base / np.maximum(np.linalg.norm(base, axis=-1, keepdims=True), 1e-9)
    return np.asarray(skew(base) @ relative)


def _residuals(
    essential: Floats,
    xn_a: Floats,
    sigma_a: Floats,
    xn_b: Floats,
    sigma_b: Floats,
    views: int,
    first: Indices,
    second: Indices,
) -> PairResiduals:
    ones = np.ones((*xn_a.shape[:-1], 1))
    ray_a, ray_b = np.concatenate([xn_a, ones], -1), np.concatenate([xn_b, ones], -1)
    line_b = ray_a @ np.swapaxes(essential, -1, -2)
    line_a = ray_b @ essential
    known = np.isfinite(sigma_a) & np.isfinite(sigma_b)
    sa, sb = np.where(known, sigma_a, 0.0), np.where(known, sigma_b, 0.0)
    variance = sb**2 * (line_b[..., :2] ** 2).sum(-1) + sa**2 * (line_a[..., :2] ** 2).sum(-1)
    scale = np.where(known, 1 / np.sqrt(np.maximum(variance, 1e-18)), 0.0)
    # A turn by w moves a ray x to x + w × x, and (w × x) · l = w · (x × l).
    return PairResiduals(
        views=views,
        first=first,
        second=second,
        off=(ray_b * line_b).sum(-1) * scale,
        known=known,
        turn_first=_cross(ray_a, line_a) * scale[..., None],
        turn_second=_cross(ray_b, line_b) * scale[..., None],
    )


def _cross(a: Floats, b: Floats) -> Floats:
    """``np.cross`` without its overhead, which is most of it for so few joints."""
    return np.stack(
        (
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ),
        -1,
    )


def _quantile(off: Floats, known: Bools) -> Floats:
    ratio = np.where(known, np.abs(off), np.inf)
    count = known.sum(-1)
    ratio.sort(axis=-1)
    index = np.maximum((_QUANTILE * (count - 1)).astype(np.intp), 0)
    low = np.take_along_axis(ratio, index[..., None], -1)[..., 0] / _EXPECTED
    return np.where(count >= _JOINTS, low, np.nan)
