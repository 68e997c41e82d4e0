"""How a front end's joints differ from motion capture's, where the difference matters in 3D."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_BONE_SHARES: Final[Mapping[str, float]] = {"blazepose": 0.982}
# BlazePose's hips lie lower than motion capture's and its shoulders higher, and its legs are
# shorter. Measured on the built-in clip, whose cameras and body are known.


def bone_share(front_end: str) -> float:
    """All bone between a front end's joints, as a share of motion capture's.

    A triangulated skeleton has the detector's bones, the lifter's has motion capture's; both are to
    have the same size.

    Args:
        front_end: its name in the configuration.

    Returns:
        The share; 1 for a front end whose joints are defined as in motion capture.
    """
    return _BONE_SHARES.get(front_end, 1.0)
