"""Least-squares rotations and similarities between sets of corresponding points.

References: Kabsch 1976 (rotation); Umeyama 1991 (similarity); Arie-Nachimson et al. 2012
(rotations of many views from those between pairs, by the leading eigenvectors).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def nearest_rotation(matrix: npt.NDArray[np.floating]) -> Floats:
    """Projects matrices onto the rotations.

    Args:
        matrix: (..., 3, 3).

    Returns:
        (..., 3, 3) the proper rotations nearest in the Frobenius norm.
    """
    u, _, vt = np.linalg.svd(np.asarray(matrix, np.float64))
    sign = np.sign(np.linalg.det(u @ vt))
    u = u.copy()
    u[..., :, 2] *= sign[..., None]
    return np.asarray(u @ vt)


def rotation_from_correlation(correlation: npt.NDArray[np.floating]) -> Floats:
    """The rotation R that best maps a onto b, from C = Σ w b aᵀ (Kabsch).

    Args:
        correlation: (..., 3, 3) weighted sums of outer products b aᵀ.

    Returns:
        (..., 3, 3) R with b ≈ R a.
    """
    return nearest_rotation(correlation)


def align_similarity(points: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> Floats:
    """Moves, turns and scales points onto a target as well as can be (Umeyama 1991).

    Args:
        points: (..., N, 3).
        target: (..., N, 3) in the unit that the result is to have.

    Returns:
        (..., N, 3) the points after the best similarity (no mirroring).
    """
    p = np.asarray(points, np.float64)
    t = np.asarray(target, np.float64)
    p_mean, t_mean = p.mean(-2, keepdims=True), t.mean(-2, keepdims=True)
    p, t = p - p_mean, t - t_mean
    u, s, vt = np.linalg.svd(np.swapaxes(t, -1, -2) @ p)
    sign = np.sign(np.linalg.det(u @ vt))
    u, s = u.copy(), s.copy()
    u[..., :, 2] *= sign[..., None]
    s[..., 2] *= sign
    rotation = u @ vt
    spread = np.maximum((p**2).sum((-1, -2)), 1e-12)
    scale = (s.sum(-1) / spread)[..., None, None]
    return np.asarray(scale * (p @ np.swapaxes(rotation, -1, -2)) + t_mean)


def synchronise_rotations(
    pairwise: npt.NDArray[np.floating], weights: Floats, reference: int = 0
) -> Floats:
    """Rotations of all views to one of them from those between pairs.

    Args:
        pairwise: (V, V, 3, 3); [i, j] takes view j's axes to view i's.
        weights: (V, V) symmetric, 0 where a pair is not known.
        reference: the view whose axes are the common ones.

    Returns:
        (V, 3, 3); [i] takes view i's axes to the reference's. Views not connected with it are NaN.
    """
    views = len(weights)
    linked = _linked_with(weights, reference)
    out = np.full((views, 3, 3), np.nan)
    keep = np.flatnonzero(linked)
    n = len(keep)
    blocks = np.zeros((3 * n, 3 * n))
    for a, i in enumerate(keep):
        blocks[3 * a : 3 * a + 3, 3 * a : 3 * a + 3] = np.eye(3) * max(weights[i].sum(), 1e-12)
        for b, j in enumerate(keep):
            if i != j and weights[i, j] > 0:
                block = weights[i, j] * pairwise[i, j]
                blocks[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] = block
    degree = np.repeat([max(weights[i].sum(), 1e-12) for i in keep], 3)
    half = 1 / np.sqrt(2 * degree)
    _, vectors = np.linalg.eigh(half[:, None] * (blocks + blocks.T) / 2 * half[None])
    leading = (vectors[:, -3:] * np.sqrt(degree)[:, None]).reshape(n, 3, 3)
    if np.linalg.det(leading[0]) < 0:
        leading = leading * np.array([1.0, 1.0, -1.0])
    absolute = nearest_rotation(leading)  # rows of view i: axes of view i ← common axes
    base = absolute[int(np.flatnonzero(keep == reference)[0])]
    for a, i in enumerate(keep):
        out[i] = base @ absolute[a].T
    return out


def _linked_with(weights: Floats, reference: int) -> npt.NDArray[np.bool_]:
    linked = np.zeros(len(weights), bool)
    linked[reference] = True
    for _ in range(len(weights)):
        linked |= (weights[linked] > 0).any(0)
    return linked
