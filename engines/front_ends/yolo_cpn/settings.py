"""How the ``yolo_cpn`` front end works."""

from __future__ import annotations

from dataclasses import dataclass, field

from engines.front_ends.tracking import TrackSettings
from engines.front_ends.yolo_cpn.joint_finder import ContextKind


@dataclass(frozen=True, slots=True)
class YoloCpnSettings:
    """How the front end works.

    Attributes:
        score: least score of a detection.
        faint_score: where nobody has that score, people down to this one are looked at…
        faint_confidence: …and believed if the mean confidence of their joints is as high as this.
        overlap: detections that overlap more than this are one person; of two people who stand
            close, much of the visible boxes may be shared.
        confidence: mean joint confidence below which a track is lost.
        context: features sampled at each joint (for the rig-agnostic lifter), the mean over the
            crop for every joint (as DSVTformer's authors do), or none.
        track: when to detect again.
        flip_test: look at mirrored crops, too, and read the mean of both heatmaps; None does so
            where the pose network is a light one.
    """

    score: float = 0.3
    faint_score: float = 0.1
    faint_confidence: float = 0.35
    overlap: float = 0.7
    confidence: float = 0.25
    context: ContextKind = "sampled"
    track: TrackSettings = field(default_factory=lambda: TrackSettings(check_every=30))
    flip_test: bool | None = None
