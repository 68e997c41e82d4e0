"""Rendered sequences as the front end would have seen them in a mirror.

Live, crops are shown to the pose network mirrored, too, and the mean of both answers is read
(``engines/front_ends/yolo_cpn/joint_finder.py``). So what it finds of the mirrored person is the
mirror image of what it finds of the person, and needs no second look.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS, mirrored_rivals
from engines.networks.joint_context import mirrored_told
from engines.skeleton import MIRROR
from tools.training.feature_scenes import FeatureScene

_FLIP: Final = np.array((-1.0, 1.0, 1.0), np.float32)


def mirrored_scene(scene: FeatureScene) -> FeatureScene:
    """The mirror image of a scene: its people, its cameras, and what was found in its pictures."""
    sides = list(MIRROR)
    told, rivals = scene.context[..., :-RIVAL_CHANNELS], scene.context[..., -RIVAL_CHANNELS:]
    keypoints = _across(scene.keypoints)
    keypoints[keypoints[..., 2] <= 0] = 0
    return replace(
        scene,
        keypoints=keypoints,
        context=np.concatenate((mirrored_told(told), mirrored_rivals(rivals)), -1),
        truth=_across(scene.truth),
        visibility=scene.visibility[..., sides],
        joints_m=scene.joints_m[:, sides] * _FLIP,
        rotation=scene.rotation * _FLIP * _FLIP[:, None],
    )


def _across(places: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Joints (..., 17, 2 or 3) in half-widths from the picture's middle, by the other side."""
    turned = places[..., list(MIRROR), :].copy()
    turned[..., 0] *= -1
    return turned
