"""One skeleton from a rig: triangulation joined with the lifter's answer by their uncertainties.

The lifter knows the pose but not the place; triangulation knows both, where two views see a joint.
First the lifter's skeleton is put where the triangulated joints are; then each joint is the most
probable one given its 2D sightings (Cauchy) and the lifter (normal), so that one sighting, or none,
is also used as well as it can be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.pelvis import pelvis_between_hips
from engines.rig.keyframes import without_border
from engines.rig.local_fit import person_size
from engines.rig.noise import JOINT_FACTORS, LEAST_CONFIDENCE
from engines.rig.projection import normalised, undistort
from engines.rig.side_swaps import find_swaps, mend_swaps
from engines.rig.triangulation import CAUCHY2, Cameras, first_guess, refine, seen_at
from engines.rig.types import Bools, Floats
from engines.skeleton import JOINT_COUNT
from engines.view_fusion import fused_answer

_GUESS_LOSS: Final = 3.0
_ENOUGH: Final = 3
_POOR: Final = 0.7
"""Mean loss of the sightings from which a place is doubted: they are off by 2.5 sigma."""
_FEW_VIEWS: Final = 3
_EXCLUDED: Final = 60.0
"""Squared distance from the lifter's answer, in variances of one axis, at which so few views are
taken for wrong rather than the lifter: 4.5 times the distance that it expects."""
_NO_LIFTER_SIGMA_M: Final = 0.5
_NOTHING: Final = 1e-6
_SWAP_SLACK: Final = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class RigPose:
    """The skeleton in the world.

    Attributes:
        joints: (17, 3) metres, z up.
        sigma: (17,) expected distance from the truth, metres.
        views: (17,) how many views were believed for each joint.
        believed: (V,) mean weight of a view over the joints that it saw, 0…1; NaN where it saw
            none.
        known: (17,) whether the joint rests on two sightings or on the lifter's answer.
        swapped: (V,) views that had left and right exchanged.
    """

    joints: Floats
    sigma: Floats
    views: npt.NDArray[np.intp]
    believed: Floats
    known: Bools
    swapped: Bools


def pose_with_rig(
    cameras: Cameras,
    keypoints: Floats,
    aspects: Floats,
    rig_error_m: float,
    lifted: Floats | None = None,
    lifted_sigma: Floats | None = None,
) -> RigPose | None:
    """Makes the skeleton of one instant.

    Args:
        cameras: of the rig.
        keypoints: (V, 17, 3) half-width units and confidence (0: missing), each view's taken at
            the instant less its time offset.
        aspects: (V,) height over width of the pictures.
        rig_error_m: joint error that the rig itself makes.
        lifted: (V, 17, 3) the lifter's answers in camera axes, root-relative, metres, or None.
        lifted_sigma: (V, 17) expected distances of those, metres; infinite where none.

    Returns:
        The skeleton; None where it cannot be placed: no joint is seen twice, and there is no
        answer of the lifter with at least four joints seen once.
    """
    seen = without_border(keypoints, aspects)
    size = person_size(seen)
    answer = _answer(cameras, seen, size, rig_error_m, lifted, lifted_sigma)
    if answer is None:
        return None
    swaps = _swapped_views(cameras, seen, size, answer.joints)
    if swaps.any():
        mended = mend_swaps(seen, swaps)
        again = _answer(cameras, mended, size, rig_error_m, lifted, lifted_sigma)
        # Only what makes the views agree better is a swap.
        if again is not None and np.nanmean(again.believed) > np.nanmean(answer.believed):
            return replace(again, swapped=np.asarray(swaps.any(1)))
    return answer


def _swapped_views(cameras: Cameras, seen: Floats, size: Floats, joints: Floats) -> Bools:
    """(V, 2) views that have legs or arms the wrong way round."""
    predicted = seen_at(cameras, joints)
    sigma = np.hypot(cameras.noise, _SWAP_SLACK) * np.nan_to_num(size, nan=1.0)
    found = find_swaps(predicted, seen, sigma)
    return found & (cameras.known & np.isfinite(size))[:, None]


def _answer(
    cameras: Cameras,
    seen: Floats,
    size: Floats,
    rig_error_m: float,
    lifted: Floats | None,
    lifted_sigma: Floats | None,
) -> RigPose | None:
    """The skeleton from joints as they are; see ``pose_with_rig``."""
    confidence = seen[..., 2]
    usable = cameras.known[:, None] & np.isfinite(size)[:, None] & (confidence > LEAST_CONFIDENCE)
    xy = np.where(usable[..., None], seen[..., :2] - cameras.principal[:, None], 0.0)
    xn = np.swapaxes(undistort(xy, cameras.focal[:, None], cameras.k1[:, None]), 0, 1)
    spread = (cameras.noise / cameras.focal * np.nan_to_num(size, nan=1.0))[:, None]
    sigma = spread * JOINT_FACTORS / np.maximum(confidence, 0.1)
    inverse2 = np.where(usable, 1 / sigma**2, 0.0).T  # (17, V)

    guess = first_guess(xn, inverse2, cameras.rotations, cameras.positions)
    # That one view sees something else speaks against nothing in which three others agree.
    trusted = (guess.loss < _GUESS_LOSS) | (guess.agreeing >= _ENOUGH)
    skeleton, skeleton_sigma = _lifter_in_world(cameras, lifted, lifted_sigma)
    place: Floats | None = None
    if skeleton is not None:
        place = _place_by_joints(skeleton, skeleton_sigma, guess.points, trusted)
        if place is None or _loss(skeleton + place, xn, inverse2, cameras) > _POOR:
            place = _place_by_rays(skeleton, xn, inverse2, cameras, place)
    if place is None and not trusted.any():
        return None
    if skeleton is None or place is None:
        aim = np.where(trusted[:, None], guess.points, guess.points[trusted].mean(0))
        information = np.full(JOINT_COUNT, _NOTHING)
    else:
        aim = skeleton + place
        information = 3 / skeleton_sigma**2
    # Two rays, one of them of something else, meet somewhere, and exactly: at arms of two metres.
    off = information * ((guess.points - aim) ** 2).sum(-1)
    stray = ((inverse2 > 0).sum(1) <= _FEW_VIEWS) & (off > _EXCLUDED)
    start = np.where((trusted & ~stray)[:, None], guess.points, aim)
    made = refine(start, aim, information, xn, inverse2, cameras.rotations, cameras.positions, 4)
    joints, variance = _with_rig_error(made.points, made.information, aim, information, rig_error_m)
    counted = (inverse2 > 0).sum(0)
    believed = np.where(counted > 0, made.weights.sum(0) / np.maximum(counted, 1), np.nan)
    known = (made.views >= 2) | (information > _NOTHING)
    expected = np.sqrt(variance)
    joints[0], expected[0] = pelvis_between_hips(joints, np.where(known, expected, np.inf))
    known[0] = np.isfinite(expected[0])
    return RigPose(
        joints=joints,
        sigma=expected,
        views=made.views,
        believed=believed,
        known=known,
        swapped=np.zeros(len(believed), bool),
    )


def _with_rig_error(
    points: Floats, seen_information: Floats, aim: Floats, aim_information: Floats, error: float
) -> tuple[Floats, Floats]:
    """Weighs sightings and lifter again, with the rig's own error added to the sightings'.

    Args:
        points: (17, 3) the best points without that error.
        seen_information: (17, 3, 3) of the sightings.
        aim: (17, 3) the lifter's joints.
        aim_information: (17,) of those.
        error: of the rig, metres in 3D.

    Returns:
        (17, 3) joints and (17,) their variance in 3D.
    """
    eye = np.eye(3)
    lifter = aim_information[:, None, None] * eye
    # The points satisfy (S + L) (p − aim) = S (m − aim), m being where the sightings alone point.
    pull = (seen_information + lifter) @ (points - aim)[..., None]
    damp = eye + error**2 / 3 * seen_information
    stacked = np.linalg.solve(damp, np.concatenate([seen_information, pull], -1))
    spread = np.linalg.inv(stacked[..., :3] + lifter)
    joints = aim + (spread @ stacked[..., 3:])[..., 0]
    return joints, np.trace(spread, axis1=1, axis2=2)


def _lifter_in_world(
    cameras: Cameras, lifted: Floats | None, sigma: Floats | None
) -> tuple[Floats | None, Floats]:
    """The views' answers turned into the world and averaged: (17, 3), (17,) metres."""
    nothing = np.full(JOINT_COUNT, _NO_LIFTER_SIGMA_M)
    if lifted is None or sigma is None:
        return None, nothing
    precision = np.where(cameras.known[:, None], 1 / sigma**2, 0.0)
    total = precision.sum(0)
    if not (total > 0).all():
        return None, nothing
    known = cameras.known
    turned = np.einsum("vji,vpj->vpi", cameras.rotations[known], lifted[known])
    mean, own = fused_answer(turned, precision[known], cameras.rotations[known, 2])
    return mean, np.maximum(own, 0.01)


def _place_by_joints(
    skeleton: Floats, sigma: Floats, points: Floats, trusted: Bools
) -> Floats | None:
    """(3,) where the pelvis is: robust mean over the triangulated joints; None where too few."""
    if trusted.sum() < 3:
        return None
    offsets = (points - skeleton)[trusted]
    place: Floats = np.sort(offsets, axis=0)[len(offsets) // 2]
    for _ in range(3):
        square = ((offsets - place) ** 2).sum(-1) / (2 * sigma[trusted]) ** 2
        weights = 1 / (sigma[trusted] ** 2 * (1 + square) ** 2)
        place = (weights[:, None] * offsets).sum(0) / weights.sum()
    return place


def _loss(joints: Floats, xn: Floats, inverse2: Floats, cameras: Cameras) -> float:
    """How badly joints (17, 3) fit their sightings: the mean of Cauchy's loss."""
    in_camera = np.einsum("vij,nvj->nvi", cameras.rotations, joints[:, None] - cameras.positions)
    square = ((normalised(in_camera) - xn) ** 2).sum(-1) * inverse2
    return float(np.log1p(square / CAUCHY2).sum() / max(1, (inverse2 > 0).sum()))


def _place_by_rays(
    skeleton: Floats, xn: Floats, inverse2: Floats, cameras: Cameras, other: Floats | None
) -> Floats | None:
    """(3,) where the pelvis is so that the lifter's joints lie on the rays that see them.

    By all views together, or by two of them where all views fit that better: one may look at
    somebody else. Or another place, where that fits best.
    """
    if (inverse2 > 0).sum() < 4:
        return other
    offset = skeleton[:, None] - cameras.positions  # (17, V, 3)
    in_camera = np.einsum("vij,nvj->nvi", cameras.rotations, offset)
    # x (Z + z) = X + x_offset, linear in the place.
    rows = cameras.rotations[None, :, :2] - xn[..., None] * cameras.rotations[None, :, 2:]
    right = xn * in_camera[..., 2:] - in_camera[..., :2]
    weight = inverse2[..., None, None] * rows
    system = np.einsum("nvca,nvcb->vab", weight, rows)
    told = np.einsum("nvca,nvc->va", weight, right)
    seeing = np.flatnonzero((inverse2 > 0).any(0))
    groups = [seeing, *(np.array(pair) for pair in combinations(seeing, 2) if len(seeing) > 2)]
    places: list[Floats] = [
        np.linalg.lstsq(system[g].sum(0), told[g].sum(0), rcond=1e-9)[0] for g in groups
    ]
    if other is not None:
        places.append(other)
    return min(places, key=lambda place: _loss(skeleton + place, xn, inverse2, cameras))
