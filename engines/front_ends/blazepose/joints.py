"""From BlazePose's landmarks to the joints that every front end gives."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engines.front_ends.base import View2D
from engines.front_ends.blazepose.landmarks import BodyLandmarks
from engines.front_ends.blazepose.region import Region
from engines.pose_conversion import blazepose_to_h36m

_MARGIN: Final = 0.03
"""Joints fade out over this fraction of the region's side beyond the picture's edge."""


def to_view(body: BodyLandmarks, region: Region, height: int, width: int) -> View2D:
    """Converts the landmarks of one region.

    Args:
        body: what the network found.
        region: where it looked.
        height: of the picture in pixels.
        width: of the picture in pixels.
    """
    landmarks = np.concatenate([body.points, body.confidence[:, None]], axis=1)
    keypoints = blazepose_to_h36m(landmarks)
    keypoints[:, 2] *= _inside(keypoints[:, :2], height, width, _MARGIN * region.size)
    return View2D(keypoints=keypoints, box=region.box)


def _inside(
    points: npt.NDArray[np.float32], height: int, width: int, margin: float
) -> npt.NDArray[np.float32]:
    """1 inside the picture, falling to 0 at ``margin`` pixels outside."""
    size = np.array([width, height], np.float32)
    outside = np.maximum(np.maximum(-points, points - size), 0).max(axis=1)
    return np.asarray(np.clip(1 - outside / margin, 0, 1), np.float32)
