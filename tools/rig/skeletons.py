"""Skeletons from 2D joints and a rig alone, without the lifter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engines.rig.fusion import RigPose, pose_with_rig
from engines.rig.triangulation import cameras_of
from engines.rig.types import Floats, Rig
from engines.skeleton import JOINT_COUNT
from tools.rig.lifting import resample_views
from tools.rig.takes import SeenTake


def keypoints_together(rig: Rig, take: SeenTake) -> Floats:
    """What all views saw at the same instants, the rig's time offsets taken into account.

    Args:
        rig: one entry a view.
        take: T sets.

    Returns:
        (T - 2, V, 17, 3) at the take's times but the first and the last.
    """
    times = take.view_times_s + cameras_of(rig).offsets
    return resample_views(times, take.keypoints, take.times_s[1:-1])


def poses(rig: Rig, take: SeenTake, keypoints: Floats) -> Iterator[RigPose | None]:
    """The skeletons of ``keypoints_together``, None where none can be placed."""
    cameras = cameras_of(rig)
    aspects = np.array([height / width for width, height in take.sizes])
    for seen in keypoints:
        yield pose_with_rig(cameras, seen, aspects, rig.rig_error_mm * 1e-3)


def triangulate_take(rig: Rig, take: SeenTake) -> Floats:
    """(T - 2, 17, 3) joints in the rig's world, metres; NaN where two views do not see one."""
    missing = np.full((JOINT_COUNT, 3), np.nan)
    return np.stack(
        [
            missing if pose is None else np.where(pose.known[:, None], pose.joints, np.nan)
            for pose in poses(rig, take, keypoints_together(rig, take))
        ]
    )
