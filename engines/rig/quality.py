"""How good a found rig is: uncertainties of its cameras and of the joints made with it.

The adjustment's covariance is expressed relative to the person (an S-transformation after Baarda,
1973): how far cameras are off after the similarity that fits the joints best, so that no camera
counts as exact just because the axes were tied to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.rig.adjustment import Adjusted
from engines.rig.levenberg import covariance
from engines.rig.rotations import skew
from engines.rig.triangulation import triangulate
from engines.rig.types import CAMERA_PARAMETERS, Bools, Floats, Quality
from engines.rig.unknowns import Priors, State

INFLATION: Final = 3.0
"""Variances are this much larger than the adjustment says: errors of neighbouring instants are
alike, and detectors err in the same way in the same pose. Found on simulated takes."""

_LIMITS: Final[tuple[tuple[Quality, float, float, float], ...]] = (
    ("good", 15.0, 40.0, 0.07),
    ("fair", 30.0, 70.0, 0.15),
    ("poor", 60.0, 150.0, 0.30),
)
"""Word; most joint error (mm) that the rig makes, and in all; most error of a focal length."""

_SAMPLES: Final = 24


@dataclass(frozen=True, slots=True, eq=False)
class Precision:
    """Expected errors of an adjusted rig.

    Attributes:
        cameras: (V, 9, 9) covariances in the order of ``RigCamera.covariance``; positions in the
            adjustment's axes.
        rig_mm: root-relative joint error that the rig's errors make.
        noise_mm: joint error that one picture's 2D errors make.
    """

    cameras: Floats
    rig_mm: float
    noise_mm: float

    @property
    def expected_mm(self) -> float:
        """Both together."""
        return float(np.hypot(self.rig_mm, self.noise_mm))


def precision(adjusted: Adjusted, priors: Priors) -> Precision:
    """Works out what errors are to be expected."""
    state, seen = adjusted.state, adjusted.seen
    views = len(state.log_focal)
    spread = covariance(state, seen, priors)
    count = len(state.points)
    picks = np.unique(np.round(np.linspace(0, count - 1, min(count, _SAMPLES))).astype(int))
    twice = seen.held[picks]
    points = state.points[picks]
    influence = spread.influence[picks].reshape(len(picks), 17, 3, -1)
    fixed_gauge = priors.bone_sum is None
    to_person = _gauge(points, influence, twice, fixed_gauge)
    shared = INFLATION * spread.shared

    cameras = np.zeros((views, CAMERA_PARAMETERS, CAMERA_PARAMETERS))
    for v in range(views):
        move = _camera_motion(state, v, to_person)
        cameras[v] = move @ shared @ move.T

    relative = influence - influence[:, :1]
    held = relative[:, 1:][twice[:, 1:]]  # (N, 3, G)
    variance = np.einsum("nag,gh,nah->n", held, shared, held, optimize=True)
    rig_mm = 1e3 * float(np.sqrt(variance.mean())) if len(variance) else np.inf
    return Precision(cameras, rig_mm, _noise_mm(adjusted, picks))


def _gauge(points: Floats, influence: Floats, held: Bools, fixed: bool) -> Floats:
    """(7, G) the similarity (turn, shift, log scale) by which the shared unknowns move the person.

    With cameras that are fixed in the world there is no such freedom: zero.
    """
    size = influence.shape[-1]
    if fixed:
        return np.zeros((7, size))
    flat = points[held]
    effect = influence[held]  # (N, 3, G)
    middle = flat.mean(0)
    basis = np.concatenate(
        [
            -skew(flat - middle),
            np.broadcast_to(np.eye(3), (len(flat), 3, 3)),
            (flat - middle)[..., None],
        ],
        -1,
    )
    matrix = basis.reshape(-1, 7)
    solution: Floats = np.linalg.lstsq(matrix, effect.reshape(-1, size), rcond=None)[0]
    # Turn and scale are about the middle of the points: move them to the origin.
    out = solution.copy()
    out[3:6] += skew(middle) @ solution[:3] - middle[:, None] * solution[6]
    return out


def _camera_motion(state: State, view: int, similarity: Floats) -> Floats:
    """(9, G): rotation, position, log focal, k1, offset of a camera, relative to the person."""
    size = similarity.shape[1]
    rotation, position = state.rotations[view], state.positions[view]
    out = np.zeros((CAMERA_PARAMETERS, size))
    start = CAMERA_PARAMETERS * view
    out[np.arange(CAMERA_PARAMETERS), start + np.arange(CAMERA_PARAMETERS)] = 1.0
    # The camera's centre is −Rᵀt, and the solver's turn leaves it where it is.
    out[3:6] = 0.0
    out[3:6, start + 3 : start + 6] = -rotation.T
    out[:3] += rotation @ similarity[:3]
    out[3:6] += skew(position) @ similarity[:3] - similarity[3:6]
    out[3:6] -= np.outer(position, similarity[6])
    return out


def _noise_mm(adjusted: Adjusted, picks: npt.NDArray[np.intp]) -> float:
    """Median error of joints triangulated from one picture a view."""
    state = adjusted.state
    size = adjusted.unit_sigma[picks] / np.maximum(np.exp(state.log_focal), 1e-6)[:, None]
    sigma = size * adjusted.noise[:, None] / np.sqrt(0.4)
    flat_sigma = np.swapaxes(sigma, 1, 2).reshape(-1, len(state.log_focal))
    points = state.points[picks].reshape(-1, 3)
    in_camera = np.einsum("vij,nvj->nvi", state.rotations, points[:, None] - state.positions)
    xn = in_camera[..., :2] / np.maximum(in_camera[..., 2:], 0.1)
    made = triangulate(xn, flat_sigma, state.rotations, state.positions, rounds=1)
    solved = (np.isfinite(flat_sigma).sum(1) >= 2).reshape(-1, 17)
    spread = np.linalg.inv(made.information + 1e-2 * np.eye(3))
    variance = np.trace(spread, axis1=1, axis2=2).reshape(-1, 17)
    total = variance[solved]
    return 1e3 * float(np.median(np.sqrt(total))) if len(total) else np.inf


def quality_word(found: Precision) -> Quality | None:
    """The quality in a word; None: the rig must not be used."""
    focal = float(np.sqrt(found.cameras[:, 6, 6]).max())
    for word, rig_mm, joint_mm, lens in _LIMITS:
        if found.rig_mm <= rig_mm and found.expected_mm <= joint_mm and focal <= lens:
            return word
    return None
