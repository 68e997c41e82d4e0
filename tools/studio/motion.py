"""Motion capture: reading it, joining pieces of it, and moving a body by it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from engines.errors import UserError
from engines.skeleton import JOINT_COUNT, mirrored
from tools.studio.formats import FloatArray, IntArray, RealArray
from tools.studio.person import CLOTH, SHOES, SKIN, Person
from tools.studio.retarget import Reference, Retargeter, make_reference
from tools.studio.rig import forward, skin

TRACK_HZ = 60.0
"""Rate at which bodies are moved; any time in between is interpolated."""


@dataclass(frozen=True, slots=True)
class Mocap:
    """Capture clips of 17 joints (H36M order), metres, z up.

    Attributes:
        joints: (N, 17, 3) all clips one after the other.
        offsets: (C + 1,) clip i is rows ``offsets[i]:offsets[i + 1]``.
        names: (C,) clip names.
        descriptions: (C,) what is done.
        skeletons: (C,) name of the skeleton whose bone lengths a clip has.
        fps: frames a second.
        references: what ``reference`` found, by skeleton.
    """

    joints: FloatArray
    offsets: IntArray
    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    skeletons: tuple[str, ...]
    fps: float
    references: dict[str, Reference] = field(default_factory=dict, repr=False, compare=False)

    def index(self, name: str) -> int:
        """The number of the clip of that name.

        Raises:
            UserError: there is none.
        """
        if name not in self.names:
            raise UserError(f"the mocap file has no clip named {name}")
        return self.names.index(name)

    def clip(self, index: int) -> FloatArray:
        """(T, 17, 3) joints of one clip."""
        return self.joints[self.offsets[index] : self.offsets[index + 1]]

    def reference(self, skeleton: str) -> Reference:
        """A skeleton standing upright, from all clips in which it walks."""
        if skeleton not in self.references:
            self.references[skeleton] = self._find_reference(skeleton)
        return self.references[skeleton]

    def _find_reference(self, skeleton: str) -> Reference:
        walks = [
            self.clip(i)
            for i, (name, text) in enumerate(zip(self.skeletons, self.descriptions, strict=True))
            if name == skeleton and "walk" in text
        ]
        if not walks:
            raise UserError(f"the mocap file has no walk of the skeleton {skeleton}")
        return make_reference(np.concatenate(walks))

    def floored(self, index: int) -> Reference:
        """The upright skeleton of one clip, with the height at which that clip has the ankles."""
        # Takes differ in where they put the floor: the lower ankle tells.
        ankle = float(np.percentile(self.clip(index)[:, [3, 6], 2].min(1), 15))
        return replace(self.reference(self.skeletons[index]), ankle_m=ankle)

    def mirrored(self) -> Mocap:
        """The same motions with left and right exchanged."""
        return replace(self, joints=mirrored(self.joints, (0,)), references={})


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames ``start`` to ``stop`` of one capture clip, turned by ``turn_deg`` when joined on."""

    name: str
    start: int
    stop: int
    turn_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Track:
    """A body in motion at ``TRACK_HZ``.

    Attributes:
        rotations: (T, B, 3, 3) of each bone.
        root: (T, 3) mid-hips in the world, metres.
    """

    rotations: FloatArray
    root: FloatArray

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (len(self.root) - 1) / TRACK_HZ

    def at(self, times_s: RealArray) -> tuple[FloatArray, FloatArray]:
        """Rotations (N, B, 3, 3) and root (N, 3) at times within the track, seconds."""
        grid = np.arange(len(self.root)) / TRACK_HZ
        times = np.clip(np.asarray(times_s, np.float64), 0.0, grid[-1])
        turned = np.stack(
            [
                Slerp(grid, Rotation.from_matrix(self.rotations[:, bone]))(times).as_matrix()
                for bone in range(self.rotations.shape[1])
            ],
            1,
        )
        root = CubicSpline(grid, self.root)(times)
        return turned.astype(np.float32), np.asarray(root, np.float32)


def read_mocap(path: Path) -> Mocap:
    """Reads a mocap17 file (see docs/studio.md).

    Raises:
        UserError: the file is missing or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            joints = data["xyz"].astype(np.float32)
            offsets = data["offsets"].astype(np.int32)
            names, texts, skeletons = (
                tuple(str(x) for x in data[key]) for key in ("names", "desc", "skeleton")
            )
            fps = float(data["fps"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a mocap17 .npz file ({error})") from error
    if joints.ndim != 3 or joints.shape[1:] != (JOINT_COUNT, 3) or len(offsets) != len(names) + 1:
        raise UserError(f"{path}: the arrays do not fit together (xyz is {joints.shape})")
    return Mocap(joints, offsets, names, texts, skeletons, fps)


def _heading(joints: FloatArray) -> FloatArray:
    """Where a pose looks, radians about the vertical, 0 along +x; unwrapped over time."""
    left = joints[..., 4, :] - joints[..., 1, :] + joints[..., 11, :] - joints[..., 14, :]
    return np.asarray(np.unwrap(np.arctan2(-left[..., 0], left[..., 1])), np.float32)


def turned(points: FloatArray, angle: float) -> FloatArray:
    """Points (..., 3) turned about the vertical by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]), np.float32)


def _upsampled(joints: FloatArray, fps: float, smooth: float = 0.7) -> FloatArray:
    """Capture at its rate → ``TRACK_HZ``, lightly smoothed (the files hold 16-bit numbers)."""
    times = np.arange(len(joints)) / fps
    count = int(np.floor(times[-1] * TRACK_HZ + 1e-6)) + 1
    calm = gaussian_filter1d(joints, smooth, axis=0, mode="nearest")
    return np.asarray(CubicSpline(times, calm)(np.arange(count) / TRACK_HZ), np.float32)


def _blend(a: FloatArray, b: FloatArray, share: FloatArray) -> FloatArray:
    """Spherical interpolation of rotations (T, B, 3, 3) with one share a frame."""
    first = Rotation.from_matrix(a.reshape(-1, 3, 3))
    step = (first.inv() * Rotation.from_matrix(b.reshape(-1, 3, 3))).as_rotvec()
    amount = np.repeat(share, a.shape[1])[:, None]
    mixed = first * Rotation.from_rotvec(step * amount)
    return np.asarray(mixed.as_matrix().reshape(a.shape), np.float32)


def make_track(
    person: Person, mocap: Mocap, pieces: list[Piece], overlap_s: float = 0.4, grip: float = 0.3
) -> Track:
    """Moves a body by pieces of capture, one after the other without a jump.

    Each piece is turned and shifted so that it goes on where and in which direction the one
    before it ends; over ``overlap_s`` the two are blended. Afterwards the standing foot is kept
    from sliding and the lowest sole is put on the floor. The path's middle is at the origin.
    """
    whole: Track | None = None
    for piece in pieces:
        index = mocap.index(piece.name)
        joints = _upsampled(mocap.clip(index)[piece.start : piece.stop], mocap.fps)
        # Takes differ in where they put the floor: the lower ankle tells.
        ankle = float(np.percentile(joints[:, [3, 6], 2].min(1), 15))
        reference = replace(mocap.reference(mocap.skeletons[index]), ankle_m=ankle)
        fade = round(overlap_s * TRACK_HZ)
        joints = joints - joints[:1, :1] * np.array([1, 1, 0], np.float32)
        if whole is not None:
            here = _body_heading(whole.rotations[-fade // 2])
            there = float(_heading(joints)[fade // 2])
            joints = turned(joints, here - there + np.radians(piece.turn_deg))
        part = _retargeted(person, joints, reference, grip)
        whole = part if whole is None else _joined(whole, part, fade)
    if whole is None:
        raise UserError("a track needs at least one piece of capture")
    root = _planted(person, whole)
    low, high = root[:, :2].min(0), root[:, :2].max(0)
    root[:, :2] -= (low + high) / 2
    return Track(whole.rotations, root)


def _body_heading(rotations: FloatArray) -> float:
    ahead = -rotations[0, :, 1]
    return float(np.arctan2(ahead[1], ahead[0]))


def _retargeted(person: Person, joints: FloatArray, reference: Reference, grip: float) -> Track:
    rest = person.rig.joint_rest
    leg = np.linalg.norm(rest[[2, 3]] - rest[[1, 2]], axis=1).sum()
    rotations = Retargeter(person.rig, reference, grip).rotations(joints, smooth=3.0)
    return Track(rotations, joints[:, 0] * np.float32(leg / reference.leg_m))


def _joined(a: Track, b: Track, fade: int) -> Track:
    share = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    share = share * share * (3 - 2 * share)
    middle = fade // 2
    shift = a.root[-fade + middle] - b.root[middle]
    shift[2] = 0.0
    moved = b.root + shift
    root = a.root[-fade:] * (1 - share[:, None]) + moved[:fade] * share[:, None]
    mixed = _blend(a.rotations[-fade:], b.rotations[:fade], share)
    return Track(
        np.concatenate([a.rotations[:-fade], mixed, b.rotations[fade:]]),
        np.concatenate([a.root[:-fade], root, moved[fade:]]),
    )


_OUTLINE_CORNERS: Final = 400


def soles(person: Person) -> tuple[FloatArray, IntArray, FloatArray]:
    """The lowest corners of shoes (or bare feet): rest positions, bones, weights."""
    part = next((p for p in person.parts if p.kind == SHOES), person.parts[0])
    chosen = part.rest[:, 2] < part.rest[:, 2].min() + 0.03
    return part.rest[chosen], part.bones[chosen], part.weights[chosen]


def outline(person: Person) -> tuple[FloatArray, IntArray, FloatArray]:
    """Some corners all over a dressed body: rest positions, bones, weights.

    Who sits, lies, kneels or stands on the hands does not rest on the soles.
    """
    parts = [part for part in person.parts if part.kind in (SKIN, CLOTH, SHOES)]
    step = max(1, sum(len(part.rest) for part in parts) // _OUTLINE_CORNERS)
    rest, bones, weights = (
        np.concatenate([getattr(part, name)[::step] for part in parts])
        for name in ("rest", "bones", "weights")
    )
    return rest, bones, weights


def _planted(person: Person, track: Track) -> FloatArray:
    """Root (T, 3) such that the standing foot rests and the body's lowest point is at z = 0."""
    matrices = forward(person.rig, track.rotations, track.root)
    body = outline(person)
    bodies = np.array([skin(*body, m)[:, 2].min() for m in matrices])
    rest, bones, weights = soles(person)
    left = rest[:, 0] > 0
    feet = np.stack([skin(rest, bones, weights, m) for m in matrices])
    heights = np.stack([feet[:, left, 2].min(1), feet[:, ~left, 2].min(1)], 1)
    lowest = np.minimum(heights.min(1), bodies)
    root = track.root.copy()
    root[:, 2] -= gaussian_filter1d(lowest, 1.0, mode="nearest")
    # The part of each foot that stands is its lowest; it must not move over the floor.
    standing = np.exp(-(((heights - lowest[:, None]) / 0.012) ** 2))
    step = np.zeros_like(root[:, :2])
    for foot, mask in enumerate((left, ~left)):
        points = feet[:, mask]
        near = np.exp(-((points[..., 2] - points[..., 2].min(1, keepdims=True)) / 0.012))
        near = near[:-1] * near[1:]
        moved = ((points[1:, :, :2] - points[:-1, :, :2]) * near[..., None]).sum(1)
        moved /= near.sum(1, keepdims=True)
        # A foot that swings low over the floor is told from a standing one by its speed.
        speed = np.linalg.norm(moved, axis=1) * TRACK_HZ
        standing[1:, foot] *= np.exp(-((speed / 0.5) ** 2))
        step[1:] += moved * standing[1:, foot, None]
    step /= np.maximum(standing.sum(1, keepdims=True), 0.05)
    step = gaussian_filter1d(step, 2.0, axis=0, mode="nearest")
    root[:, :2] -= np.cumsum(step, axis=0)
    return root
