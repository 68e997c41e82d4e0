"""Where light comes from and what keeps it from the floor."""

from __future__ import annotations

from typing import Final

import numpy as np

from tools.studio.formats import FloatArray
from tools.studio.rig import Rig
from tools.studio.room import Point

_SPHERES: Final = (
    ("Hips", 0.15),
    ("LeftFoot", 0.09),
    ("RightFoot", 0.09),
    ("LeftToeBase", 0.06),
    ("RightToeBase", 0.06),
    ("LeftLeg", 0.08),
    ("RightLeg", 0.08),
    ("Spine1", 0.17),
)
"""Bones at whose heads the spheres are, and their radii in metres."""


def lamp_view(lamp_m: Point) -> FloatArray:
    """Sees the scene from the lamp: a wide view straight down."""
    lamp = np.array(lamp_m, np.float64)
    half = np.tan(np.radians(64.0))
    near, far = 0.2, float(lamp[2]) + 0.5
    lens = np.zeros((4, 4))
    lens[0, 0] = lens[1, 1] = 1.0 / half
    lens[2, 2:] = (far + near) / (far - near), -2 * far * near / (far - near)
    lens[3, 2] = 1.0
    place = np.eye(4)
    place[:3, :3] = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    place[:3, 3] = -place[:3, :3] @ lamp
    return np.asarray(lens @ place, np.float32)


def occluders(people: list[tuple[Rig, FloatArray]]) -> FloatArray:
    """Spheres (N, 8, 4) that stand for people when the floor around them is darkened."""
    rows = []
    for rig, matrices in people:
        for name, radius in _SPHERES:
            bone = rig.index(name)
            at = matrices[bone, :, :3] @ rig.heads[bone] + matrices[bone, :, 3]
            rows.append([*at.tolist(), radius])
    return np.array(rows, np.float32).reshape(-1, len(_SPHERES), 4)


def reach(spheres: FloatArray) -> FloatArray:
    """A sphere (N, 4) around all that the spheres (N, S, 4) of a person darken."""
    middle = spheres[..., :3].mean(1)
    away = np.linalg.norm(spheres[..., :3] - middle[:, None], axis=-1)
    # The shader's limit, a little widened: 80 is the square of how many radii count.
    radius = (away + np.sqrt(80.0) * spheres[..., 3]).max(1, initial=0.0) + 0.01
    return np.asarray(np.column_stack((middle, radius)), np.float32)
