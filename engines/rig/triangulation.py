"""Robust triangulation of many joints at once, with covariances.

Every pair of views gives a guess (the midpoint of its two rays); the guess that most views agree
with is refined by Gauss-Newton on the reprojection errors with Cauchy weights. So one wrong view
does no harm as long as two others agree. Hartley & Zisserman, "Multiple View Geometry", ch. 12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.rig.projection import project
from engines.rig.types import Bools, Floats, Rig, RigCamera

CAUCHY2: Final = 6.0
"""Squared residual, in variances of one axis, at which a view is believed half."""
_WELL: Final = 1.0
"""Loss of a view up to which a guess fits it well: some three standard deviations."""
_MIN_DEPTH: Final = 0.1
_DONE_M: Final = 5e-4
"""A step of less changes nothing that anybody could see."""
_USUAL_DISTANCE_M: Final = 3.5
_OWN_SHARE: Final = 0.15
"""A camera's errors in turn, place and lens make up for each other: where the person is, its rays
are off by no more than this share of their sum. Found on simulated takes."""
_FAR2: Final = 20.0**2
"""Squared sigma (metres²) of a joint that nothing is known about."""


@dataclass(frozen=True, slots=True, eq=False)
class Cameras:
    """The known cameras of a rig as arrays.

    Attributes:
        rotations: (V, 3, 3) world to camera.
        positions: (V, 3).
        focal: (V,) half-widths.
        k1: (V,).
        principal: (V, 2) half-widths.
        offsets: (V,) seconds.
        noise: (V,) of 2D joints, in person sizes.
        slack: (V,) expected error of a ray's direction that the rig itself makes, radians.
        known: (V,) which entries mean something.
    """

    rotations: Floats
    positions: Floats
    focal: Floats
    k1: Floats
    principal: Floats
    offsets: Floats
    noise: Floats
    slack: Floats
    known: Bools


def cameras_of(rig: Rig) -> Cameras:
    """Takes the arrays out of a rig."""
    views = len(rig.cameras)
    rotations = np.tile(np.eye(3), (views, 1, 1))
    positions, principal = np.zeros((views, 3)), np.zeros((views, 2))
    focal, k1, offsets = np.ones(views), np.zeros(views), np.zeros(views)
    noise, slack, known = np.full(views, 0.02), np.zeros(views), np.zeros(views, bool)
    for v, camera in enumerate(rig.cameras):
        if camera is None:
            continue
        rotations[v], positions[v] = camera.rotation, camera.position
        principal[v], focal[v] = camera.model.principal, camera.model.focal
        k1[v], offsets[v] = camera.model.k1, camera.time_offset_s
        noise[v], slack[v], known[v] = camera.noise, _slack(camera), True
    return Cameras(rotations, positions, focal, k1, principal, offsets, noise, slack, known)


def seen_at(cameras: Cameras, joints: Floats) -> Floats:
    """Where joints (P, 3) in the world should be seen: (V, P, 2) half-width units."""
    relative = joints - cameras.positions[:, None]
    in_camera = np.einsum("vij,vpj->vpi", cameras.rotations, relative)
    places = project(in_camera, cameras.focal[:, None], cameras.k1[:, None])
    return np.asarray(places + cameras.principal[:, None])


def _slack(camera: RigCamera) -> float:
    """Expected error of a ray's direction along one axis, radians."""
    turn = np.trace(camera.covariance[:3, :3]) / 3
    shift = np.trace(camera.covariance[3:6, 3:6]) / 3 / _USUAL_DISTANCE_M**2
    # A wrong focal length turns the rays at half the picture's width by about half its error.
    lens = (0.5 / camera.model.focal) ** 2 * camera.covariance[6, 6]
    return _OWN_SHARE * float(np.sqrt(max(turn + shift + lens, 0.0)))


@dataclass(frozen=True, slots=True, eq=False)
class Triangulated:
    """Joints in the world.

    Attributes:
        points: (N, 3) metres.
        information: (N, 3, 3) inverse covariance; of rank 2 where one view sees the joint, zero
            where none does.
        weights: (N, V) 0…1 how far each view was believed; 0 where it saw nothing.
        views: (N,) how many were believed.
    """

    points: Floats
    information: Floats
    weights: Floats
    views: npt.NDArray[np.intp]

    @property
    def solved(self) -> Bools:
        """(N,) whether at least two views agree on the joint."""
        return self.views >= 2


def triangulate(
    xn: Floats,
    sigma: Floats,
    rotations: Floats,
    positions: Floats,
    expected: Floats | None = None,
    expected_information: Floats | None = None,
    rounds: int = 4,
) -> Triangulated:
    """Triangulates joints.

    Args:
        xn: (N, V, 2) undistorted normalised coordinates X/Z, Y/Z; finite.
        sigma: (N, V) standard deviations of them along one axis; infinite where missing.
        rotations: (V, 3, 3) world to camera.
        positions: (V, 3).
        expected: (N, 3) where the joints are expected, or None.
        expected_information: (N,) inverse variances of that, along each axis; 0 for none.
        rounds: Gauss-Newton steps, at most.

    Returns:
        The joints. ``information`` does not contain that of ``expected``.
    """
    inverse2 = 1 / sigma**2
    start = first_guess(xn, inverse2, rotations, positions).points
    prior = np.zeros(len(xn)) if expected_information is None else expected_information
    if expected is not None:
        few = (inverse2 > 0).sum(1) < 2
        start = np.where(few[:, None], expected, start)
    aim = start if expected is None else expected
    return refine(start, aim, prior, xn, inverse2, rotations, positions, rounds)


def refine(
    points: Floats,
    aim: Floats,
    aim_information: Floats,
    xn: Floats,
    inverse2: Floats,
    rotations: Floats,
    positions: Floats,
    rounds: int = 4,
) -> Triangulated:
    """Gauss-Newton from a guess: arguments as ``triangulate``, but (N, V) inverse variances."""
    eye = np.eye(3)
    for _ in range(rounds):
        residual, jacobian, front = _residuals(points, xn, rotations, positions)
        square = (residual**2).sum(-1) * inverse2
        weights = np.where(front & (inverse2 > 0), 1 / (1 + square / CAUCHY2), 0.0)
        scale = weights * inverse2
        left = np.swapaxes(jacobian * scale[..., None, None], -1, -2)  # (N, V, 3, 2)
        information = (left @ jacobian).sum(1)
        gradient = (left @ residual[..., None]).sum(1)[..., 0]
        gradient = gradient + aim_information[:, None] * (points - aim)
        hessian = information + (aim_information + 1 / _FAR2)[:, None, None] * eye
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        length = np.sqrt((step**2).sum(-1, keepdims=True))
        points = points - step * np.minimum(1.0, 0.5 / np.maximum(length, 1e-9))
        if length.max() < _DONE_M:
            break
    return Triangulated(points, information, weights, (weights > 0.35).sum(1))


def _residuals(
    points: Floats, xn: Floats, rotations: Floats, positions: Floats
) -> tuple[Floats, Floats, Bools]:
    """(N, V, 2) predicted minus seen, (N, V, 2, 3) derivatives, (N, V) in front of the camera."""
    relative = points[:, None] - positions  # (N, V, 3)
    in_camera = (rotations @ relative[..., None])[..., 0]
    depth = np.maximum(in_camera[..., 2:], _MIN_DEPTH)
    predicted = in_camera[..., :2] / depth
    jacobian = (rotations[:, :2] - predicted[..., None] * rotations[:, 2:3]) / depth[..., None]
    return predicted - xn, jacobian, in_camera[..., 2] > _MIN_DEPTH


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """The midpoint, among those of all pairs, that the views agree with best.

    Attributes:
        points: (N, 3); the cameras' middle where no two views see the joint.
        loss: (N,) sum over the views of log(1 + residual² / (6 σ²)); infinite where no two views
            see the joint.
        agreeing: (N,) how many views it fits well.
    """

    points: Floats
    loss: Floats
    agreeing: npt.NDArray[np.intp]


def first_guess(xn: Floats, inverse2: Floats, rotations: Floats, positions: Floats) -> Guess:
    """Guesses each joint from pairs of views; arguments as ``refine``."""
    views = len(rotations)
    first, second = np.triu_indices(views, 1)
    rays = np.einsum("vji,nvj->nvi", rotations[:, :2], xn) + rotations[:, 2]
    a, b = rays[:, first], rays[:, second]  # (N, P, 3)
    base = positions[second] - positions[first]
    aa, bb, ab = (a * a).sum(-1), (b * b).sum(-1), (a * b).sum(-1)
    ac, bc = (a * base).sum(-1), (b * base).sum(-1)
    spread = aa * bb - ab**2
    flat = spread < 1e-6 * aa * bb
    safe = np.where(flat, 1.0, spread)
    s = np.where(flat, 5.0, (ac * bb - bc * ab) / safe)
    t = np.where(flat, 5.0, (ac * ab - bc * aa) / safe)
    near_a = positions[first] + s[..., None] * a
    near_b = positions[second] + t[..., None] * b
    guess = 0.5 * (near_a + near_b)  # (N, P, 3)
    in_camera = np.einsum("vij,npj->npvi", rotations, guess) - np.einsum(
        "vij,vj->vi", rotations, positions
    )
    predicted = in_camera[..., :2] / np.maximum(in_camera[..., 2:], _MIN_DEPTH)
    square = ((predicted - xn[:, None]) ** 2).sum(-1) * inverse2[:, None]
    losses = np.where(inverse2[:, None] > 0, np.log1p(square / CAUCHY2), 0.0)
    fitting = ((inverse2[:, None] > 0) & (losses < _WELL)).sum(-1)
    loss = losses.sum(-1)
    usable = (inverse2[:, first] > 0) & (inverse2[:, second] > 0) & (s > 0) & (t > 0)
    loss = np.where(usable, loss, np.inf)
    rows = np.arange(len(xn))
    best = loss.argmin(1)
    least = loss[rows, best]
    points = np.where(np.isfinite(least)[:, None], guess[rows, best], positions.mean(0))
    return Guess(points, least, np.where(np.isfinite(least), fitting[rows, best], 0))
