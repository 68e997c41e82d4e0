"""The skeleton of a shaped body: bones, forward kinematics, skinning and the true joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.skeleton import JOINT_COUNT
from tools.studio.assets import Assets
from tools.studio.formats import FloatArray, IntArray

TWISTED: Final = ("LeftArm", "RightArm", "LeftUpLeg", "RightUpLeg")
"""Bones that get a second bone which swings but does not twist.

Skin near the shoulder or hip follows the second one, skin near the elbow or knee the first, so
that turning the elbow does not wring the shoulder ("candy wrapper").
"""
NO_TWIST: Final = ".swing"
INFLUENCES: Final = 4

_LIMB_HEADS: Final = {
    1: "RightUpLeg",
    2: "RightLeg",
    3: "RightFoot",
    4: "LeftUpLeg",
    5: "LeftLeg",
    6: "LeftFoot",
    11: "LeftArm",
    12: "LeftForeArm",
    13: "LeftHand",
    14: "RightArm",
    15: "RightForeArm",
    16: "RightHand",
}
# Where the mocap's thorax, neck and head points lie, as fractions of the stature (forward, up):
# the thorax from mid-shoulders in the chest's axes, the others from the thorax in the head's.
_THORAX = (0.008, 0.026)
_NECK = (0.047, 0.069)
_HEAD = (0.037, 0.136)


@dataclass(frozen=True, slots=True)
class Rig:
    """Bones in the rest pose of one body; parents come before children.

    Attributes:
        names: bone names.
        parents: (B,) parent of each bone, -1 for the root.
        heads: (B, 3) where bones start, metres, rest pose.
        tails: (B, 3) where bones end.
        joint_bones: (17,) the bone that carries each H36M-17 joint.
        joint_rest: (17, 3) the joints in the rest pose.
    """

    names: tuple[str, ...]
    parents: IntArray
    heads: FloatArray
    tails: FloatArray
    joint_bones: IntArray
    joint_rest: FloatArray

    def index(self, name: str) -> int:
        """The number of the bone of that name."""
        return self.names.index(name)


def build_rig(assets: Assets, vertices: FloatArray, stature_m: float) -> Rig:
    """Places the bones in a shaped body (V, 3), metres, and fixes the 17 joints to them.

    The limb joints are the rig's own. The pelvis is mid-hips. Spine, thorax, neck and head follow
    the constructed points of the mocap data (see ``_THORAX`` …): the spine is halfway from pelvis
    to thorax.
    """
    names: list[str] = []
    parents: list[int] = []
    heads: list[FloatArray] = []
    tails: list[FloatArray] = []
    for bone in assets.bones():
        for name in (bone.name, bone.name + NO_TWIST) if bone.name in TWISTED else (bone.name,):
            parents.append(names.index(bone.parent) if bone.parent else -1)
            names.append(name)
            heads.append(vertices[bone.head].mean(0))
            tails.append(vertices[bone.tail].mean(0))
    bones = np.zeros(JOINT_COUNT, np.int32)
    rest = np.zeros((JOINT_COUNT, 3), np.float32)
    for joint, name in _LIMB_HEADS.items():
        bones[joint] = names.index(name)
        rest[joint] = heads[names.index(name)]

    def ahead(forward_up: tuple[float, float]) -> FloatArray:
        return np.array([0.0, -forward_up[0], forward_up[1]], np.float32) * np.float32(stature_m)

    rest[0] = (rest[1] + rest[4]) / 2
    rest[8] = (rest[11] + rest[14]) / 2 + ahead(_THORAX)
    rest[7] = (rest[0] + rest[8]) / 2
    rest[9] = rest[8] + ahead(_NECK)
    rest[10] = rest[8] + ahead(_HEAD)
    for joint, name in ((0, "Hips"), (7, "Spine"), (8, "Spine1"), (9, "Head"), (10, "Head")):
        bones[joint] = names.index(name)
    return Rig(
        tuple(names),
        np.array(parents, np.int32),
        np.stack(heads),
        np.stack(tails),
        bones,
        rest,
    )


def split_weights(assets: Assets, rig: Rig, vertices: FloatArray) -> FloatArray:
    """Skin weights (V, B) of the base mesh for the rig with its twist-free bones."""
    plain = tuple(name for name in rig.names if not name.endswith(NO_TWIST))
    table = assets.skin_weights(plain)
    weights = np.zeros((len(vertices), len(rig.names)), np.float32)
    for column, name in enumerate(plain):
        weights[:, rig.index(name)] = table[:, column]
    for name in TWISTED:
        bone, swing = rig.index(name), rig.index(name + NO_TWIST)
        axis = rig.tails[bone] - rig.heads[bone]
        along = np.clip((vertices - rig.heads[bone]) @ axis / (axis @ axis), 0.0, 1.0)
        total = weights[:, bone].copy()
        weights[:, bone] = total * along
        weights[:, swing] = total * (1.0 - along)
    return weights


def strongest(weights: FloatArray) -> tuple[IntArray, FloatArray]:
    """Keeps the four strongest bones of each vertex: indices and weights (V, 4)."""
    order = np.argsort(-weights, axis=1)[:, :INFLUENCES].astype(np.int32)
    kept = np.take_along_axis(weights, order, 1)
    return order, kept / np.maximum(kept.sum(1, keepdims=True), 1e-9)


def forward(rig: Rig, rotations: FloatArray, root: FloatArray) -> FloatArray:
    """Forward kinematics.

    Args:
        rig: the skeleton, B bones.
        rotations: (..., B, 3, 3) rest → world rotation of each bone.
        root: (..., 3) world position of mid-hips, metres.

    Returns:
        (..., B, 3, 4) matrices that take rest positions to world positions.
    """
    heads = np.zeros((*rotations.shape[:-2], 3), np.float32)
    hips = rig.joint_rest[0] - rig.heads[0]
    heads[..., 0, :] = root - rotations[..., 0, :, :] @ hips
    for bone in range(1, len(rig.names)):
        parent = int(rig.parents[bone])
        step = rig.heads[bone] - rig.heads[parent]
        heads[..., bone, :] = heads[..., parent, :] + rotations[..., parent, :, :] @ step
    moved = np.einsum("...bij,bj->...bi", rotations, rig.heads)
    return np.concatenate([rotations, (heads - moved)[..., None]], -1).astype(np.float32)


def true_joints(rig: Rig, matrices: FloatArray) -> FloatArray:
    """The 17 joints (..., 17, 3) in the world of a body posed by ``forward``."""
    at = matrices[..., rig.joint_bones, :, :]
    joints = np.einsum("...jik,jk->...ji", at[..., :3], rig.joint_rest) + at[..., 3]
    # The middle of the trunk belongs to no single bone.
    joints[..., 7, :] = (joints[..., 0, :] + joints[..., 8, :]) / 2
    return np.asarray(joints, np.float32)


def skin(
    positions: FloatArray, bones: IntArray, weights: FloatArray, matrices: FloatArray
) -> FloatArray:
    """Linear blend skinning: rest positions (V, 3) → world (V, 3) with (B, 3, 4) matrices."""
    blended = np.einsum("vk,vkij->vij", weights, matrices[bones])
    return np.asarray(
        np.einsum("vij,vj->vi", blended[..., :3], positions) + blended[..., 3], np.float32
    )
