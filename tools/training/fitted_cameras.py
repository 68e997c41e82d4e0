"""What each camera of a rendered sequence does with points, worked out from its true joints.

Features keep how a camera is turned and where it sees the true joints, not its lens. A pinhole
camera in front of that person has four unknowns left, in which the joints are linear: the direct
linear transform (Hartley & Zisserman, Multiple View Geometry, 2nd ed., section 7.1) with a known
rotation. On rendered webcams, which distort, joints come back within some 2 mm of the body.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tools.studio.shards import OUTSIDE
from tools.training.feature_scenes import FeatureScene

UNKNOWNS: Final = 4

_LEAST_JOINTS: Final = 34
"""Fewer true joints in all of a camera's pictures tell nothing about it: two poses."""

_NEAREST: Final = 0.2
"""Points nearer than this share of the person's distance are seen as if they were there."""

_NO_PERSPECTIVE: Final = 1e-3
"""One over metres: a camera so far off that its rays are parallel."""

_LONG_LENS: Final = 1e3


def origin_of(scene: FeatureScene) -> npt.NDArray[np.float32]:
    """The place (3,) in the world that a scene's cameras are fitted around: the mean pelvis."""
    return np.asarray(scene.joints_m[:, 0].mean(0), np.float32)


def fit_cameras(scene: FeatureScene) -> npt.NDArray[np.float32]:
    """Fits each camera of a scene.

    Args:
        scene: its true joints in the world and in the pictures.

    Returns:
        (V, 4) enlargement, x and y of the scene's origin in half-widths, and one over its distance
        in metres, for ``project``; all 0 for a camera that hardly sees the person.
    """
    around = scene.joints_m - origin_of(scene)
    fitted = np.zeros((len(scene.rotation), UNKNOWNS), np.float32)
    for view, rotation in enumerate(scene.rotation):
        there = (scene.visibility[:, view] != OUTSIDE) & np.isfinite(scene.truth[:, view]).all(-1)
        if there.sum() < _LEAST_JOINTS:
            continue
        points = (around @ rotation.T)[there].astype(np.float64)
        seen = scene.truth[:, view][there].astype(np.float64)
        # seen · (1 + nearness · depth) = enlargement · across + middle, for x and for y.
        rows = np.zeros((len(seen), 2, UNKNOWNS))
        rows[..., 0] = points[:, :2]
        rows[:, 0, 1] = rows[:, 1, 2] = 1.0
        rows[..., 3] = -seen * points[:, 2:]
        fitted[view] = np.linalg.lstsq(rows.reshape(-1, UNKNOWNS), seen.ravel(), rcond=None)[0]
    return fitted


def project(cameras: Tensor, points: Tensor) -> Tensor:
    """Where fitted cameras see points.

    Args:
        cameras: (..., 4) as ``fit_cameras`` gives them.
        points: (..., 3) in the camera's axes, around the scene's origin, metres.

    Returns:
        (..., 2) half-widths.
    """
    nearer = (1.0 + cameras[..., 3:] * points[..., 2:]).clamp(min=_NEAREST)
    seen: Tensor = (cameras[..., :1] * points[..., :2] + cameras[..., 1:3]) / nearer
    return seen


def focal_of(cameras: Tensor) -> Tensor:
    """Focal length (...) of fitted cameras (..., 4), half-widths; very long for parallel rays."""
    enlargement, nearness = cameras[..., 0], cameras[..., 3]
    focal = enlargement / nearness.clamp(min=_NO_PERSPECTIVE)
    return torch.where(nearness > _NO_PERSPECTIVE, focal, _LONG_LENS)
