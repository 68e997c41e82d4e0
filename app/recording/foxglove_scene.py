"""The skeleton as Foxglove's well-known ``foxglove.SceneUpdate``, so that its 3D panel shows it.

Only those parts of the schema are here that the skeleton needs. Field names are Foxglove's
(docs.foxglove.dev, message schemas). Colours are those of the viewer: right orange, left blue.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engines.skeleton import BONES, JOINT_COUNT, LEFT_JOINTS, RIGHT_JOINTS

SCHEMA_NAME: Final = "foxglove.SceneUpdate"
FRAME: Final = "room"

_LINE_LIST: Final = 2
_DELETE_ALL: Final = 1
_LIFETIME_S: Final = 1
_THICKNESS_M: Final = 0.05
_BALL_M: Final = 0.08


class Time(msgspec.Struct, frozen=True):
    """Seconds and nanoseconds, of an instant or of a duration."""

    sec: int
    nsec: int


class Vector3(msgspec.Struct, frozen=True):
    """A point or a size in metres."""

    x: float
    y: float
    z: float


class Quaternion(msgspec.Struct, frozen=True):
    """A rotation."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    w: float = 1.0


class PoseInScene(msgspec.Struct, frozen=True):
    """Place and rotation of a primitive."""

    position: Vector3
    orientation: Quaternion


class Colour(msgspec.Struct, frozen=True):
    """Red, green, blue and opacity, 0…1."""

    r: float
    g: float
    b: float
    a: float = 1.0


class LinePrimitive(msgspec.Struct, frozen=True):
    """Lines between pairs of points."""

    type: int
    pose: PoseInScene
    thickness: float
    scale_invariant: bool
    points: tuple[Vector3, ...]
    color: Colour
    colors: tuple[Colour, ...]
    indices: tuple[int, ...]


class SpherePrimitive(msgspec.Struct, frozen=True):
    """A ball."""

    pose: PoseInScene
    size: Vector3
    color: Colour


class SceneEntity(msgspec.Struct, frozen=True):
    """What replaces the entity with the same ``id``."""

    timestamp: Time
    frame_id: str
    id: str
    lifetime: Time
    frame_locked: bool
    spheres: tuple[SpherePrimitive, ...]
    lines: tuple[LinePrimitive, ...]


class SceneEntityDeletion(msgspec.Struct, frozen=True):
    """Takes entities away."""

    timestamp: Time
    type: int
    id: str


class SceneUpdate(msgspec.Struct, frozen=True):
    """One change of the scene."""

    deletions: tuple[SceneEntityDeletion, ...]
    entities: tuple[SceneEntity, ...]


_IDENTITY: Final = Quaternion()
_ORIGIN: Final = PoseInScene(Vector3(0.0, 0.0, 0.0), _IDENTITY)
_BALL: Final = Vector3(_BALL_M, _BALL_M, _BALL_M)
_SIDES: Final = (
    (RIGHT_JOINTS, Colour(1.0, 0.57, 0.19)),
    (LEFT_JOINTS, Colour(0.22, 0.62, 1.0)),
    (
        tuple(j for j in range(JOINT_COUNT) if j not in RIGHT_JOINTS + LEFT_JOINTS),
        Colour(0.78, 0.81, 0.84),
    ),
)


def scene_update(
    joints: npt.NDArray[np.float64], confidence: npt.NDArray[np.float64], wall_ns: int
) -> SceneUpdate:
    """The scene with the skeleton, or without it where no joint is known.

    Args:
        joints: (17, 3) metres, z up, in the room.
        confidence: (17,) 0…1, 0 where a joint is not known and is left out.
        wall_ns: the instant shown, in nanoseconds since 1970.

    Returns:
        One update; coordinates are rounded to millimetres.
    """
    stamp = Time(wall_ns // 1_000_000_000, wall_ns % 1_000_000_000)
    known = confidence > 0.0
    if not known.any():
        return SceneUpdate((SceneEntityDeletion(stamp, _DELETE_ALL, ""),), ())
    points = [Vector3(*(float(value) for value in row)) for row in np.round(joints, 3)]
    spheres: list[SpherePrimitive] = []
    lines: list[LinePrimitive] = []
    for side, colour in _SIDES:
        for joint in side:
            if known[joint]:
                faded = msgspec.structs.replace(colour, a=round(float(confidence[joint]), 2))
                place = PoseInScene(points[joint], _IDENTITY)
                spheres.append(SpherePrimitive(place, _BALL, faded))
        ends = [
            points[end]
            for parent, child in BONES
            if child in side and known[parent] and known[child]
            for end in (parent, child)
        ]
        if ends:
            line = LinePrimitive(
                _LINE_LIST, _ORIGIN, _THICKNESS_M, False, tuple(ends), colour, (), ()
            )
            lines.append(line)
    entity = SceneEntity(
        stamp, FRAME, "skeleton", Time(_LIFETIME_S, 0), False, tuple(spheres), tuple(lines)
    )
    return SceneUpdate((), (entity,))
