"""The one table of what is published where: publishers, subscribers, recorder derive from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from app import messages, run_messages


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """How one topic is carried.

    Attributes:
        message: the struct that it carries.
        keyed: one publisher per camera or process, told apart by a key.
        payload: a second part with raw bytes follows the struct.
        depth: how many messages wait on either side of a socket for a slow subscriber; those that
            come then are lost.
        newest: only the newest message waits, whatever the depth.
        recorded: whether the recorder keeps it.
    """

    message: type[messages.Message]
    keyed: bool = False
    payload: bool = False
    depth: int = 4
    newest: bool = False
    recorded: bool = False


class Topic(Enum):
    """The topics; the value is the name in socket paths and recordings."""

    FRAMES = "frames"
    CAMERA_STATUS = "camera_status"
    JOINTS2D = "joints2d"
    POSES = "poses"
    PREVIEWS = "previews"
    EVIDENCE = "evidence"
    RIG = "rig"
    PIPELINE_STATUS = "pipeline_status"
    HEARTBEAT = "heartbeat"
    HEALTH = "health"
    RUN_STATE = "run_state"
    COMMANDS = "commands"
    RECORDER_STATUS = "recorder_status"

    @property
    def info(self) -> TopicInfo:
        """How this topic is carried."""
        return TOPICS[self]


TOPICS: dict[Topic, TopicInfo] = {
    Topic.FRAMES: TopicInfo(messages.FrameHeader, keyed=True, payload=True, depth=4),
    Topic.CAMERA_STATUS: TopicInfo(messages.CameraStatus, keyed=True, depth=16, recorded=True),
    Topic.JOINTS2D: TopicInfo(messages.Joints2D, depth=256, recorded=True),
    Topic.POSES: TopicInfo(messages.Pose, depth=256, recorded=True),
    Topic.PREVIEWS: TopicInfo(messages.Previews, payload=True, newest=True),
    Topic.EVIDENCE: TopicInfo(messages.Evidence, depth=256),
    Topic.RIG: TopicInfo(messages.RigUpdate, depth=16, recorded=True),
    Topic.PIPELINE_STATUS: TopicInfo(run_messages.PipelineStatus, depth=16, recorded=True),
    Topic.HEARTBEAT: TopicInfo(run_messages.Heartbeat, keyed=True, depth=16),
    Topic.HEALTH: TopicInfo(run_messages.Health, depth=16, recorded=True),
    Topic.RUN_STATE: TopicInfo(run_messages.RunState, depth=16),
    Topic.COMMANDS: TopicInfo(run_messages.Command, keyed=True, depth=16),
    Topic.RECORDER_STATUS: TopicInfo(run_messages.RecorderStatus, depth=16),
}
