"""Motion for simulated takes: clips of motion capture joined end to end, on one random person."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.rig.rotations import exponential
from engines.rig.types import Floats
from engines.skeleton import MIRROR, PARENTS
from tools.training.mocap import Mocap

_BLEND = 12  # frames over which one clip turns into the next
_ANKLES = [3, 6]
_NO_FLOOR = "cmu_01_"  # climbing about a playground: there is no floor to be found
_ROOM_M = 1.6  # the person stays this near to the middle
_SYMMETRIC_GROUP = (0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 8, 9, 10)


def random_motion(
    mocap: Mocap, seconds: float, motion_fps: float, rng: np.random.Generator
) -> tuple[str, npt.NDArray[np.float64]]:
    """Clips of several seconds joined end to end, within a room, facing anywhere.

    Args:
        mocap: where the clips come from.
        seconds: that are wanted.
        motion_fps: rate of the motion capture.
        rng: source of chance.

    Returns:
        The clips' names, and (T, 17, 3) joints, metres, z up.
    """
    need = int(np.ceil((seconds + 0.3) * motion_fps)) + 3
    names: list[str] = []
    joints = np.zeros((0, 17, 3))
    while len(joints) < need:
        clip = int(rng.integers(len(mocap.names)))
        if mocap.names[clip].startswith(_NO_FLOOR):
            continue
        length = int(mocap.lengths[clip])
        take = min(length, int(rng.uniform(3.0, 8.0) * motion_fps))
        start = int(mocap.starts[clip]) + int(rng.integers(length - take + 1))
        piece = mocap.joints[start : start + take].double().numpy()
        # Clips differ in where their floor is; a standing ankle is 8 cm above it.
        piece[..., 2] += 0.08 - np.percentile(piece[:, _ANKLES, 2].min(1), 5)
        if len(joints):
            piece = _next_to(joints[-1], piece, rng)
        else:
            piece = piece - piece[:, 0].mean(0) * [1, 1, 0]
        piece = piece[: _time_inside(piece)]
        if len(piece) < 3 * _BLEND:
            continue
        joints = _join(joints, piece) if len(joints) else piece
        names.append(mocap.names[clip])
    joints = joints[:need] @ about_z(rng.uniform(0, 2 * np.pi)).T
    if rng.random() < 0.5:
        joints = joints[:, list(MIRROR)] * np.array([-1.0, 1.0, 1.0])
    return " + ".join(names), joints


def _time_inside(joints: Floats) -> int:
    """Frames until the person leaves the room."""
    outside = np.linalg.norm(joints[:, 0, :2], axis=-1) > _ROOM_M
    return int(outside.argmax()) if outside.any() else len(joints)


def about_z(angle: float) -> Floats:
    """(3, 3) turn about the vertical, radians."""
    return exponential(np.array([0.0, 0.0, angle]))


def _heading(pose: Floats) -> float:
    left = pose[4] - pose[1] + pose[11] - pose[14]
    return float(np.arctan2(left[1], left[0]))


def _next_to(pose: Floats, clip: Floats, rng: np.random.Generator) -> Floats:
    """Puts a clip where a pose is, near the same heading, so that it stays inside for long."""
    facing = _heading(pose) - _heading(clip[0])
    placed = [
        (clip - clip[0, 0] * [1, 1, 0]) @ about_z(turn).T + pose[0] * [1, 1, 0]
        for turn in facing + rng.uniform(-1.8, 1.8, 8)
    ]
    return max(placed, key=_time_inside)


def _join(first: Floats, second: Floats) -> Floats:
    """Goes over from one clip to another in a few frames."""
    share = (np.arange(1, _BLEND + 1) / (_BLEND + 1))[:, None, None]
    share = share**2 * (3 - 2 * share)
    mixed = (1 - share) * first[-_BLEND:] + share * second[:_BLEND]
    return np.concatenate([first[:-_BLEND], mixed, second[_BLEND:]])


def random_body(joints: Floats, rng: np.random.Generator) -> Floats:
    """Gives (T, 17, 3) joints one person's bones throughout, of random lengths."""
    factors = np.exp(np.clip(rng.normal(0, 0.05, 11), -0.1, 0.1))
    factors[2:4] *= np.exp(rng.normal(0, 0.025))
    factors[9:11] *= np.exp(rng.normal(0, 0.025))
    scale = factors[list(_SYMMETRIC_GROUP)]
    out = joints.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            bone = joints[:, joint] - joints[:, parent]
            length = np.linalg.norm(bone, axis=-1, keepdims=True)
            constant = np.median(length) * scale[joint]
            out[:, joint] = out[:, parent] + bone * constant / np.maximum(length, 1e-6)
    # Longer or shorter legs: the lower foot stays at its height.
    lower = joints[:, _ANKLES, 2].min(1) - out[:, _ANKLES, 2].min(1)
    out[..., 2] += lower[:, None]
    return np.asarray(out * rng.uniform(0.85, 1.15))


class Motion:
    """Joints at any time of a clip (cubic Hermite through the frames)."""

    def __init__(self, joints: Floats, fps: float) -> None:
        self._joints, self._fps = joints, fps
        self._slopes = np.gradient(joints, axis=0)

    def at(self, times_s: Floats) -> Floats:
        """(T,) seconds to (T, 17, 3)."""
        place = np.clip(times_s * self._fps, 0, len(self._joints) - 1.001)
        low = place.astype(int)
        s = (place - low)[:, None, None]
        a, b = self._joints[low], self._joints[low + 1]
        u, v = self._slopes[low], self._slopes[low + 1]
        mixed = (2 * s**3 - 3 * s**2 + 1) * a + (s**3 - 2 * s**2 + s) * u
        return np.asarray(mixed + (3 * s**2 - 2 * s**3) * b + (s**3 - s**2) * v)
