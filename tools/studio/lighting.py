"""Where light comes from and what keeps it from the floor."""

from __future__ import annotations

import numpy as np

from tools.studio.formats import FloatArray
from tools.studio.rig import Rig
from tools.studio.room import Point


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
    """Spheres (N, 4) that stand for people when the floor around them is darkened."""
    sizes: tuple[tuple[str, float], ...] = (
        ("Hips", 0.15),
        ("LeftFoot", 0.09),
        ("RightFoot", 0.09),
        ("LeftToeBase", 0.06),
    )
    sizes += (("RightToeBase", 0.06), ("LeftLeg", 0.08), ("RightLeg", 0.08), ("Spine1", 0.17))
    rows = []
    for rig, matrices in people:
        for name, radius in sizes:
            bone = rig.index(name)
            at = matrices[bone, :, :3] @ rig.heads[bone] + matrices[bone, :, 3]
            rows.append([*at.tolist(), radius])
    return np.array(rows, np.float32).reshape(-1, 4)
