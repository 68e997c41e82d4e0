"""The bundle adjustment's problem: cameras, joints and bone lengths against 2D joints.

Unknown are for each camera its rotation, translation, log focal length, k1 and time offset; the 17
joints at each instant; and 16 bone lengths. Residuals are reprojections (Cauchy loss), each bone
against its length (Cauchy loss), and priors. Everything that belongs to one instant (51 unknowns)
is eliminated by the Schur complement, so that what is solved for has 9 V + 16 unknowns: Triggs et
al., "Bundle Adjustment, a Modern Synthesis", 1999.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.rig.projection import project_with_derivatives
from engines.rig.rotations import skew
from engines.rig.types import CAMERA_PARAMETERS, Floats
from engines.rig.unknowns import (
    BONE_COUNT,
    CHILDREN,
    PARENTS,
    POINT_UNKNOWNS,
    Measurements,
    Priors,
    State,
)
from engines.skeleton import BONES, JOINT_COUNT

CAUCHY2: Final = 6.0
"""Squared whitened residual at which a 2D joint's weight is halved (its mean is 2)."""
_BONE_CAUCHY2: Final = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """Normal equations at a state; blocks of the Gauss-Newton Hessian and the gradient.

    Attributes:
        cost: half the sum of losses.
        points: (K, 51, 51).
        cross: (K, 51, G) with G = 9 V + 16.
        shared: (G, G).
        point_gradient: (K, 51).
        shared_gradient: (G,).
    """

    cost: float
    points: Floats
    cross: Floats
    shared: Floats
    point_gradient: Floats
    shared_gradient: Floats


def to_camera(state: State) -> Floats:
    """(K, V, 17, 3) the joints in camera axes."""
    turned = np.einsum("vij,kpj->kvpi", state.rotations, state.points)
    return np.asarray(turned + state.translations[None, :, None])


def reprojection(state: State, seen: Measurements) -> Floats:
    """(K, V, 17, 2) where the joints are seen minus where they were measured; 0 where unknown."""
    focal, k1 = np.exp(state.log_focal)[None, :, None], state.k1[None, :, None]
    points = to_camera(state)
    shape = points.shape[:3]
    out = project_with_derivatives(
        points, np.broadcast_to(focal, shape), np.broadcast_to(k1, shape)
    )
    late = (state.offsets - seen.read_at)[None, :, None, None]
    residual = out.xy - (seen.xy - late * seen.speed)
    return np.where(np.isfinite(seen.sigma)[..., None], residual, 0.0)


def joint_speeds(state: State, seen: Measurements) -> Floats:
    """(K, 17, 3) speeds of the joints, m/s, from those in the pictures; 0 where hardly seen."""
    shape = seen.sigma.shape
    focal = np.broadcast_to(np.exp(state.log_focal)[None, :, None], shape)
    k1 = np.broadcast_to(state.k1[None, :, None], shape)
    out = project_with_derivatives(to_camera(state), focal, k1)
    by_point = out.by_point @ state.rotations[None, :, None]
    weight = 1 / seen.sigma**2
    system = np.einsum("kvp,kvpca,kvpcb->kpab", weight, by_point, by_point)
    right = np.einsum("kvp,kvpca,kvpc->kpa", weight, by_point, seen.speed)
    # Along the only ray that sees a joint it is taken to stand still.
    weak = 1e-3 * np.trace(system, axis1=-2, axis2=-1)[..., None, None] + 1e-9
    return np.asarray(np.linalg.solve(system + weak * np.eye(3), right[..., None])[..., 0])


def cost_of(state: State, seen: Measurements, priors: Priors) -> float:
    """Half the sum of losses."""
    residual = reprojection(state, seen)
    square = (residual**2).sum(-1) / seen.sigma**2
    cost = CAUCHY2 * np.log1p(square / CAUCHY2).sum()
    bone = _bone_residuals(state, priors)[0]
    cost += _BONE_CAUCHY2 * np.log1p(bone**2 / _BONE_CAUCHY2).sum()
    rows, _ = _prior_rows(state, priors)
    return float(0.5 * (cost + (rows**2).sum()))


def linearise(state: State, seen: Measurements, priors: Priors) -> Normal:
    """Builds the normal equations with the robust losses' weights."""
    count, views = seen.xy.shape[:2]
    focal = np.broadcast_to(np.exp(state.log_focal)[None, :, None], seen.sigma.shape)
    k1 = np.broadcast_to(state.k1[None, :, None], seen.sigma.shape)
    in_camera = to_camera(state)
    out = project_with_derivatives(in_camera, focal, k1)
    late = (state.offsets - seen.read_at)[None, :, None, None]
    known = np.isfinite(seen.sigma)
    residual = np.where(known[..., None], out.xy - (seen.xy - late * seen.speed), 0.0)
    square = (residual**2).sum(-1) / seen.sigma**2
    weight = 1 / (seen.sigma**2 * (1 + square / CAUCHY2))
    weight[in_camera[..., 2] < 0.15] = 0.0

    by_camera = np.empty((*residual.shape, CAMERA_PARAMETERS))
    by_camera[..., :3] = -out.by_point @ skew(in_camera)
    by_camera[..., 3:6] = out.by_point
    by_camera[..., 6] = out.by_log_focal
    by_camera[..., 7] = out.by_k1
    by_camera[..., 8] = seen.speed
    by_point = out.by_point @ state.rotations[None, :, None]  # (K, V, 17, 2, 3)
    weighted_camera = by_camera * weight[..., None, None]
    weighted_point = by_point * weight[..., None, None]

    shared_size = CAMERA_PARAMETERS * views + BONE_COUNT
    shared = np.zeros((shared_size, shared_size))
    shared_gradient = np.zeros(shared_size)
    cross = np.zeros((count, JOINT_COUNT, 3, shared_size))
    camera_blocks = np.einsum("kvpca,kvpcb->vab", weighted_camera, by_camera)
    camera_gradients = np.einsum("kvpca,kvpc->va", weighted_camera, residual)
    coupling = np.swapaxes(weighted_point, -1, -2) @ by_camera  # (K, V, 17, 3, 9)
    for v in range(views):
        part = slice(CAMERA_PARAMETERS * v, CAMERA_PARAMETERS * (v + 1))
        shared[part, part] = camera_blocks[v]
        shared_gradient[part] = camera_gradients[v]
        cross[:, :, :, part] = coupling[:, v]
    blocks = np.zeros((count, JOINT_COUNT, 3, JOINT_COUNT, 3))
    joints = np.arange(JOINT_COUNT)
    diagonal = (np.swapaxes(weighted_point, -1, -2) @ by_point).sum(1)  # (K, 17, 3, 3)
    blocks[:, joints, :, joints, :] = np.swapaxes(diagonal, 0, 1)
    point_gradient = np.einsum("kvpca,kvpc->kpa", weighted_point, residual)
    cost = CAUCHY2 * np.log1p(square / CAUCHY2).sum()

    cost += _add_bones(state, priors, blocks, cross, shared, point_gradient, shared_gradient)
    rows, jacobian = _prior_rows(state, priors)
    shared += jacobian.T @ jacobian
    shared_gradient += jacobian.T @ rows
    cost += (rows**2).sum()
    return Normal(
        cost=float(0.5 * cost),
        points=blocks.reshape(count, POINT_UNKNOWNS, POINT_UNKNOWNS),
        cross=cross.reshape(count, POINT_UNKNOWNS, shared_size),
        shared=shared,
        point_gradient=point_gradient.reshape(count, POINT_UNKNOWNS),
        shared_gradient=shared_gradient,
    )


def _bone_residuals(state: State, priors: Priors) -> tuple[Floats, Floats]:
    """(K, 16) whitened, and (K, 16, 3) unit vectors from parent to child."""
    vectors = state.points[:, CHILDREN] - state.points[:, PARENTS]
    length = np.maximum(np.sqrt((vectors**2).sum(-1)), 1e-6)
    return (length - state.bones) / priors.bone_sigma, vectors / length[..., None]


def _add_bones(
    state: State,
    priors: Priors,
    blocks: Floats,
    cross: Floats,
    shared: Floats,
    point_gradient: Floats,
    shared_gradient: Floats,
) -> float:
    """Adds each bone against its length to the normal equations, in place."""
    residual, unit = _bone_residuals(state, priors)
    inverse = 1 / priors.bone_sigma
    weight = 1 / (1 + residual**2 / _BONE_CAUCHY2)
    outer = (weight * inverse**2)[..., None, None] * unit[..., :, None] * unit[..., None, :]
    pull = (weight * residual * inverse)[..., None] * unit
    start = shared.shape[0] - BONE_COUNT
    side = (weight * inverse**2)[..., None] * unit
    for bone, (parent, child) in enumerate(BONES):
        blocks[:, child, :, child] += outer[:, bone]
        blocks[:, parent, :, parent] += outer[:, bone]
        blocks[:, child, :, parent] -= outer[:, bone]
        blocks[:, parent, :, child] -= outer[:, bone]
        point_gradient[:, child] += pull[:, bone]
        point_gradient[:, parent] -= pull[:, bone]
        cross[:, child, :, start + bone] -= side[:, bone]
        cross[:, parent, :, start + bone] += side[:, bone]
    index = np.arange(start, shared.shape[0])
    shared[index, index] += (weight * inverse**2).sum(0)
    shared_gradient[start:] -= (weight * residual * inverse).sum(0)
    return float(_BONE_CAUCHY2 * np.log1p(residual**2 / _BONE_CAUCHY2).sum())


def _prior_rows(state: State, priors: Priors) -> tuple[Floats, Floats]:
    """Whitened residuals of the priors and their derivatives by the shared unknowns."""
    views = len(state.log_focal)
    start = CAMERA_PARAMETERS * views
    size = start + BONE_COUNT
    rows: list[Floats] = []
    jacobian: list[Floats] = []

    def add(values: Floats, columns: npt.NDArray[np.intp], scale: Floats) -> None:
        rows.append(values * scale)
        block = np.zeros((len(values), size))
        block[np.arange(len(values)), columns] = scale
        jacobian.append(block)

    cameras = CAMERA_PARAMETERS * np.arange(views)
    add(state.log_focal - priors.log_focal, cameras + 6, 1 / priors.log_focal_sigma)
    add(state.k1 - priors.k1, cameras + 7, 1 / priors.k1_sigma)
    add(state.offsets, cameras + 8, np.full(views, 1 / priors.offset_sigma))
    for v in np.flatnonzero(np.isfinite(priors.rotation_sigma)):
        error = state.rotations[v] @ priors.rotations[v].T
        # First order is enough: the prior is weak and the turn from it small.
        vector = 0.5 * np.array(
            [error[2, 1] - error[1, 2], error[0, 2] - error[2, 0], error[1, 0] - error[0, 1]]
        )
        add(vector, 9 * v + np.arange(3), np.full(3, 1 / priors.rotation_sigma[v]))
    # Bones that nobody sees would take up whatever the others are too short by.
    part = priors.bone_share[priors.bone_measured].sum()
    total = state.bones[priors.bone_measured].sum() / part
    share_scale = 1 / (priors.bone_share_sigma * priors.bone_share * total)
    add(state.bones - priors.bone_share * total, start + np.arange(BONE_COUNT), share_scale)
    if priors.bone_sum is not None:
        scale = 1 / (1e-4 * priors.bone_sum)
        rows.append(np.array([(total - priors.bone_sum) * scale]))
        block = np.zeros((1, size))
        block[0, start + np.flatnonzero(priors.bone_measured)] = scale / part
        jacobian.append(block)
    return np.concatenate(rows), np.concatenate(jacobian)
