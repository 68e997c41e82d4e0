"""Rendered sequences as the front end would have seen them in a mirror.

Live, crops are shown to the pose network mirrored, too, and the mean of both answers is read
(``engines/front_ends/yolo_cpn/joint_finder.py``). So what it finds of the mirrored person is the
mirror image of what it finds of the person, and needs no second look.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engines.front_ends.yolo_cpn import rivals
from engines.networks import joint_context
from engines.skeleton import MIRROR, mirrored
from tools.training.feature_scenes import FeatureScene

_FLIP: Final = np.array((-1.0, 1.0, 1.0), np.float32)
_OF_RIVALS: Final = tuple(joint_context.JOINT_CHANNELS + channel for channel in rivals.ACROSS)


def mirrored_scene(scene: FeatureScene) -> FeatureScene:
    """The mirror image of a scene: its people, its cameras, and what was found in its pictures."""
    return replace(
        scene,
        keypoints=mirrored(scene.keypoints, (0,)),
        context=mirrored(scene.context, (*joint_context.ACROSS, *_OF_RIVALS)),
        truth=mirrored(scene.truth, (0,)),
        visibility=scene.visibility[..., list(MIRROR)],
        joints_m=mirrored(scene.joints_m, (0,)),
        rotation=scene.rotation * _FLIP * _FLIP[:, None],
    )
