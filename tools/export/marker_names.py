"""What the joints are called in other programs."""

from __future__ import annotations

from typing import Final, Literal

from engines.skeleton import JOINT_NAMES

NameSet = Literal["dsvt", "pose2sim"]
"""Ours, or those of Pose2Sim's marker set for HALPE 26, which OpenSim then scales and moves by."""

_POSE2SIM: Final = {
    "pelvis": "Hip", "thorax": "Neck", "head": "Head",
    "right_hip": "RHip", "right_knee": "RKnee", "right_ankle": "RAnkle",
    "left_hip": "LHip", "left_knee": "LKnee", "left_ankle": "LAnkle",
    "right_shoulder": "RShoulder", "right_elbow": "RElbow", "right_wrist": "RWrist",
    "left_shoulder": "LShoulder", "left_elbow": "LElbow", "left_wrist": "LWrist",
}  # fmt: skip
"""Its neck lies between the shoulders, as our thorax does; spine and neck it has not."""


def marker_names(names: NameSet) -> tuple[str, ...]:
    """The 17 names in the order of ``engines.skeleton``; those that a set lacks are ours."""
    if names == "dsvt":
        return JOINT_NAMES
    return tuple(_POSE2SIM.get(name, name) for name in JOINT_NAMES)
