"""Single poses: a body as one set of capture joints has it, standing on the floor."""

from __future__ import annotations

import numpy as np

from tools.studio.formats import FloatArray
from tools.studio.motion import Mocap, outline, soles, turned
from tools.studio.person import Person
from tools.studio.retarget import Reference, Retargeter
from tools.studio.rig import forward, skin, true_joints


def pose_once(
    person: Person, mocap: Mocap, frame: int, heading_deg: float = 0.0, grip: float = 0.3
) -> tuple[FloatArray, FloatArray]:
    """Poses a body by a single frame of the capture, above the origin, on the floor.

    Args:
        person: who.
        mocap: the capture.
        frame: row of ``mocap.joints``.
        heading_deg: turns the pose about the vertical.
        grip: how far the fingers are closed, radians a joint.

    Returns:
        (B, 3, 4) bone matrices and the true joints (17, 3), metres.
    """
    index = int(np.searchsorted(mocap.offsets, frame, side="right")) - 1
    joints = turned(mocap.joints[frame : frame + 1], np.radians(heading_deg))
    matrices, posed = pose_joints(person, joints, mocap.floored(index), grip)
    return matrices[0], posed[0]


def pose_joints(
    person: Person, joints: FloatArray, reference: Reference, grip: float = 0.3
) -> tuple[FloatArray, FloatArray]:
    """Poses a body by single sets of joints, each above the origin, on the floor.

    Args:
        person: who.
        joints: (N, 17, 3) metres, z up; the poses have nothing to do with each other.
        reference: their skeleton standing upright.
        grip: how far the fingers are closed, radians a joint.

    Returns:
        (N, B, 3, 4) bone matrices and the true joints (N, 17, 3), metres.
    """
    joints = joints - joints[:, :1] * np.array([1, 1, 0], np.float32)
    rest = person.rig.joint_rest
    leg = np.linalg.norm(rest[[2, 3]] - rest[[1, 2]], axis=1).sum()
    rotations = Retargeter(person.rig, reference, grip).rotations(joints)
    root = joints[:, 0] * np.float32(leg / reference.leg_m)
    low = [np.concatenate(both) for both in zip(soles(person), outline(person), strict=True)]
    matrices = forward(person.rig, rotations, root)
    for pose in matrices:
        pose[:, 2, 3] -= skin(low[0], low[1], low[2], pose)[:, 2].min()
    return matrices, true_joints(person.rig, matrices)
