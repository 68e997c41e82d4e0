"""The skeleton as one triangle mesh whose vertices move: arrays only, no graphics library.

Every bone is a spindle (rings of vertices along it), every joint a ball. Their triangles never
change, so the renderer keeps one mesh for the whole run. What is not known collapses to a point
without area: it vanishes and can never jump elsewhere. Colours hold the shading (one key light,
sky light and a light edge), computed per vertex after Phong (CACM 1975), because that costs less
than shading pixels on machines that draw on the CPU.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engines.skeleton import BONES, JOINT_COUNT
from viz.palette import BACKGROUND, BONE_COLOURS, JOINT_COLOURS

Floats = npt.NDArray[np.float64]

_SIDES: Final = 14
_RINGS: Final = 7
_BALL_RINGS: Final = 8
_LIMB: Final = (0.020, 0.027, 0.031, 0.032, 0.030, 0.025, 0.019)
_TRUNK: Final = (0.026, 0.032, 0.036, 0.038, 0.036, 0.032, 0.026)
_HEAD_RADIUS_M: Final = 0.080
_HEAD_MIDDLE, _HEAD_REACH = 0.25, 0.80  # of the bone from neck to crown
_BALLS: Final = {0: 0.048, 7: 0.042, 8: 0.046, 9: 0.036, 10: 0.012}
_BALL: Final = 0.038
_HEAD_BONE: Final = (9, 10)
_SLIMMEST: Final = 0.55  # radius of a joint that is hardly known, as a share of the full one
_KEY_LIGHT: Final = (0.45, -0.25, 0.85)  # from the right above, behind the camera


def _profile(bone: tuple[int, int]) -> tuple[float, ...]:
    return _TRUNK if bone[1] in (1, 4, 7, 8, 9, 11, 14) else _LIMB


def _tube_triangles(rings: int, sides: int) -> npt.NDArray[np.int32]:
    """(n, 3) triangles of ``rings`` circles of ``sides`` vertices, wound outwards."""
    ring, side = np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij")
    here = ring * sides + side
    beside = ring * sides + (side + 1) % sides
    lower = np.stack([here, beside, here + sides], axis=-1)
    upper = np.stack([beside, beside + sides, here + sides], axis=-1)
    return np.concatenate([lower, upper]).reshape(-1, 3).astype(np.int32)


class BodyMesh:
    """Turns poses into vertices and colours of the one mesh.

    Attributes:
        triangles: (T, 3) int32, the same for every pose.
        coarse: (C,) int, those of the vertices that make a coarser mesh, good for a shadow.
        coarse_triangles: (S, 3) int32 of that mesh, which index ``coarse``.
    """

    def __init__(self) -> None:
        """Lays out the mesh."""
        turn = np.linspace(0.0, 2.0 * np.pi, _SIDES, endpoint=False)
        self._circle = np.stack([np.cos(turn), np.sin(turn)], axis=-1)  # (S, 2)
        self._profiles = np.array([_profile(bone) for bone in BONES])  # (16, R)
        self._along = np.tile(np.linspace(0.0, 1.0, _RINGS), (len(BONES), 1))
        # The head is an egg around the bone from neck to crown, longer than it.
        head, around = BONES.index(_HEAD_BONE), np.linspace(0.02, np.pi - 0.02, _RINGS)
        self._profiles[head] = _HEAD_RADIUS_M * np.sin(around) ** 0.75
        self._along[head] = _HEAD_MIDDLE - _HEAD_REACH * np.cos(around)
        self._slopes = np.stack(
            [np.gradient(p, a) for p, a in zip(self._profiles, self._along, strict=True)]
        )  # radius per bone length
        polar = np.linspace(np.pi, 0.0, _BALL_RINGS)  # upwards, as spindles go along the bone
        self._ball = np.concatenate(
            [
                (np.sin(polar)[:, None, None] * self._circle).reshape(-1, 2),
                np.repeat(np.cos(polar), _SIDES)[:, None],
            ],
            axis=-1,
        )  # (8·S, 3) unit ball
        self._radii = np.array([_BALLS.get(joint, _BALL) for joint in range(JOINT_COUNT)])

        spindle = _tube_triangles(_RINGS, _SIDES)
        ball = _tube_triangles(_BALL_RINGS, _SIDES)
        first_ball = len(BONES) * _RINGS * _SIDES
        self.triangles: npt.NDArray[np.int32] = np.concatenate(
            [spindle + index * _RINGS * _SIDES for index in range(len(BONES))]
            + [ball + first_ball + index * _BALL_RINGS * _SIDES for index in range(JOINT_COUNT)]
        )
        # Every second vertex of every second ring; the balls hardly show in a shadow.
        grid = np.arange(len(BONES) * _RINGS * _SIDES).reshape(len(BONES), _RINGS, _SIDES)
        kept = grid[:, ::2, ::2]
        _, rings, sides = kept.shape
        self.coarse = kept.reshape(-1)
        self.coarse_triangles: npt.NDArray[np.int32] = np.concatenate(
            [_tube_triangles(rings, sides) + index * rings * sides for index in range(len(BONES))]
        ).astype(np.int32)
        bones = np.array(BONE_COLOURS)[:, None] / 255.0
        joints = np.array(JOINT_COLOURS)[:, None] / 255.0
        self._bone_colours = np.broadcast_to(bones, (len(BONES), _RINGS * _SIDES, 3))
        self._joint_colours = np.broadcast_to(joints, (JOINT_COUNT, _BALL_RINGS * _SIDES, 3))
        self._background = np.array(BACKGROUND) / 255.0
        self._parents = np.array([parent for parent, _ in BONES])
        self._children = np.array([child for _, child in BONES])

    @property
    def vertex_count(self) -> int:
        """How many vertices there are."""
        return len(BONES) * _RINGS * _SIDES + JOINT_COUNT * _BALL_RINGS * _SIDES

    def shape(self, joints: Floats, confidence: Floats) -> tuple[Floats, Floats]:
        """The mesh of a pose.

        Args:
            joints: (17, 3) in metres, z up.
            confidence: (17,) 0…1; 0 where a joint is not known (its place is then ignored).

        Returns:
            (V, 3) vertices and (V, 3) outward unit normals. The parts that are not known lie
            together in one point beside known ones, with triangles of no area.
        """
        known = (confidence > 0.0) & np.isfinite(joints).all(axis=1)
        parking = joints[known][0] if known.any() else np.zeros(3)
        places = np.where(known[:, None], joints, parking)
        sizes = np.where(known, _SLIMMEST + (1.0 - _SLIMMEST) * np.clip(confidence, 0, 1), 0.0)

        start, end = places[self._parents], places[self._children]
        both = np.minimum(sizes[self._parents], sizes[self._children])
        start = np.where(both[:, None] > 0, start, parking)
        end = np.where(both[:, None] > 0, end, parking)
        axis = end - start
        length = np.linalg.norm(axis, axis=1, keepdims=True)
        forward = axis / np.maximum(length, 1e-9)
        # Any direction across the bone will do: the one that is farthest from parallel.
        least = np.eye(3)[np.argmin(np.abs(forward), axis=1)]
        across = np.cross(forward, least)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
        up = np.cross(forward, across)
        outward = (
            self._circle[None, :, :1] * across[:, None] + self._circle[None, :, 1:] * up[:, None]
        )  # (16, S, 3)
        middle = start[:, None] + axis[:, None] * self._along[:, :, None]  # (16, R, 3)
        radius = self._profiles * both[:, None]
        spindles = middle[:, :, None] + outward[:, None] * radius[:, :, None, None]
        lean = self._slopes * both[:, None] / np.maximum(length, 1e-3)
        normals = outward[:, None] - forward[:, None, None] * lean[:, :, None, None]
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)

        balls = places[:, None] + self._ball[None] * (self._radii * sizes)[:, None, None]
        ball_normals = np.broadcast_to(self._ball, balls.shape)
        return (
            np.concatenate([spindles.reshape(-1, 3), balls.reshape(-1, 3)]),
            np.concatenate([normals.reshape(-1, 3), ball_normals.reshape(-1, 3)]),
        )

    def colours(self, vertices: Floats, normals: Floats, confidence: Floats, eye: Floats) -> Floats:
        """The shaded colours, faded towards the background by confidence.

        Args:
            vertices: (V, 3) of ``shape``.
            normals: (V, 3) of ``shape``.
            confidence: (17,) 0…1.
            eye: (3,) where the picture is seen from.

        Returns:
            (V, 3) BGR, 0…1.
        """
        sure = np.clip(confidence, 0.0, 1.0)
        bones = np.minimum(sure[self._parents], sure[self._children])
        fade = np.concatenate(
            [np.repeat(bones, _RINGS * _SIDES), np.repeat(sure, _BALL_RINGS * _SIDES)]
        )[:, None]
        base = np.concatenate(
            [self._bone_colours.reshape(-1, 3), self._joint_colours.reshape(-1, 3)]
        )
        to_eye = eye - vertices
        to_eye /= np.maximum(np.linalg.norm(to_eye, axis=1, keepdims=True), 1e-9)
        light = _key_light(eye - vertices.mean(axis=0))
        halfway = to_eye + light
        halfway /= np.maximum(np.linalg.norm(halfway, axis=1, keepdims=True), 1e-9)
        diffuse = np.clip(normals @ light, 0.0, 1.0)[:, None]
        sky = (0.5 + 0.5 * normals[:, 2])[:, None]
        shine = np.clip((normals * halfway).sum(axis=1), 0.0, 1.0)[:, None] ** 28
        edge = np.clip(1.0 - (normals * to_eye).sum(axis=1), 0.0, 1.0)[:, None] ** 3
        lit = base * (0.24 + 0.24 * sky + 0.62 * diffuse) + 0.20 * shine + 0.10 * edge
        share = 0.25 + 0.75 * fade
        return np.asarray(np.clip(self._background + (lit - self._background) * share, 0.0, 1.0))


def _key_light(towards_eye: Floats) -> Floats:
    """Unit vector to the light, which stands beside the camera and turns with it."""
    level = np.array([towards_eye[0], towards_eye[1]])
    level /= max(float(np.linalg.norm(level)), 1e-9)
    right = np.array([-level[1], level[0]])
    x, y, z = _KEY_LIGHT
    light = np.array([*(right * x - level * y), z])
    return np.asarray(light / np.linalg.norm(light))
