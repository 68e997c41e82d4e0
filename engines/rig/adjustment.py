"""From kept instants to cameras: start, robust adjustment, swaps, noise, time offsets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engines.rig.bundle import to_camera
from engines.rig.initial import Start, start_rig
from engines.rig.keyframes import Keyframe
from engines.rig.levenberg import solve
from engines.rig.local_fit import fit_local
from engines.rig.noise import LEAST_CONFIDENCE, START_NOISE, unit_sigmas, view_noise
from engines.rig.projection import project, undistort
from engines.rig.side_swaps import find_swaps, mend_swaps
from engines.rig.triangulation import triangulate
from engines.rig.types import Bools, Floats, KnownCamera
from engines.rig.unknowns import CHILDREN, PARENTS, Measurements, Priors, State

_OFTEN: Final = 0.25
"""Share of the instants at which two views must see a joint for it to count as seen."""
_ENOUGH_BONES: Final = 0.25
"""Share of a body's bone that must be seen for the scale to rest on what is seen alone."""
_START_FOCAL_SIGMA: Final = 0.1
"""Where the lifter takes a view for another side of the person, focal lengths must not make up for
it: the start then ends in another minimum."""
_ROUGH: Final = 4.0  # how many times the noise is taken at first, while the start is still off


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Kept instants as arrays.

    Attributes:
        delays: (K, W, V) seconds.
        keypoints: (K, W, V, 17, 3) relative to the principal points.
        size: (K, V).
        lifted: (K, V, 17, 3) metres.
        lifted_sigma: (K, V, 17) metres.
    """

    delays: Floats
    keypoints: Floats
    size: Floats
    lifted: Floats
    lifted_sigma: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """An adjusted rig, in the axes of its reference camera.

    Attributes:
        state: the unknowns.
        seen: the measurements that it was adjusted to.
        unit_sigma: (K, V, 17) their sigmas for a noise of 1.
        noise: (V,) of each view's 2D joints, in person sizes.
        swaps: (K, W, V, 2) legs and arms exchanged.
        cost: half the sum of losses.
    """

    state: State
    seen: Measurements
    unit_sigma: Floats
    noise: Floats
    swaps: Bools
    cost: float


def seen_together(keyframes: tuple[Keyframe, ...], views: tuple[int, ...]) -> tuple[Keyframe, ...]:
    """The kept instants at which two of some cameras saw the person."""
    return tuple(k for k in keyframes if k.seen_by[list(views)].sum() >= 2)


def gather(
    keyframes: tuple[Keyframe, ...],
    known: tuple[KnownCamera, ...],
    views: tuple[int, ...],
    body_unit_m: float,
) -> Evidence:
    """Stacks what some cameras saw at the kept instants into arrays."""
    index = list(views)
    keyframes = seen_together(keyframes, views)
    principal = np.array([known[v].principal for v in views])
    keypoints = np.stack([k.keypoints[:, index] for k in keyframes])
    keypoints[..., :2] -= principal[:, None]
    return Evidence(
        delays=np.stack([k.delays[:, index] for k in keyframes]),
        keypoints=keypoints,
        size=np.stack([k.size[index] for k in keyframes]),
        lifted=np.stack([k.lifted[index] for k in keyframes]) * body_unit_m,
        lifted_sigma=np.stack([k.lifted_sigma[index] for k in keyframes]) * body_unit_m,
    )


def with_measured_bones(priors: Priors, evidence: Evidence) -> Priors:
    """Priors whose scale rests on bones that are seen: behind a desk there are no legs."""
    known = (evidence.keypoints[..., 2] > LEAST_CONFIDENCE).any(1)  # (K, V, 17)
    often = (known.sum(1) >= 2).mean(0) >= _OFTEN
    measured = often[PARENTS] & often[CHILDREN]
    if priors.bone_share[measured].sum() < _ENOUGH_BONES:
        return priors
    return replace(priors, bone_measured=measured)


def measure(
    evidence: Evidence, swaps: Bools | None, offsets: Floats, noise: Floats
) -> tuple[Measurements, Floats]:
    """Reads the joints at the instants: the measurements, and their sigmas for a noise of 1."""
    keypoints = evidence.keypoints if swaps is None else mend_swaps(evidence.keypoints, swaps)
    fit = fit_local(
        np.swapaxes(evidence.delays + offsets, 1, 2),
        np.swapaxes(keypoints, 1, 2),
        np.nan_to_num(evidence.size, nan=1.0),
    )
    unit = unit_sigmas(evidence.size, fit.variance, fit.confidence)
    seen = Measurements(fit.xy, fit.speed, unit * noise[None, :, None], offsets)
    return seen, unit


def first_rig(evidence: Evidence, priors: Priors, reference: int) -> Start | None:
    """A start from the lifter's answers, in the reference camera's axes."""
    views = evidence.size.shape[1]
    seen, unit = measure(evidence, None, np.zeros(views), np.full(views, START_NOISE))
    focal = np.exp(priors.log_focal)
    straight = undistort(seen.xy, focal[None, :, None], priors.k1[None, :, None])
    return start_rig(
        lifted=evidence.lifted,
        weights=1 / evidence.lifted_sigma**2,
        xy=straight * focal[None, :, None, None],
        seen=np.where(np.isfinite(unit), 1.0, 0.0),
        reference=reference,
        focal=focal,
        focal_sigma=np.minimum(priors.log_focal_sigma, _START_FOCAL_SIGMA),
    )


def start_state(start: Start, priors: Priors) -> State:
    """The adjustment's unknowns at a start."""
    lengths = np.linalg.norm(start.points[:, CHILDREN] - start.points[:, PARENTS], axis=-1)
    total = priors.bone_sum or float(np.median(lengths, axis=0).sum())
    return State(
        rotations=start.rotations,
        translations=-np.einsum("vij,vj->vi", start.rotations, start.positions),
        log_focal=np.log(start.focal),
        k1=priors.k1.copy(),
        offsets=np.zeros(len(start.focal)),
        points=start.points,
        bones=priors.bone_share * total,
    )


def warm_state(evidence: Evidence, cameras: State, noise: Floats) -> State:
    """Cameras from an earlier adjustment, with joints triangulated at the present instants."""
    seen, _ = measure(evidence, None, cameras.offsets, noise)
    focal = np.exp(cameras.log_focal)
    xn = undistort(seen.xy, focal[None, :, None], cameras.k1[None, :, None])
    sigma = seen.sigma / focal[None, :, None]
    count, views = seen.xy.shape[:2]
    made = triangulate(
        np.swapaxes(xn, 1, 2).reshape(-1, views, 2),
        np.swapaxes(sigma, 1, 2).reshape(-1, views),
        cameras.rotations,
        cameras.positions,
    )
    solved = made.solved.reshape(count, 17)
    points = made.points.reshape(count, 17, 3)
    # Where fewer than two views see a joint, the lifter says where it is among the others.
    weights = 1 / evidence.lifted_sigma**2
    turned = np.einsum("vji,kvpj->kvpi", cameras.rotations, evidence.lifted)
    skeleton = (weights[..., None] * turned).sum(1)
    skeleton = skeleton / np.maximum(weights.sum(1), 1e-9)[..., None]
    held = solved[..., None]
    roots = np.where(held, points - skeleton, 0.0).sum(1) / np.maximum(held.sum(1), 1)
    middle = points[solved].mean(0) if solved.any() else np.zeros(3)
    roots = np.where(np.asarray(solved.any(1))[:, None], roots, middle)
    return cameras.with_points(np.where(held, points, skeleton + roots[:, None]))


def adjust_from_start(evidence: Evidence, start: Start, priors: Priors) -> Adjusted:
    """Adjusts a first rig: roughly, then swaps, noise and time offsets in turn with it."""
    noise = np.full(evidence.size.shape[1], START_NOISE)
    state = start_state(start, priors)
    # Lens and clocks come later: while all else is off they would only be led astray.
    fewer = priors.free.copy()
    fewer[:, 7:] = False
    seen, _ = measure(evidence, None, state.offsets, noise)
    rough = replace(seen, sigma=seen.sigma * _ROUGH)
    state = solve(state, rough, replace(priors, free=fewer), max_steps=12, tolerance=3e-3).state
    return adjust(evidence, state, priors, noise, rounds=3)


def adjust(
    evidence: Evidence, state: State, priors: Priors, noise: Floats, rounds: int = 1
) -> Adjusted:
    """Adjusts a rig that is roughly right.

    Args:
        evidence: the kept instants.
        state: the rig and the joints.
        priors: priors and what is free.
        noise: (V,) what is known of the views' noise.
        rounds: how often swaps, noise and time offsets are found anew.

    Returns:
        The adjusted rig.
    """
    cost = np.inf
    for index in range(rounds):
        swaps = _swaps(evidence, state, noise)
        seen, unit = measure(evidence, swaps, state.offsets, noise)
        last = index == rounds - 1
        solution = solve(
            state, seen, priors, max_steps=20 if last else 8, tolerance=1e-5 if last else 1e-3
        )
        state, cost = solution.state, solution.cost
        noise = view_noise(state, seen, unit, noise)
    seen = replace(seen, sigma=unit * noise[None, :, None])
    return Adjusted(state, seen, unit, noise, swaps, cost)


def _swaps(evidence: Evidence, state: State, noise: Floats) -> Bools:
    in_camera = to_camera(state)
    focal, k1 = np.exp(state.log_focal)[None, :, None], state.k1[None, :, None]
    predicted = project(in_camera, focal, k1)  # (K, V, 17, 2)
    size = np.nan_to_num(evidence.size, nan=1.0)
    # Pictures are up to a seventh of a second from the instant: allow for the motion between.
    sigma = np.sqrt(noise**2 + 0.02**2) * size
    swaps = find_swaps(predicted[:, None], evidence.keypoints, sigma[:, None])
    return np.asarray(swaps)
