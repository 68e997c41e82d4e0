"""How a body stands over its feet, from which up is told.

Whoever stands or walks has their centre of mass above their feet: averaged over time, the line
from the middle of the feet to it is vertical to a few degrees, also for someone who bends or leans.
The feet carry the body some centimetres in front of the ankles (Winter, "Human balance and posture
control during standing and walking", Gait & Posture 3, 1995); reckoned from the ankles, whoever
does not turn about seems to lean forward.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engines.skeleton import JOINT_NAMES

Floats = npt.NDArray[np.float64]

_J: Final = {name: index for index, name in enumerate(JOINT_NAMES)}
_LEFT = tuple(_J[f"left_{name}"] for name in ("hip", "knee", "ankle", "shoulder"))
_RIGHT = tuple(_J[f"right_{name}"] for name in ("hip", "knee", "ankle", "shoulder"))
_AHEAD: Final = 0.08
"""From the ankles to the middle of what the feet carry, over the length of a leg: people who stand
still in motion capture have their centre of mass 0.11 ahead (median of 45 takes), and this fits
best over walking and turning ones (docs/self_calibration.md)."""


def support(joints: Floats) -> Floats:
    """Where the feet carry the body.

    Args:
        joints: (..., 17, 3) any axes, any unit.

    Returns:
        (..., 3) a place in front of the middle of the ankles.
    """
    hips, knees, ankles = (joints[..., [_LEFT[k], _RIGHT[k]], :] for k in range(3))
    legs = np.linalg.norm(knees - hips, axis=-1) + np.linalg.norm(ankles - knees, axis=-1)
    middle = ankles.mean(-2)
    to_left = sum(joints[..., _LEFT[k], :] - joints[..., _RIGHT[k], :] for k in (0, 3))
    forward = _unit(np.cross(to_left, joints[..., _J["thorax"], :] - middle))
    return np.asarray(middle + _AHEAD * legs.mean(-1)[..., None] * forward)


def balance_axis(joints: Floats) -> Floats:
    """(..., 3) unit vectors from where the feet carry the body to about its centre of mass.

    Args:
        joints: (..., 17, 3) any axes, any unit.
    """
    pelvis, thorax, head = (joints[..., _J[name], :] for name in ("pelvis", "thorax", "head"))
    return _unit(0.6 * pelvis + 0.3 * thorax + 0.1 * head - support(joints))


def upright_axis(joints: Floats) -> Floats:
    """(..., 3) the same of somebody who stands upright on purpose: to the head, which is further.

    Args:
        joints: (..., 17, 3) any axes, any unit.
    """
    top = (joints[..., _J["head"], :] + joints[..., _J["thorax"], :]) / 2
    return _unit(top - support(joints))


def trunk_axis(joints: Floats) -> Floats:
    """(..., 3) unit vectors from the pelvis to thorax and head, where legs are not seen.

    Args:
        joints: (..., 17, 3) any axes, any unit.
    """
    top = (joints[..., _J["head"], :] + joints[..., _J["thorax"], :]) / 2
    return _unit(top - joints[..., _J["pelvis"], :])


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))
