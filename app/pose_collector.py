"""Keeps the poses of a run, to compare them with the truth."""

from __future__ import annotations

from typing import Final

import numpy as np

from app.evaluation import CalibratedErrors, PoseErrors, Truth, pose_errors
from app.messages import Pose
from engines.rig.change_over import BLEND_S

_CHANGE_OVER_NS: Final = round(BLEND_S * 1e9)


class PoseCollector:
    """Keeps the poses of a run for comparison with the truth."""

    def __init__(self) -> None:
        """Starts with none."""
        self._poses: list[tuple[int, tuple[tuple[float, float, float], ...]]] = []
        self._first_rig_ns: int | None = None

    def add(self, pose: Pose) -> None:
        """Takes a pose; one that is not valid is left out."""
        if not pose.valid:
            return
        if pose.stage == "rig" and self._first_rig_ns is None:
            self._first_rig_ns = pose.time_ns
        self._poses.append((pose.time_ns, pose.joints))

    def errors(self, truth: Truth, epoch_ns: int) -> PoseErrors | None:
        """Of the whole run."""
        return self._errors(truth, epoch_ns, since_ns=0)

    def calibrated(self, truth: Truth, epoch_ns: int) -> CalibratedErrors | None:
        """Of all that came once the cameras were found and the change-over was over."""
        first = self._first_rig_ns
        if first is None:
            return None
        errors = self._errors(truth, epoch_ns, since_ns=first + _CHANGE_OVER_NS)
        return None if errors is None else CalibratedErrors((first - epoch_ns) * 1e-9, errors)

    def _errors(self, truth: Truth, epoch_ns: int, since_ns: int) -> PoseErrors | None:
        poses = [(t, joints) for t, joints in self._poses if t >= since_ns]
        if not poses:
            return None
        times = np.array([(t - epoch_ns) * 1e-9 for t, _ in poses])
        joints = np.array([joints for _, joints in poses], np.float64)
        return pose_errors(truth, times, joints)
