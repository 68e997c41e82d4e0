"""Where a person should be in each view, by what the other views see."""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.rig.fusion import RigPose
from engines.rig.projection import MIN_DEPTH
from engines.rig.triangulation import Cameras, seen_at
from engines.rig.types import Floats

_BELIEVED: Final = 0.5
"""Mean weight of a view's joints from which it counts as seeing the same person."""
_NEEDED: Final = 2
"""Other views that must agree before a view is told anything."""
_MARGIN: Final = 0.1
"""Of the box's height, all round: joints lie inside a body."""


def expected_boxes(cameras: Cameras, pose: RigPose) -> Floats:
    """Boxes of a person in the pictures.

    Args:
        cameras: of the rig.
        pose: made with them.

    Returns:
        (V, 4) x0, y0, x1, y1 in half-width units; NaN for views of which it cannot be said: too few
        others agree, the camera is not known, or the person is not in front of it.
    """
    places = seen_at(cameras, pose.joints)
    low, high = places.min(1), places.max(1)
    margin = _MARGIN * (high - low)[:, 1:]
    boxes = np.concatenate([low - margin, high + margin], -1)
    believed = np.nan_to_num(pose.believed) > _BELIEVED
    others = believed.sum() - believed
    relative = pose.joints - cameras.positions[:, None]
    front = np.einsum("vj,vpj->vp", cameras.rotations[:, 2], relative).min(1) > MIN_DEPTH
    told = cameras.known & front & (others >= _NEEDED) & bool(pose.known.all())
    return np.where(told[:, None], boxes, np.nan)
