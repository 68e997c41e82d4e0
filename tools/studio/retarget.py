"""From 17 motion-capture joints to rotations of the body's bones; bone lengths stay the body's.

Trunk bones take the difference between the observed hip, chest and head axes and those of the
same skeleton standing upright. Limb bones swing to the observed directions; how they twist
follows from the plane in which knee or elbow bends. The capture has no toes: the foot's heading
is that of the leg, its pitch comes from the shank's tilt and the height of the ankle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from tools.studio.formats import FloatArray, RealArray
from tools.studio.rig import NO_TWIST, Rig

_UP = np.array([0.0, 0.0, 1.0], np.float32)


@dataclass(frozen=True, slots=True)
class Reference:
    """A capture skeleton standing upright, looking along -y, mid-hips at the origin.

    Attributes:
        joints: (17, 3) metres.
        ankle_m: height of an ankle above the floor when the foot stands flat.
        leg_m: thigh and shank together.
    """

    joints: FloatArray
    ankle_m: float
    leg_m: float


def _unit(v: RealArray) -> FloatArray:
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9), np.float32)


def _across(v: RealArray, axis: RealArray) -> FloatArray:
    """The part of ``v`` at right angles to the unit vector ``axis``."""
    return np.asarray(v - (v * axis).sum(-1, keepdims=True) * axis, np.float32)


def _cross(a: RealArray, b: RealArray) -> FloatArray:
    """``numpy.cross`` of vectors along the last axis, which for few of them takes a fifth."""
    x, y, z = a[..., 0], a[..., 1], a[..., 2]
    u, v, w = b[..., 0], b[..., 1], b[..., 2]
    return np.asarray(np.stack((y * w - z * v, z * u - x * w, x * v - y * u), -1), np.float32)


def _axes(left: FloatArray, up: FloatArray) -> FloatArray:
    """(..., 3, 3) columns left, back, up; ``left`` is kept, ``up`` straightened."""
    left = _unit(left)
    up = _unit(_across(up, left))
    return np.asarray(np.stack([left, _cross(up, left), up], -1), np.float32)


def swing(a: FloatArray, b: FloatArray) -> FloatArray:
    """The smallest rotations (..., 3, 3) that turn unit vectors ``a`` to ``b``."""
    a, b = np.broadcast_arrays(a, b)
    axis = _cross(a, b)
    cosine = np.maximum((a * b).sum(-1), -0.999)[..., None, None]
    skew = _skew(axis)
    return np.asarray(np.eye(3) + skew + skew @ skew / (1.0 + cosine), np.float32)


def turn(axis: RealArray, angle: float | RealArray) -> FloatArray:
    """Rotations (..., 3, 3) about unit vectors by angles in radians (Rodrigues)."""
    skew = _skew(axis)
    amount = np.asarray(angle)[..., None, None]
    return np.asarray(
        np.eye(3) + np.sin(amount) * skew + (1.0 - np.cos(amount)) * (skew @ skew), np.float32
    )


def _skew(v: RealArray) -> FloatArray:
    v = np.asarray(v, np.float32)
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    o = np.zeros_like(x)
    table = np.stack([o, -z, y, z, o, -x, -y, x, o], -1)
    return np.asarray(table.reshape(*x.shape, 3, 3), np.float32)


def _between(a: FloatArray, b: FloatArray, share: float | FloatArray) -> FloatArray:
    """Rotations a ``share`` of the way from ``a`` to ``b`` (spherical interpolation)."""
    first = Rotation.from_matrix(a.reshape(-1, 3, 3))
    step = (first.inv() * Rotation.from_matrix(b.reshape(-1, 3, 3))).as_rotvec()
    amount = np.broadcast_to(np.asarray(share, np.float64), a.shape[:-2]).reshape(-1, 1)
    mixed = first * Rotation.from_rotvec(step * amount)
    return np.asarray(mixed.as_matrix().reshape(a.shape), np.float32)


def _smoothstep(x: FloatArray, low: float, high: float) -> FloatArray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def make_reference(joints: FloatArray) -> Reference:
    """Averages a skeleton that mostly walks upright (N, 17, 3), metres, z up."""
    left = joints[:, 4] - joints[:, 1] + joints[:, 11] - joints[:, 14]
    left[:, 2] = 0.0
    axes = _axes(left, np.broadcast_to(_UP, left.shape))
    local = np.einsum("nji,nkj->nki", axes, joints - joints[:, :1])
    middle = np.median(local, 0).astype(np.float32)
    # Walking swings left and right alike: what remains is the capture's bias, and goes.
    middle[[0, 7, 8, 9, 10], 0] = 0.0
    lengths = np.linalg.norm(joints[:, [2, 3, 5, 6]] - joints[:, [1, 2, 4, 5]], axis=-1)
    ankle = np.percentile(joints[:, [3, 6], 2].min(1), 25)
    return Reference(middle, float(ankle), float(lengths.mean(0).sum() / 2))


def _trunk_axes(joints: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Axes of hips, chest and head (..., 3, 3)."""
    hips = _axes(joints[..., 4, :] - joints[..., 1, :], joints[..., 7, :] - joints[..., 0, :])
    chest = _axes(joints[..., 11, :] - joints[..., 14, :], joints[..., 8, :] - joints[..., 7, :])
    up = _unit(joints[..., 10, :] - joints[..., 9, :])
    back = -_unit(_across(joints[..., 9, :] - joints[..., 8, :], up))
    return hips, chest, np.stack([_cross(back, up), back, up], -1)


class Retargeter:
    """Turns capture joints of one skeleton into bone rotations of one body."""

    def __init__(self, rig: Rig, reference: Reference, grip: float = 0.35) -> None:
        """Prepares.

        Args:
            rig: the body's bones.
            reference: the capture skeleton standing upright.
            grip: how far the fingers are closed, radians a joint.
        """
        self.rig = rig
        self.reference = reference
        self._upright = _trunk_axes(reference.joints)
        self._grip = grip

    def rotations(self, joints: FloatArray, smooth: float = 0.0) -> FloatArray:
        """Bone rotations.

        Args:
            joints: (T, 17, 3) capture joints, metres, z up, floor at 0.
            smooth: standard deviation in frames of the smoothing over time of the planes in which
                elbows and knees bend; 0 takes each frame by itself.

        Returns:
            (T, B, 3, 3) rest → world rotation of each bone.
        """
        rig = self.rig
        result = np.zeros((len(joints), len(rig.names), 3, 3), np.float32)

        def put(name: str, value: FloatArray) -> None:
            result[:, rig.index(name)] = value

        hips, chest, head = (
            observed @ upright.T
            for observed, upright in zip(_trunk_axes(joints), self._upright, strict=True)
        )
        put("Hips", hips)
        put("LHipJoint", hips)
        put("RHipJoint", hips)
        put("Spine1", chest)
        put("Head", head)
        # All at once: a call costs more than the rotations of a single pose.
        trunk = _between(
            np.stack((hips, hips, chest, chest)),
            np.stack((chest, chest, head, head)),
            np.array([0.3, 0.7, 0.35, 0.7], np.float32)[:, None],
        )
        for name, value in zip(("LowerBack", "Spine", "Neck", "Neck1"), trunk, strict=True):
            put(name, value)
        for side, thumb, first in (("Left", "LThumb", 11), ("Right", "RThumb", 14)):
            upper, lower = (
                _unit(joints[:, first + i + 1] - joints[:, first + i]) for i in range(2)
            )
            shoulder = self._shoulder(side, chest, upper)
            put(f"{side}Shoulder", shoulder)
            plain, full = self._upper(f"{side}Arm", shoulder, upper, lower, True, smooth)
            put(f"{side}Arm{NO_TWIST}", plain)
            put(f"{side}Arm", full)
            fore = self._lower(f"{side}ForeArm", full, lower)
            put(f"{side}ForeArm", fore)
            put(f"{side}Hand", fore)
            curl = self._curl(side)
            put(f"{side}FingerBase", fore @ turn(curl, self._grip))
            put(f"{side}HandFinger1", fore @ turn(curl, 2.0 * self._grip))
            put(thumb, fore @ turn(curl, 0.5 * self._grip))
        for side, first in (("Left", 4), ("Right", 1)):
            upper, lower = (
                _unit(joints[:, first + i + 1] - joints[:, first + i]) for i in range(2)
            )
            plain, full = self._upper(f"{side}UpLeg", hips, upper, lower, False, smooth)
            put(f"{side}UpLeg{NO_TWIST}", plain)
            put(f"{side}UpLeg", full)
            shank = self._lower(f"{side}Leg", full, lower)
            put(f"{side}Leg", shank)
            foot, toes = self._foot(shank, full, lower, joints[:, first + 2, 2])
            put(f"{side}Foot", foot)
            put(f"{side}ToeBase", toes)
        return result

    def _rest(self, name: str) -> FloatArray:
        bone = self.rig.index(name)
        return _unit(self.rig.tails[bone] - self.rig.heads[bone])

    def _shoulder(self, side: str, chest: FloatArray, upper: FloatArray) -> FloatArray:
        """A raised arm lifts the shoulder; the capture's skeleton does not show it."""
        height = np.arcsin(np.clip((upper * chest[:, :, 2]).sum(-1), -1.0, 1.0))
        lift = 0.45 * _smoothstep(height, -0.3, 1.5)
        sign = -1.0 if side == "Left" else 1.0
        axis = np.array([0.0, sign, 0.0], np.float32)
        return np.asarray(chest @ turn(np.broadcast_to(axis, upper.shape), lift), np.float32)

    def _upper(
        self,
        name: str,
        parent: FloatArray,
        upper: FloatArray,
        lower: FloatArray,
        arm: bool,
        smooth: float,
    ) -> tuple[FloatArray, FloatArray]:
        """Rotation of an upper arm or thigh without and with its twist."""
        rest = self._rest(name)
        if arm:
            # The rest pose bends the elbow clearly: that plane is the joint's.
            hinge = _unit(_cross(self._rest(name.replace("Arm", "ForeArm")), rest))
            seen = _cross(lower, upper)
        else:
            hinge = _unit(_across(np.array([1.0, 0.0, 0.0], np.float32), rest))
            seen = _cross(upper, lower)
        local = np.einsum("tji,tj->ti", parent, upper)
        plain = parent @ swing(rest, local)
        start = plain @ hinge
        bend = np.linalg.norm(seen, axis=-1, keepdims=True)
        trust = _smoothstep(bend, 0.1, 0.45)
        wanted = trust * _unit(seen) + (1.0 - trust) * start
        if smooth > 0.0 and len(wanted) > 1:
            wanted = gaussian_filter1d(wanted, smooth, axis=0, mode="nearest")
        angle = np.arctan2(
            (upper * _cross(start, wanted)).sum(-1), (start * _across(wanted, upper)).sum(-1)
        )
        limit = 1.7 if arm else 0.9
        angle = np.clip(angle, -limit, limit).astype(np.float32)
        return plain, np.asarray(turn(upper, angle) @ plain, np.float32)

    def _lower(self, name: str, parent: FloatArray, lower: FloatArray) -> FloatArray:
        return np.asarray(swing(parent @ self._rest(name), lower) @ parent, np.float32)

    def _curl(self, side: str) -> FloatArray:
        """The axis about which the fingers close, in the rest pose."""
        along = self._rest(f"{side}FingerBase")
        thumb = self.rig.index("LThumb" if side == "Left" else "RThumb")
        across = _across(
            self.rig.tails[thumb] - self.rig.heads[self.rig.index(f"{side}Hand")], along
        )
        return -_unit(across)

    def _foot(
        self, shank: FloatArray, thigh: FloatArray, lower: FloatArray, ankle: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Rotations of foot and toes."""
        left = thigh[:, :, 0].copy()
        left[:, 2] = 0.0
        flat = _axes(left, np.broadcast_to(_UP, left.shape))
        ahead = -flat[:, :, 1]
        tilt = np.arctan2(-(lower * ahead).sum(-1), -lower[:, 2])
        lifted = np.maximum(ankle - self.reference.ankle_m - 0.01, 0.0)
        # As the heel rises the toes stay on the floor: 0.16 m from ankle to the ball of the foot.
        deepest = np.arcsin(np.clip(lifted / 0.16, 0.0, 0.85))
        pitch = np.clip(np.minimum(0.8 * (tilt + 0.14), deepest), -0.35, 0.9)

        def pitched(angle: FloatArray) -> FloatArray:
            axis = np.broadcast_to(np.array([1.0, 0.0, 0.0], np.float32), left.shape)
            return np.asarray(flat @ turn(axis, angle), np.float32)

        # A leg that does not stand (lying, kicking) keeps the foot square to the shank.
        free = 1.0 - _smoothstep(-lower[:, 2], 0.15, 0.5)
        rolled = np.where(pitch > 0.0, 0.4 * pitch, pitch)
        foot, toes = _between(
            np.stack((pitched(pitch), pitched(rolled))), np.stack((shank, shank)), free
        )
        return foot, toes
