"""What the pipeline makes of one set of pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.rig_use import Stage
from engines.front_ends.base import StageTime, View2D

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Skeleton3D:
    """The pose of one set.

    Attributes:
        time_ns: the instant that it describes.
        joints: (17, 3) metres, root-relative, world axes (``app.messages.Pose``).
        confidence: (17,) 0…1, 0 for unknown.
        expected_error_mm: mean over the joints.
        levelled: whether z is known to be vertical.
        world: which axes it is in (``app.messages.Pose``).
        views: (V,) which views took part.
        stage: what it was made with.
        root: (3,) pelvis in the room, metres, or None while it is not known.
    """

    time_ns: int
    joints: Floats
    confidence: Floats
    expected_error_mm: float
    levelled: bool
    world: int
    views: npt.NDArray[np.bool_]
    stage: Stage
    root: npt.NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What the rig estimator works with.

    Attributes:
        keypoints: (V, 17, 3) of this set's pictures, half-width units, left and right mended.
        lifted: (V, 17, 3) the lifter's answers for the set's instant in camera axes, body units.
        sigma: (V, 17) expected distances of those, body units; infinite where there is none.
        body_unit_m: one body unit in metres.
    """

    keypoints: Floats
    lifted: Floats
    sigma: Floats
    body_unit_m: float


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """All that one set gave.

    Attributes:
        views: per view the front end's answer with left and right mended, in pixels.
        swapped: (V,) whether left and right were exchanged there.
        skeleton: the pose, or None where there was too little.
        findings: for the rig estimator.
        stages: what the stages took.
    """

    views: tuple[View2D | None, ...]
    swapped: npt.NDArray[np.bool_]
    skeleton: Skeleton3D | None
    findings: Findings
    stages: tuple[StageTime, ...]
