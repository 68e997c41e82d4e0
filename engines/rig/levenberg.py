"""Levenberg-Marquardt on the bundle adjustment, and the covariance at its end.

Damping after Nielsen (IMM-REP-1999-05). The instants' unknowns are eliminated (Schur complement).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.rig.bundle import Normal, cost_of, linearise
from engines.rig.types import CAMERA_PARAMETERS, Bools, Floats
from engines.rig.unknowns import BONE_COUNT, Measurements, Priors, State

_TINY: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Where the adjustment ended.

    Attributes:
        state: the unknowns.
        cost: half the sum of losses.
        steps: how many were tried.
    """

    state: State
    cost: float
    steps: int


def solve(
    state: State, seen: Measurements, priors: Priors, max_steps: int = 30, tolerance: float = 1e-4
) -> Solution:
    """Minimises the robust cost from a start.

    Args:
        state: the start.
        seen: the 2D joints.
        priors: priors and which unknowns are free.
        max_steps: most steps to try.
        tolerance: stops when a step gains less than this share of the cost.

    Returns:
        The best state found.
    """
    active = _active(priors)
    damping, growth = 1e-3, 2.0
    normal = linearise(state, seen, priors)
    steps = 0
    while steps < max_steps:
        steps += 1
        shared_step, point_step, expected = _step(normal, active, damping)
        views = len(state.log_focal)
        camera_step = shared_step[: CAMERA_PARAMETERS * views].reshape(views, CAMERA_PARAMETERS)
        trial = state.moved(
            camera_step,
            shared_step[CAMERA_PARAMETERS * views :],
            point_step.reshape(state.points.shape),
        )
        cost = cost_of(trial, seen, priors)
        gain = normal.cost - cost
        if np.isfinite(cost) and gain > 0:
            state = trial
            small = gain < tolerance * normal.cost
            ratio = gain / max(expected, _TINY)
            damping = max(damping * max(1 / 3, 1 - (2 * ratio - 1) ** 3), 1e-9)
            growth = 2.0
            if small:
                return Solution(state, cost, steps)
            normal = linearise(state, seen, priors)
        else:
            damping *= growth
            growth *= 2
            if damping > 1e9:
                break
    return Solution(state, normal.cost, steps)


def _active(priors: Priors) -> Bools:
    return np.concatenate([priors.free.ravel(), np.ones(BONE_COUNT, bool)])


def _step(normal: Normal, active: Bools, damping: float) -> tuple[Floats, Floats, float]:
    """Solves the damped system: shared step, point steps, expected gain."""
    points = normal.points.copy()
    index = np.arange(points.shape[1])
    diagonal = points[:, index, index]
    # A joint that nothing holds stays where it is.
    point_damping = damping * diagonal + 1e-3
    points[:, index, index] += point_damping
    cross = normal.cross[:, :, active]
    size = cross.shape[2]
    right = np.concatenate([cross, -normal.point_gradient[..., None]], -1)
    solved = np.linalg.solve(points, right)
    flat = cross.reshape(-1, size)
    reduction = flat.T @ solved.reshape(-1, size + 1)
    shared = normal.shared[np.ix_(active, active)]
    damping_shared = damping * np.diag(shared) + _TINY
    system = shared - reduction[:, :size]
    system[np.arange(size), np.arange(size)] += damping_shared
    gradient = normal.shared_gradient[active]
    active_step = np.linalg.solve(system, -gradient - reduction[:, size])
    point_step = solved[..., size] - solved[..., :size] @ active_step
    expected = 0.5 * (
        (active_step * (damping_shared * active_step - gradient)).sum()
        + (point_step * (point_damping * point_step - normal.point_gradient)).sum()
    )
    shared_step = np.zeros(len(active))
    shared_step[active] = active_step
    return shared_step, point_step, float(expected)


@dataclass(frozen=True, slots=True, eq=False)
class Covariance:
    """Uncertainty at the solution.

    Attributes:
        shared: (G, G) of cameras (9 each) and bones; zero for what was not free.
        influence: (K, 51, G) how the instants' joints follow the shared unknowns.
        points: (K, 51, 51) of the joints for given shared unknowns.
    """

    shared: Floats
    influence: Floats
    points: Floats


def covariance(state: State, seen: Measurements, priors: Priors) -> Covariance:
    """Inverts the normal equations at a solution; residuals must be whitened rightly."""
    active = _active(priors)
    normal = linearise(state, seen, priors)
    points = normal.points.copy()
    index = np.arange(points.shape[1])
    points[:, index, index] += 1e-2  # a joint that nothing holds: 10 m
    inverse = np.linalg.inv(points)
    influence = -inverse @ normal.cross
    cross = normal.cross[:, :, active]
    reduced = normal.shared[np.ix_(active, active)] + np.einsum(
        "kpa,kpb->ab", cross, influence[:, :, active], optimize=True
    )
    values, vectors = np.linalg.eigh((reduced + reduced.T) / 2)
    values = np.maximum(values, _TINY * max(values[-1], 1.0) * 1e-3)
    shared = np.zeros((len(active), len(active)))
    shared[np.ix_(active, active)] = (vectors / values) @ vectors.T
    return Covariance(shared, influence, np.asarray(inverse))
