"""The pelvis is the middle of the hips by definition; what is told of the hips tells of it, too."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engines.skeleton import JOINT_NAMES

Floats = npt.NDArray[np.float64]

_HIPS: Final = [JOINT_NAMES.index("right_hip"), JOINT_NAMES.index("left_hip")]


def pelvis_between_hips(joints: Floats, sigma: Floats) -> tuple[Floats, float]:
    """Where the pelvis is by its own sighting and by those of both hips, weighted as they deserve.

    Joints are published relative to it: what it is off, all of them are.

    Args:
        joints: (17, 3) in any axes and unit.
        sigma: (17,) expected distances from the truth; infinite for joints that are not known.

    Returns:
        (3,) the pelvis, and its expected distance from the truth.
    """
    middle = joints[_HIPS].mean(0)
    middle_variance = float((sigma[_HIPS] ** 2).sum()) / 4
    own_variance = float(sigma[0]) ** 2
    if not np.isfinite(middle_variance):
        return joints[0], float(sigma[0])
    if not np.isfinite(own_variance):
        return middle, middle_variance**0.5
    share = own_variance / max(own_variance + middle_variance, 1e-18)
    # Both are seen in the same pictures and err alike: together they are no surer than the better.
    variance = min(own_variance, middle_variance)
    return joints[0] + share * (middle - joints[0]), variance**0.5
