"""From a set of pictures to a pose: front end, swap mending, window, lifter, fusion, level.

Pictures and times in, results out: no sockets, no clock but a stopwatch for the stages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from app.config import AppConfig
from app.drawn_joints import DrawnJoints
from app.frame_receiver import FrameSet
from app.picture_boxes import box_in_picture
from app.pose_result import Findings, PipelineResult, Skeleton3D
from app.rig_use import RigUse, StagedPose
from app.tracks import JointTrack, read_window, to_half_widths, to_pixels, window_times
from engines.bone_lengths import BoneLengths
from engines.front_ends.base import Box, FrontEnd, StageTime, View2D
from engines.level import LevelEstimator
from engines.lifter import ContextWindow, LiftedViews, Lifter
from engines.rig.types import Rig
from engines.skeleton import JOINT_COUNT
from engines.swap_mending import GROUPS, SwapMender, exchanged
from engines.view_fusion import FusedPose, ViewFusion, fuse_again

Floats = npt.NDArray[np.float32]
T = TypeVar("T")

_MIN_JOINTS = 6
_RECENT_NS = 300_000_000
_RECENT_FRAMES = 9


@dataclass(frozen=True, slots=True)
class _Window:
    """What the lifter and the rig read from the tracks for one set.

    Attributes:
        joints: (F, V, 17, 3) half-width units.
        context: for the image stream, or None.
        time_ns: the instant that is shown.
        at_offsets: (V, 17, 3) joints at that instant by each view's own time stamps, or None
            without a rig.
    """

    joints: Floats
    context: ContextWindow | None
    time_ns: int
    at_offsets: Floats | None


class PosePipeline:
    """The chain of one run; it keeps the tracks and what is known of the cameras."""

    def __init__(self, config: AppConfig, front_end: FrontEnd, lifter: Lifter) -> None:
        """Takes loaded networks.

        Args:
            config: the run's configuration.
            front_end: for ``len(config.cameras)`` views.
            lifter: any.
        """
        views = len(config.cameras)
        self._front_end = front_end
        self._lifter = lifter
        self._metres = config.body_height_m / lifter.card.stature_body_units
        self._out = _output_frame(config.lifter.output_frame, lifter.card.frames)
        self._reads_context = lifter.reads(front_end.context_channels, front_end.context_source)
        self._tracks = [JointTrack() for _ in range(views)]
        self._mender = SwapMender(views) if config.front_end.mend_swaps else None
        self._fusion = ViewFusion(views)
        self._level = LevelEstimator()
        self._turns = 0  # of the axes by people while there was no rig to turn
        self._bones = BoneLengths()
        self._rig_bones = BoneLengths()
        self._rig = RigUse()
        self._points = np.zeros((views, JOINT_COUNT, 3), np.float32)
        self._aspects = np.full(views, 0.75)
        self._fused: FusedPose | None = None
        self._newest: npt.NDArray[np.float64] = np.zeros((JOINT_COUNT, 3))
        self._newest_ns = 0
        self._boxes: npt.NDArray[np.float64] | None = None
        self._drawn = DrawnJoints()
        self._stages: list[StageTime] = []

    def process(self, frames: FrameSet) -> PipelineResult:
        """Takes the next set.

        Args:
            frames: its ``time_ns`` must be newer than the last one's.

        Returns:
            The 2D joints and, where enough is seen, the pose.
        """
        self._stages = []
        found = self._timed("front_end", lambda: self._find(frames))
        self._stages.extend(self._front_end.stage_times())
        views, swapped = self._timed("mend", lambda: self._mend(frames, found))
        window = self._timed("window", lambda: self._window(frames.time_ns))
        skeleton = None
        lifted: LiftedViews | None = None
        known = window.joints[..., 2] > 0
        mask = np.asarray(known.any((0, 2)), bool)
        seen = known[self._out].sum(-1) >= _MIN_JOINTS
        if seen.any():
            answers = self._timed(
                "lifter", lambda: self._lifter.lift(window.joints, mask, window.context)
            )
            skeleton = self._timed("fuse", lambda: self._fuse(frames, window, answers, mask, seen))
            lifted = answers
        findings = self._findings(lifted, known[-1].sum(-1) >= _MIN_JOINTS)
        return PipelineResult(views, swapped, skeleton, findings, tuple(self._stages))

    @property
    def reads_context(self) -> bool:
        """Whether the lifter's image stream gets the front end's context; else it is masked."""
        return self._reads_context

    @property
    def rig_version(self) -> int:
        """Of the rig that is used now; 0 for none."""
        return self._rig.version

    def set_rig(self, version: int, world: int, rig: Rig | None) -> None:
        """Takes the newest rig, or takes it away; see ``app.rig_use.RigUse.set_rig``."""
        self._rig.set_rig(version, world, rig)
        # Triangulated bones are the detector's, not motion capture's: they are learned by
        # themselves, and anew with a rig of another scale.
        self._rig_bones = BoneLengths()

    def set_level(self) -> None:
        """The person stands upright now."""
        if self._fused is not None:
            self._level.set_level(self._fused.joints, self._drawn.legs_seen)
            self._turns += self._rig.version == 0

    def set_front(self) -> None:
        """The person faces the front now."""
        if self._fused is not None:
            self._level.set_front(self._fused.joints)
            self._turns += self._rig.version == 0

    def forget_cameras(self) -> None:
        """The cameras were moved: find them, and the level, anew."""
        self._fusion.reset()
        self._level = LevelEstimator()
        self._turns += self._rig.version == 0
        self._fused = None

    def _find(self, frames: FrameSet) -> tuple[View2D | None, ...]:
        self._front_end.expect(self._expected(frames))
        return self._front_end.process([None if f is None else f.image for f in frames.frames])

    def _expected(self, frames: FrameSet) -> list[Box | None]:
        """Where the person should be in each picture, by the last pose, if it is recent."""
        boxes = self._boxes
        late = self._out != self._lifter.card.frames - 1  # it shows where they were
        if boxes is None or late or frames.time_ns - self._newest_ns > _RECENT_NS:
            return [None for _ in frames.frames]
        return [
            None if frame is None else box_in_picture(box, frame.header.width, frame.header.height)
            for frame, box in zip(frames.frames, boxes, strict=True)
        ]

    def _mend(
        self, frames: FrameSet, found: Sequence[View2D | None]
    ) -> tuple[tuple[View2D | None, ...], npt.NDArray[np.bool_]]:
        """Undoes left-right exchanges and puts the joints into the tracks."""
        count = len(self._tracks)
        points = np.zeros((count, JOINT_COUNT, 3), np.float32)
        for view, (frame, answer) in enumerate(zip(frames.frames, found, strict=True)):
            if frame is not None and answer is not None:
                size = frame.header.width, frame.header.height
                self._aspects[view] = size[1] / size[0]
                points[view] = to_half_widths(answer.keypoints, *size)
        groups = np.zeros((count, len(GROUPS)), bool)
        if self._mender is not None:
            mended = self._mender.mend(points, self._predicted(frames.time_ns))
            points, groups = mended.keypoints, mended.swapped
        swapped = np.asarray(groups.any(-1))
        views: list[View2D | None] = []
        for view, (frame, answer) in enumerate(zip(frames.frames, found, strict=True)):
            if frame is None or answer is None:
                views.append(None)
                continue
            context = answer.context
            if swapped[view]:
                size = frame.header.width, frame.header.height
                if context is not None:
                    context = exchanged(context[None], groups[view : view + 1])[0]
                answer = View2D(to_pixels(points[view], *size), answer.box, context)
            kept = context if self._reads_context else None
            self._tracks[view].add(frame.header.capture_ns, points[view], kept)
            views.append(answer)
        self._points = points
        return tuple(views), swapped

    def _findings(self, lifted: LiftedViews | None, seen: npt.NDArray[np.bool_]) -> Findings:
        views = len(self._tracks)
        joints = np.zeros((views, JOINT_COUNT, 3), np.float32)
        sigma = np.full((views, JOINT_COUNT), np.inf, np.float32)
        if lifted is not None:
            joints[seen] = lifted.joints[-1][seen]
            sigma[seen] = lifted.sigma[-1][seen]
        return Findings(self._points, joints, sigma, self._metres)

    def _predicted(self, time_ns: int) -> Floats | None:
        """(V, 17, 3) the pose of the newest pictures in each view's axes, if it is recent."""
        if self._fused is None or time_ns - self._newest_ns > _RECENT_NS:
            return None
        turned = np.einsum("vji,kj->vki", self._fused.rotations, self._newest)
        return np.asarray(turned, np.float32)

    def _window(self, newest_ns: int) -> _Window:
        card = self._lifter.card
        times = window_times(newest_ns, card.frames, card.rate_hz)
        time_ns = int(times[self._out])
        joints, at_offsets = read_window(self._tracks, times, self._rig.instants(time_ns))
        context: ContextWindow | None = None
        if self._reads_context:
            channels = self._lifter.context_channels
            read = [track.sample_context(times, channels) for track in self._tracks]
            features = np.stack([features for features, _ in read], axis=1)
            context = ContextWindow(features, np.stack([mask for _, mask in read], axis=1))
        return _Window(joints, context, time_ns, at_offsets)

    def _fuse(
        self,
        frames: FrameSet,
        window: _Window,
        lifted: LiftedViews,
        mask: npt.NDArray[np.bool_],
        seen: npt.NDArray[np.bool_],
    ) -> Skeleton3D | None:
        time_ns = window.time_ns
        # A view that is not seen at this instant but was within the window is answered too, with
        # the larger sigma that it deserves.
        fused = self._fusion.update(
            time_ns, lifted.joints[self._out], lifted.sigma[self._out], mask
        )
        if fused is None:
            return None
        if self._fused is not None and self._fused.reference != fused.reference:
            self._level.turn(fused.rotations[self._fused.reference])
        self._fused, self._newest_ns = fused, frames.time_ns
        # What is shown may be older than what the next pictures are compared with.
        self._newest = fused.joints
        if self._out != len(lifted.joints) - 1:
            self._newest = fuse_again(fused, lifted.joints[-1], lifted.sigma[-1], mask)
        recent = window.joints[max(0, self._out - _RECENT_FRAMES + 1) : self._out + 1]
        self._drawn.look(recent)
        self._level.update(time_ns, fused.joints, fused.rotations, self._drawn.legs_seen)
        turn = self._rig.to_world(fused.reference, fused.rotations)
        levelled = self._level.known if turn is None else self._rig.levelled
        if turn is None:
            turn = self._level.rotation()
        alone = StagedPose(
            (fused.joints @ turn.T) * self._metres,
            fused.sigma * self._metres,
            None,
            "lifter",
        )
        pose = self._rig.pose(
            time_ns,
            alone,
            self._tracks,
            self._aspects,
            lifted.joints[self._out].astype(np.float64) * self._metres,
            np.where(mask[:, None], lifted.sigma[self._out] * self._metres, np.inf),
            window.at_offsets,
        )
        self._boxes = pose.expected
        bones = self._rig_bones if pose.stage == "rig" else self._bones
        joints = bones.steady(time_ns, pose.joints, np.minimum(pose.sigma, 1.0))
        sigma_mm = pose.sigma * 1000
        known = np.isfinite(sigma_mm)
        return Skeleton3D(
            time_ns=time_ns,
            joints=np.asarray(joints, np.float32),
            confidence=np.asarray(self._drawn.confidence(sigma_mm), np.float32),
            expected_error_mm=float(sigma_mm[1:][known[1:]].mean()) if known[1:].any() else 999.0,
            levelled=levelled,
            world=self._rig.world + self._turns,
            views=seen,
            stage=pose.stage,
            root=pose.root,
        )

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = work()
        self._stages.append(StageTime(stage, (time.perf_counter() - began) * 1000))
        return result


def _output_frame(setting: str | int, frames: int) -> int:
    if setting == "last":
        return frames - 1
    if setting == "centre":
        return frames // 2
    return min(int(setting), frames - 1)
