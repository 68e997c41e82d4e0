"""Motion as a BVH file, which animation programs read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from engines.skeleton import BODY_UNIT_BONE_LENGTH, JOINT_NAMES, PARENTS, STATURE_BODY_UNITS
from tools.export.bone_rotations import CHILDREN, place_joints, turn_bones
from tools.export.motion import Floats, Motion, y_up

_NAMES: Final = {
    "pelvis": "Hips", "spine": "Spine", "thorax": "Chest", "neck": "Head",
    "right_hip": "RightUpLeg", "right_knee": "RightLeg", "right_ankle": "RightFoot",
    "left_hip": "LeftUpLeg", "left_knee": "LeftLeg", "left_ankle": "LeftFoot",
    "right_shoulder": "RightArm", "right_elbow": "RightForeArm", "right_wrist": "RightHand",
    "left_shoulder": "LeftArm", "left_elbow": "LeftForeArm", "left_wrist": "LeftHand",
}  # fmt: skip
"""A bone is named after the part of the body that it moves; the head's top has no bone."""

_HEAD: Final = JOINT_NAMES.index("head")
_STATURE: Final = STATURE_BODY_UNITS / BODY_UNIT_BONE_LENGTH
"""Stature over the sum of all bones (docs/model_cards/lifter.md)."""
_ENDS: Final = {
    "ankle": np.array((0.0, -0.039, 0.11)),
    "left_wrist": np.array((0.108, 0.0, 0.0)),
    "right_wrist": np.array((-0.108, 0.0, 0.0)),
}
"""Hands and feet, over stature (Winter, "Biomechanics and Motor Control of Human Movement")."""


def write_bvh(motion: Motion, path: Path) -> str:
    """Writes a skeleton of fixed bones and its rotations, in centimetres, y up.

    The file's x is ours, its y our z, its z our -y. At rest the person stands in a T and faces +z.
    Rotations are applied as Z, X, Y, in degrees. The format has no way to say that something is not
    known: that is filled in (``turn_bones``).

    Args:
        motion: evenly spaced.
        path: a new file.

    Returns:
        In words: how far fixed bones move the joints, the mean over all that are known, and for how
        long the place of the whole is a guess.

    Raises:
        OSError: it cannot be written.
        ValueError: the motion is not evenly spaced.
    """
    rate_hz = motion.even_rate_hz("BVH")
    joints = y_up(motion.joints, 100.0)
    turned = turn_bones(joints, y_up(motion.root, 100.0))
    count = len(motion.times_s)
    bones = [joint for joint in _depth_first(0) if joint != _HEAD]
    columns = [np.nan_to_num(turned.root)]
    for joint in bones:
        angles = Rotation.from_matrix(turned.rotations[:, joint]).as_euler("ZXY", degrees=True)
        columns.append(np.unwrap(angles, axis=0, period=360.0))
    with path.open("x", encoding="ascii", newline="\n") as stream:
        stream.write("HIERARCHY\n")
        stream.writelines(_describe(0, turned.offsets, 0))
        stream.write(f"MOTION\nFrames: {count}\nFrame Time: {1.0 / rate_hz:.9f}\n")
        np.savetxt(stream, np.concatenate(columns, axis=1), fmt="%.4f")
    there = place_joints(replace(turned, root=np.zeros((count, 3))))
    off_cm = np.linalg.norm(there - joints, axis=-1)
    remark = f"bones of fixed length move the joints by {10 * np.nanmean(off_cm):.0f} mm"
    lost_s = float(np.isnan(motion.root).any(axis=1).sum()) / rate_hz
    return f"{remark}; for {lost_s:.1f} s its place is not known and held" if lost_s else remark


def _depth_first(joint: int) -> Iterator[int]:
    yield joint
    for child in CHILDREN[joint]:
        yield from _depth_first(child)


def _describe(joint: int, offsets: Floats, depth: int) -> Iterator[str]:
    tab = "\t" * depth
    place = " ".join(f"{value:.4f}" for value in offsets[joint])
    channels = "Zrotation Xrotation Yrotation"
    if PARENTS[joint] < 0:
        channels, kind = f"6 Xposition Yposition Zposition {channels}", "ROOT"
    else:
        channels, kind = f"3 {channels}", "JOINT"
    yield f"{tab}{kind} {_NAMES[JOINT_NAMES[joint]]}\n{tab}{{\n"
    yield f"{tab}\tOFFSET {place}\n{tab}\tCHANNELS {channels}\n"
    children = CHILDREN[joint]
    if not children or children == (_HEAD,):
        end = offsets[_HEAD] if children else _end(JOINT_NAMES[joint], offsets)
        place = " ".join(f"{value:.4f}" for value in end)
        yield f"{tab}\tEnd Site\n{tab}\t{{\n{tab}\t\tOFFSET {place}\n{tab}\t}}\n"
    else:
        for child in children:
            yield from _describe(child, offsets, depth + 1)
    yield f"{tab}}}\n"


def _end(name: str, offsets: Floats) -> Floats:
    """The tip of a hand or foot, which no camera was asked for: of usual length, at rest."""
    stature = _STATURE * float(np.linalg.norm(offsets, axis=1).sum())
    return stature * next(tip for part, tip in _ENDS.items() if name.endswith(part))
