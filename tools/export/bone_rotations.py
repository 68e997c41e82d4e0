"""Bone rotations of a skeleton of fixed size, from joint positions.

A joint with several children (pelvis, thorax) is turned as a whole, by the rotation that takes its
children's places at rest nearest to those seen (Kabsch, Acta Cryst. A 32, 1976). A joint with one
child is swung by the smallest rotation from where its parent carries it, since nothing tells how a
bone is twisted about itself. Hands and feet have no joint beyond them and follow the bone before.

Frame: x to the person's left at rest, y up, z to the front (right-handed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation, Slerp

from engines.procrustes import rotation_from_correlation
from engines.skeleton import JOINT_COUNT, JOINT_NAMES, PARENTS

Floats = npt.NDArray[np.float64]

CHILDREN: Final = tuple(
    tuple(child for child, parent in enumerate(PARENTS) if parent == joint)
    for joint in range(JOINT_COUNT)
)

_J: Final = {name: index for index, name in enumerate(JOINT_NAMES)}
_DOWN, _UP, _LEFT, _RIGHT = (0, -1, 0), (0, 1, 0), (1, 0, 0), (-1, 0, 0)
_AT_REST: Final[dict[int, tuple[int, int, int]]] = {
    _J[name]: direction
    for direction, names in (
        (_DOWN, ("right_knee", "right_ankle", "left_knee", "left_ankle")),
        (_UP, ("thorax", "head")),
        (_LEFT, ("left_elbow", "left_wrist")),
        (_RIGHT, ("right_elbow", "right_wrist")),
    )
    for name in names
}
"""Where bones of only children point at rest: a T. The others keep the person's own shape."""

_AXES: Final = {
    _J["pelvis"]: (_J["right_hip"], _J["left_hip"], _J["pelvis"], _J["spine"]),
    _J["thorax"]: (_J["right_shoulder"], _J["left_shoulder"], _J["thorax"], _J["neck"]),
}
"""For joints with several children: from the first to the second is left, from the third to the
fourth is up."""


_USUAL: Final = np.zeros((JOINT_COUNT, 3))
"""Offsets at rest of the usual person, as shares of the sum of all bones: the median of 230 clips
of mocap.cs.cmu.edu, both sides alike."""
for _name, _offset in (
    ("hip", (0.0227, 0.0, 0.0)), ("knee", (0.0, -0.0951, 0.0)), ("ankle", (0.0, -0.1168, 0.0)),
    ("shoulder", (0.0296, -0.012, 0.0042)), ("elbow", (0.0726, 0.0, 0.0)),
    ("wrist", (0.0609, 0.0, 0.0)),
):  # fmt: skip
    _USUAL[_J[f"left_{_name}"]] = _offset
    _USUAL[_J[f"right_{_name}"]] = np.array(_offset) * (-1, 1, 1)
for _name, _up in (("spine", 0.0611), ("thorax", 0.0723), ("neck", 0.0362), ("head", 0.0294)):
    _USUAL[_J[_name]] = (0.0, _up, 0.0)


@dataclass(frozen=True, slots=True)
class Turned:
    """A skeleton of fixed bones, and how it moves.

    Attributes:
        offsets: (17, 3) of each joint from its parent at rest, in the unit of the joints; zero for
            the pelvis. Bones that are never seen are as long as those of the usual person of that
            size, or zero where none is seen.
        root: (N, 3) places of the pelvis; NaN nowhere, unless it is never known.
        rotations: (N, 17, 3, 3) of each joint against its parent, of the pelvis against the world.
        guessed: (N, 17) where a rotation was not seen but filled in from the instants about it.
    """

    offsets: Floats
    root: Floats
    rotations: Floats
    guessed: npt.NDArray[np.bool_]


def turn_bones(joints: Floats, root: Floats | None = None) -> Turned:
    """Finds the rotations.

    Args:
        joints: (N, 17, 3) any unit, NaN where not known. Rotations hang on nothing but how they lie
            to each other.
        root: (N, 3) places of the pelvis, NaN where not known; None takes those in ``joints``.

    Returns:
        Offsets and rotations; what is missing is interpolated on the shortest way, held before the
        first and after the last sight, and at rest where it is never seen.
    """
    count = len(joints)
    offsets = _rest_offsets(joints)
    turns = np.zeros((count, JOINT_COUNT, 3, 3))
    world = np.zeros_like(turns)
    guessed = np.zeros((count, JOINT_COUNT), bool)
    for joint, parent in enumerate(PARENTS):
        carried = np.tile(np.eye(3), (count, 1, 1)) if parent < 0 else world[:, parent]
        children = CHILDREN[joint]
        local = np.tile(np.eye(3), (count, 1, 1))
        if children:
            seen = joints[:, children] - joints[:, [joint]]
            known = np.isfinite(seen).all(axis=(1, 2)) & (np.abs(seen).max(axis=(1, 2)) > 0)
            if len(children) > 1:
                correlation = np.einsum("nci,cj->nij", seen[known], offsets[list(children)])
                local[known] = carried[known].swapaxes(1, 2) @ rotation_from_correlation(
                    correlation
                )
            else:
                # Seen in the axes in which the parent carries the bone.
                there = np.einsum("nji,nj->ni", carried[known], seen[known, 0])
                local[known] = _swing(offsets[children[0]], there)
            local = _filled(local, known)
            guessed[:, joint] = ~known
        turns[:, joint] = local
        world[:, joint] = carried @ local
    return Turned(offsets, _held(joints[:, 0] if root is None else root), turns, guessed)


def place_joints(turned: Turned) -> Floats:
    """The joints that a skeleton has with its rotations (forward kinematics).

    Args:
        turned: a skeleton.

    Returns:
        (N, 17, 3) in the unit of its offsets.
    """
    places = np.zeros((len(turned.root), JOINT_COUNT, 3))
    world = np.zeros_like(turned.rotations)
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            world[:, joint], places[:, joint] = turned.rotations[:, joint], turned.root
            continue
        world[:, joint] = world[:, parent] @ turned.rotations[:, joint]
        places[:, joint] = places[:, parent] + world[:, parent] @ turned.offsets[joint]
    return places


def _rest_offsets(joints: Floats) -> Floats:
    offsets = np.full((JOINT_COUNT, 3), np.nan)
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            continue
        bone = joints[:, joint] - joints[:, parent]
        if joint in _AT_REST:
            length = np.linalg.norm(bone, axis=1)
            offsets[joint] = np.array(_AT_REST[joint]) * _median(length[:, None])[0]
        elif parent in _AXES:
            offsets[joint] = _median(np.einsum("nji,nj->ni", _axes(joints, parent), bone))
    known = np.isfinite(offsets).all(axis=1)
    seen, usual = (np.linalg.norm(part[known], axis=1).sum() for part in (offsets, _USUAL))
    return np.where(known[:, None], offsets, _USUAL * (seen / usual if usual > 0 else 0.0))


def _axes(joints: Floats, joint: int) -> Floats:
    """(N, 3, 3) the body's left, up and front at a joint, as columns; NaN where not known."""
    right, left, below, above = (joints[:, index] for index in _AXES[joint])
    with np.errstate(invalid="ignore"):  # joints on one line have no axes
        x = left - right
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        up = above - below
        y = up - (up * x).sum(1, keepdims=True) * x
        y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return np.stack((x, y, np.cross(x, y)), axis=-1)


def _median(values: Floats) -> Floats:
    known = values[np.isfinite(values).all(axis=1)]
    return np.median(known, axis=0) if len(known) else np.full(values.shape[1], np.nan)


def _swing(rest: Floats, seen: Floats) -> Floats:
    """(N, 3, 3) smallest rotations from one direction to others (Rodrigues)."""
    length = np.linalg.norm(rest)
    if length == 0 or len(seen) == 0:
        return np.tile(np.eye(3), (len(seen), 1, 1))
    start = rest / length
    end = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=1)
    angle = np.arctan2(sine, end @ start)
    # Straight back there is no smallest one: any axis across does.
    across = np.eye(3)[np.argmin(np.abs(start))]
    across = across - (across @ start) * start
    axis = np.where(sine[:, None] > 1e-9, axis, across)
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    return np.asarray(Rotation.from_rotvec(axis * angle[:, None]).as_matrix())


def _filled(rotations: Floats, known: npt.NDArray[np.bool_]) -> Floats:
    """Interpolates rotations between the known ones, and holds the first and the last."""
    rows = np.flatnonzero(known)
    if len(rows) == 0 or len(rows) == len(known):
        return rotations
    if len(rows) == 1:
        return np.tile(rotations[rows[0]], (len(known), 1, 1))
    between = Slerp(rows, Rotation.from_matrix(rotations[rows]))
    return np.asarray(between(np.clip(np.arange(len(known)), rows[0], rows[-1])).as_matrix())


def _held(places: Floats) -> Floats:
    """Interpolates places between the known ones, and holds the first and the last."""
    rows = np.flatnonzero(np.isfinite(places).all(axis=1))
    if len(rows) == 0:
        return places
    numbers = np.arange(len(places))
    return np.stack([np.interp(numbers, rows, places[rows, axis]) for axis in range(3)], axis=-1)
