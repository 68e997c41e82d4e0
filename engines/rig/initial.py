"""A first rig from the lifter's answers: rotations, then focal lengths and places, all linear.

Two views' answers for the same instants differ by the rotation between the cameras. With the pose
known up to its place, the picture gives the place along a ray whose depth is proportional to the
focal length; that all cameras see the same path then fixes focal lengths and positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.procrustes import rotation_from_correlation, synchronise_rotations
from engines.rig.types import Bools, Floats

_ROUNDS: Final = 5
_MIN_SHARED: Final = 3
_PATH_SIGMA_M: Final = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A first rig, in the axes of the reference camera, which stands at the origin.

    Attributes:
        rotations: (V, 3, 3) reference axes to camera axes; NaN where not found.
        positions: (V, 3).
        focal: (V,).
        points: (K, 17, 3) joints.
        rotation_sigma: (V,) radians.
        pair_weights: (V, V) how many instants stand behind each pair's rotation.
    """

    rotations: Floats
    positions: Floats
    focal: Floats
    points: Floats
    rotation_sigma: Floats
    pair_weights: Floats


def start_rig(
    lifted: Floats,
    weights: Floats,
    xy: Floats,
    seen: Floats,
    reference: int,
    focal: Floats,
    focal_sigma: Floats,
) -> Start | None:
    """Finds a first rig.

    Args:
        lifted: (K, V, 17, 3) root-relative answers in camera axes, metres.
        weights: (K, V, 17) of them; 0 where there is none.
        xy: (K, V, 17, 2) half-width units relative to the principal point, without distortion.
        seen: (K, V, 17) weights of ``xy``; 0 where missing.
        reference: camera whose axes are used.
        focal: (V,) expected focal lengths.
        focal_sigma: (V,) relative uncertainty.

    Returns:
        The rig, or None where no two cameras could be related.
    """
    pairwise, pair_weights, trust = _pair_rotations(lifted, weights)
    order = np.roll(np.arange(lifted.shape[1]), -reference)
    to_reference = np.full((lifted.shape[1], 3, 3), np.nan)
    to_reference[order] = synchronise_rotations(
        pairwise[np.ix_(order, order)], pair_weights[np.ix_(order, order)]
    )
    known = ~np.isnan(to_reference[:, 0, 0])
    if known.sum() < 2:
        return None
    trusted = weights * np.where(known, trust, 0.0)[..., None]
    turned = np.einsum(
        "vij,kvpj->kvpi", np.where(np.isnan(to_reference), 0.0, to_reference), lifted
    )
    total = np.maximum(trusted.sum(1), 1e-9)
    skeleton = np.einsum("kvp,kvpi->kpi", trusted, turned) / total[..., None]
    to_reference = _refine(to_reference, known, skeleton, lifted, trusted)

    rotations = np.where(known[:, None, None], np.swapaxes(to_reference, 1, 2), np.eye(3))
    visible = seen * known[None, :, None]
    for _ in range(3):
        rays, quality = _place(skeleton, rotations, xy, visible, focal)
        focal, positions, roots = _shared_path(
            rays, quality, rotations, focal, focal_sigma, reference
        )
    sigma = _rotation_sigma(to_reference, known, skeleton, lifted, trusted)
    return Start(
        rotations=np.where(known[:, None, None], rotations, np.nan),
        positions=positions,
        focal=focal,
        points=skeleton + roots[:, None],
        rotation_sigma=sigma,
        pair_weights=pair_weights,
    )


def _pair_rotations(lifted: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """(V, V, 3, 3) robust rotations between pairs, (V, V) weights, (K, V) trust in each answer."""
    views = lifted.shape[1]
    pairwise = np.tile(np.eye(3), (views, views, 1, 1))
    pair_weights = np.zeros((views, views))
    trust_sum, trust_count = np.zeros(lifted.shape[:2]), np.zeros(lifted.shape[:2])
    for i in range(views):
        for j in range(i + 1, views):
            w = np.sqrt(weights[:, i] * weights[:, j])
            shared = w.sum(-1) > 0
            if shared.sum() < _MIN_SHARED:
                continue
            a, b, w = lifted[shared, i], lifted[shared, j], w[shared]
            w = w / w.mean()
            frame_weight = np.ones(len(a))
            for _ in range(_ROUNDS):
                joint = w * frame_weight[:, None]
                rotation = rotation_from_correlation(np.einsum("kp,kpa,kpb->ab", joint, a, b))
                miss = (w * ((a - b @ rotation.T) ** 2).sum(-1)).sum(-1) / w.sum(-1)
                frame_weight = 1 / (1 + (miss / (2 * np.median(miss) + 1e-9)) ** 2)
            pairwise[i, j], pairwise[j, i] = rotation, rotation.T
            spread = np.average(miss, weights=frame_weight)
            pair_weights[i, j] = pair_weights[j, i] = frame_weight.sum() / (spread + 0.03**2)
            for view in (i, j):
                trust_sum[shared, view] += frame_weight
                trust_count[shared, view] += 1
    if pair_weights.max() > 0:
        pair_weights /= pair_weights.max()
    trust = np.where(trust_count > 0, trust_sum / np.maximum(trust_count, 1), 0.0)
    return pairwise, pair_weights, trust**2


def _refine(
    to_reference: Floats, known: Bools, skeleton: Floats, lifted: Floats, weights: Floats
) -> Floats:
    """Turns each camera onto the mean of all, once."""
    out = to_reference.copy()
    for v in np.flatnonzero(known):
        correlation = np.einsum("kp,kpa,kpb->ab", weights[:, v], skeleton, lifted[:, v])
        out[v] = rotation_from_correlation(correlation)
    return out


def _rotation_sigma(
    to_reference: Floats, known: Bools, skeleton: Floats, lifted: Floats, weights: Floats
) -> Floats:
    """(V,) radians: rough, from the scatter of single instants about the camera's rotation."""
    sigma = np.full(len(known), np.inf)
    for v in np.flatnonzero(known):
        use = weights[:, v].sum(-1) > 0
        turned = lifted[use, v] @ to_reference[v].T
        miss = np.sqrt(((turned - skeleton[use]) ** 2).sum(-1).mean(-1))
        reach = np.sqrt((skeleton[use] ** 2).sum(-1).mean(-1))
        share = miss / np.maximum(reach, 1e-6)
        sigma[v] = np.clip(np.median(share) if use.any() else 0.3, 0.1, 0.5)
    return sigma


def _place(
    skeleton: Floats, rotations: Floats, xy: Floats, seen: Floats, focal: Floats
) -> tuple[Floats, Floats]:
    """Where each view puts the pelvis in its own axes for given focal lengths.

    For a joint at offset d (camera axes) from the pelvis P: x (P_z + d_z) = f (P_x + d_x), and the
    same for y: linear in P. Robust to stray joints.

    Returns:
        (K, V, 3) places and (K, V) weights.
    """
    offset = np.einsum("vij,kpj->kvpi", rotations, skeleton)
    f = focal[None, :, None]
    rows = np.zeros((*xy.shape, 3))
    rows[..., 0, 0] = f
    rows[..., 1, 1] = f
    rows[..., 0, 2] = -xy[..., 0]
    rows[..., 1, 2] = -xy[..., 1]
    right = xy * offset[..., 2:] - f[..., None] * offset[..., :2]
    weight = seen
    place = np.zeros((*xy.shape[:2], 3))
    for _ in range(4):
        w = weight[..., None, None]
        system = np.einsum("kvpca,kvpcb->kvab", w * rows, rows) + 1e-9 * np.eye(3)
        place = np.linalg.solve(system, np.einsum("kvpca,kvpc->kva", w * rows, right)[..., None])[
            ..., 0
        ]
        miss = np.einsum("kvpca,kva->kvpc", rows, place) - right
        depth = np.maximum(place[..., 2], 0.5)
        square = ((miss / f[..., None]) ** 2).sum(-1)
        weight = seen / (1 + square / 0.08**2)
    depth = place[..., 2]
    good = (depth > 0.3) & (depth < 30.0) & ((seen > 0).sum(-1) >= 5)
    return place, np.where(good, (weight > 0).sum(-1) / np.maximum(depth, 1.0), 0.0)


def _shared_path(
    place: Floats,
    quality: Floats,
    rotations: Floats,
    focal: Floats,
    focal_sigma: Floats,
    reference: int,
) -> tuple[Floats, Floats, Floats]:
    """Focal lengths (V,), positions (V, 3) and path (K, 3) on which all views agree.

    Depth is proportional to focal length, so with g = f/f₀ the place in camera axes is
    (P_x, P_y, g P_z), and R ᵀ(P_x, P_y, g P_z) + C is the same for all cameras.
    """
    count, views = quality.shape
    axes = rotations[:, 2]  # (V, 3) the optical axes in reference axes
    flat = np.einsum("vji,kvj->kvi", rotations[:, :2], place[..., :2])
    depth = place[..., 2]
    unknowns = 3 * count + 3 * views + views
    weight = np.sqrt(quality) / _PATH_SIGMA_M
    for _ in range(5):
        k, v = np.nonzero(quality)
        number = len(k)
        matrix = np.zeros((number, 3, unknowns))
        rows = np.arange(number)
        for axis in range(3):
            matrix[rows, axis, 3 * k + axis] = -1.0
            matrix[rows, axis, 3 * count + 3 * v + axis] = 1.0
        matrix[rows, :, 3 * count + 3 * views + v] = axes[v] * depth[k, v, None]
        w = weight[k, v][:, None]
        system = (matrix * w[..., None]).reshape(-1, unknowns)
        right = (-flat[k, v] * w).reshape(-1)
        prior = np.zeros((views + 3, unknowns))
        prior[np.arange(views), 3 * count + 3 * views + np.arange(views)] = 1 / focal_sigma
        prior[views + np.arange(3), 3 * count + 3 * reference + np.arange(3)] = 1e4
        target = np.concatenate([1 / focal_sigma, np.zeros(3)])
        normal = system.T @ system + prior.T @ prior + 1e-6 * np.eye(unknowns)
        solution = np.linalg.solve(normal, system.T @ right + prior.T @ target)
        roots = solution[: 3 * count].reshape(count, 3)
        positions = solution[3 * count : 3 * count + 3 * views].reshape(views, 3)
        gain = np.clip(solution[3 * count + 3 * views :], 0.4, 2.5)
        miss = flat + axes * (gain * depth)[..., None] + positions - roots[:, None]
        square = (miss**2).sum(-1)
        weight = np.sqrt(quality / (1 + square / (2 * _PATH_SIGMA_M) ** 2)) / _PATH_SIGMA_M
    return focal * gain, positions, roots
