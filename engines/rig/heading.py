"""Where the configuration's first camera looks, also while its place is not known yet.

Until the cameras are found the person is shown in the axes of the first camera that has seen them
(``engines.view_fusion``). A first rig without that camera must not turn them: the lifter's answers
tell how it is turned against the others, though not where it stands.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.procrustes import rotation_from_correlation
from engines.rig.keyframes import Keyframe
from engines.rig.types import Floats

_ENOUGH: Final = 4
"""Instants at which a camera saw the person, before its direction is believed."""


def heading_rotation(
    keyframes: tuple[Keyframe, ...], views: tuple[int, ...], rotations: Floats, points: Floats
) -> Floats:
    """The rotation of the camera that gives the world its heading.

    Args:
        keyframes: K instants, those that the cameras were found from.
        views: the W cameras that were found, ascending.
        rotations: (W, 3, 3) theirs, from any axes to each camera's.
        points: (K, 17, 3) the joints at these instants in the same axes.

    Returns:
        (3, 3) from the same axes to those of the first camera that saw the person.
    """
    centred = points - points[:, :1]
    for view in range(views[0]):
        sigma = np.stack([k.lifted_sigma[view] for k in keyframes])
        if np.isfinite(sigma).all(-1).sum() < _ENOUGH:
            continue
        lifted = np.stack([k.lifted[view] for k in keyframes])
        correlation = np.einsum("kp,kpa,kpb->ab", sigma**-2.0, lifted, centred)
        return rotation_from_correlation(correlation)
    return np.asarray(rotations[0])
