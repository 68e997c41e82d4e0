"""What the viewer knows: the newest message of each topic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zmq

from app.bus import Received, Subscriber
from app.messages import CameraStatus, Pose, Previews, RigUpdate
from app.run_messages import Health, PipelineStatus, RecorderStatus, RunState
from app.topics import Topic
from engines.errors import UserError
from engines.rig.rig_file import rig_from_json
from engines.rig.types import Rig
from engines.skeleton import JOINT_COUNT

STALE_NS: Final = 1_000_000_000
"""A pose older than this (by its arrival) is not shown any more."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The newest small pictures and their pixels."""

    message: Previews
    pixels: memoryview


class Inbox:
    """Subscribes to what the viewer shows and keeps the newest of each.

    Attributes:
        pose: the newest pose, or None.
        pose_at_ns: when it arrived.
        previews: the newest previews, or None.
        pipeline: the newest pipeline status, or None.
        run: the newest run state, or None.
        health: the newest process table, or None.
        recorder: the newest recorder status, or None.
        rig_update: the newest word on where the cameras are, or None.
        rig: the rig that is in use, or None.
        cameras: the newest status of each camera.
        aspects: width / height of each camera's previews.
        changes: counts messages that change the picture.
    """

    def __init__(self, run_dir: Path, cameras: tuple[str, ...]) -> None:
        """Connects to the run's publishers.

        Args:
            run_dir: folder of the run's sockets.
            cameras: identifiers of the cameras.
        """
        self._poses = Subscriber[Pose](run_dir, Topic.POSES)
        self._previews = Subscriber[Previews](run_dir, Topic.PREVIEWS)
        self._pipeline = Subscriber[PipelineStatus](run_dir, Topic.PIPELINE_STATUS)
        self._run = Subscriber[RunState](run_dir, Topic.RUN_STATE)
        self._health = Subscriber[Health](run_dir, Topic.HEALTH)
        self._recorder = Subscriber[RecorderStatus](run_dir, Topic.RECORDER_STATUS)
        self._rigs = Subscriber[RigUpdate](run_dir, Topic.RIG)
        self._cameras = Subscriber[CameraStatus](run_dir, Topic.CAMERA_STATUS, cameras)
        self._poller = zmq.Poller()
        self._all: tuple[Subscriber[Any], ...] = (
            self._poses,
            self._previews,
            self._pipeline,
            self._run,
            self._health,
            self._recorder,
            self._rigs,
            self._cameras,
        )
        for subscriber in self._all:
            self._poller.register(subscriber.socket, zmq.POLLIN)
        self.pose: Pose | None = None
        self.pose_at_ns = 0
        self.previews: Preview | None = None
        self.pipeline: PipelineStatus | None = None
        self.run: RunState | None = None
        self.health: Health | None = None
        self.recorder: RecorderStatus | None = None
        self.rig_update: RigUpdate | None = None
        self.rig: Rig | None = None
        self.cameras: dict[str, CameraStatus] = {}
        self.aspects: dict[str, float] = {}
        self.changes = 0

    def receive(self, timeout_ms: float, now_ns: int) -> None:
        """Waits for messages at most so long and takes in all that are there."""
        if not self._poller.poll(max(0, math.ceil(timeout_ms))):
            return
        if pose := self._poses.latest():
            self.pose, self.pose_at_ns = pose.message, now_ns
            self.changes += 1
        if previews := self._previews.latest():
            self._take_previews(previews)
        for status in self._cameras.drain():
            before = self.cameras.get(status.message.camera)
            self.cameras[status.message.camera] = status.message
            self.changes += before is None or before.state != status.message.state
        if pipeline := self._pipeline.latest():
            self.pipeline = pipeline.message
            self.changes += 1
        if run := self._run.latest():
            self.changes += self.run is None or self.run.phase != run.message.phase
            self.run = run.message
        if health := self._health.latest():
            before_down = self._down()
            self.health = health.message
            self.changes += self._down() != before_down
        if rig := self._rigs.latest():
            self._take_rig(rig.message)
        if recorder := self._recorder.latest():
            self.recorder = recorder.message
            self.changes += 1

    def fresh_pose(self, now_ns: int) -> Pose | None:
        """The newest pose where it is valid and not stale."""
        pose = self.pose
        if pose is None or not pose.valid or now_ns - self.pose_at_ns > STALE_NS:
            return None
        if len(pose.joints) != JOINT_COUNT or len(pose.confidence) != JOINT_COUNT:
            return None
        return pose

    def close(self) -> None:
        """Closes the sockets."""
        for subscriber in self._all:
            subscriber.close()

    def _down(self) -> tuple[str, ...]:
        rows = self.health.processes if self.health is not None else ()
        return tuple(row.process for row in rows if not row.running)

    def _take_rig(self, update: RigUpdate) -> None:
        before = self.rig_update
        self.rig_update = update
        if before is None or _said(before) != _said(update):
            self.changes += 1
        if before is not None and before.rig == update.rig:
            return  # it is repeated every second: read it once
        self.rig = None
        if update.rig:
            try:
                self.rig = rig_from_json(update.rig.encode(), "rig")
            except UserError:
                self.rig = None  # of a newer or damaged recording: shown without cameras

    def _take_previews(self, received: Received[Previews]) -> None:
        size = received.payload.nbytes
        for part in received.message.parts:
            inside = part.offset >= 0 and part.offset + part.width * part.height * 3 <= size
            if part.width < 1 or part.height < 1 or not inside:
                return
        for part in received.message.parts:
            self.aspects[part.camera] = part.width / part.height
        self.previews = Preview(received.message, received.payload)
        self.changes += 1


def _said(update: RigUpdate) -> tuple[object, ...]:
    """What of a rig update can be seen."""
    return (update.version, update.world, update.quality, update.reason, update.moved)


def small_pictures(inbox: Inbox) -> dict[str, npt.NDArray[np.uint8]]:
    """The newest preview of each camera that is in the newest set, (h, w, 3) uint8 BGR."""
    if inbox.previews is None:
        return {}
    pixels = np.frombuffer(inbox.previews.pixels, np.uint8)
    out = {}
    for part in inbox.previews.message.parts:
        size = part.width * part.height * 3
        flat = pixels[part.offset : part.offset + size]
        out[part.camera] = flat.reshape(part.height, part.width, 3)
    return out
