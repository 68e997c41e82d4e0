"""A made-up person walking, seen by made-up cameras: what the tests of self-calibration look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engines.rig.priors import BONE_SHARES
from engines.rig.projection import project
from engines.rig.rotations import exponential
from engines.rig.types import CameraModel, Floats, Observation, Rig, RigCamera
from engines.skeleton import BONES

UNIT_M = 1.0
"""One body unit; the made-up person has 4.2 m of bone."""
STATURE_M = 1.73


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Cameras, and a person at 30 sets a second.

    Attributes:
        rotations: (V, 3, 3) world to camera; z up.
        positions: (V, 3).
        focal: (V,) half-widths.
        k1: (V,).
        offsets: (V,) seconds that the time stamps are too early.
        times: (T,).
        joints: (T, 17, 3).
        keypoints: (T, V, 17, 3) half-width units and confidence.
        aspect: height over width of all pictures.
    """

    rotations: Floats
    positions: Floats
    focal: Floats
    k1: Floats
    offsets: Floats
    times: Floats
    joints: Floats
    keypoints: Floats
    aspect: float = 0.75

    @property
    def ids(self) -> list[str]:
        """Names of the cameras."""
        return [f"cam{v}" for v in range(len(self.focal))]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Of the pictures."""
        return [(640, round(640 * self.aspect))] * len(self.focal)

    def observations(self, turn_deg: float = 4.0, seed: int = 3) -> list[Observation]:
        """The sets, with answers as wrong as a lifter's: slow joint errors, and a turn a view."""
        rng = np.random.default_rng(seed)
        count, views = len(self.times), len(self.focal)
        relative = (self.joints - self.joints[:, :1]) / UNIT_M
        turns = exponential(rng.normal(0, np.radians(turn_deg) / np.sqrt(3), (views, 3)))
        answers = np.einsum("vij,vjk,tpk->tvpi", turns, self.rotations, relative)
        knots = rng.normal(0, 0.02, (count // 20 + 2, views, 17, 3))
        place = np.arange(count) / 20
        low, part = place.astype(int), (place % 1)[:, None, None, None]
        answers = answers + (1 - part) * knots[low] + part * knots[low + 1]
        answers -= answers[:, :, :1]
        seen = (self.keypoints[..., 2] > 0).sum(-1) >= 4
        sigma = np.where(seen[..., None], 0.04, np.inf) * np.ones(17)
        return [
            Observation(
                time_s=float(t),
                view_times_s=np.full(views, t),
                keypoints=self.keypoints[i],
                lifted=answers[i],
                lifted_sigma=sigma[i],
            )
            for i, t in enumerate(self.times)
        ]

    def rig(self) -> Rig:
        """The true rig."""
        return Rig(
            cameras=tuple(
                RigCamera(
                    id=name,
                    model=CameraModel(float(f), (0.0, 0.0), float(k), *size),
                    rotation=rotation,
                    position=position,
                    time_offset_s=float(offset - self.offsets[0]),
                    covariance=np.eye(9) * 1e-6,
                    noise=0.01,
                )
                for name, f, k, size, rotation, position, offset in zip(
                    self.ids,
                    self.focal,
                    self.k1,
                    self.sizes,
                    self.rotations,
                    self.positions,
                    self.offsets,
                    strict=True,
                )
            ),
            expected_error_mm=20.0,
            quality="good",
            levelled=True,
            body_height_m=STATURE_M,
            bone_lengths=np.full(16, 4.2 / 16),
        )


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """What a scene is like."""

    views: int = 4
    seconds: float = 10.0
    noise: float = 0.008
    fan_deg: float = 360.0
    walk_m: float = 1.1
    still: bool = False
    offset_s: float = 0.015
    k1: float = 0.03
    missing: float = 0.03
    astray: float = 0.04
    seed: int = 0
    distances: tuple[float, float] = (2.8, 4.5)
    heights: tuple[float, float] = (0.8, 2.4)
    fovs_deg: tuple[float, float] = (52.0, 80.0)
    extra: dict[str, float] = field(default_factory=dict)


def make_scene(options: SceneOptions | None = None) -> Scene:
    """Makes a scene; everything follows from the seed."""
    options = options or SceneOptions()
    rng = np.random.default_rng(options.seed)
    views = options.views
    step = np.radians(options.fan_deg) / (views if options.fan_deg >= 360 else max(views - 1, 1))
    azimuth = rng.uniform(0, 2 * np.pi) + step * np.arange(views) + rng.normal(0, 0.1, views)
    distance = rng.uniform(*options.distances, views)
    height = rng.uniform(*options.heights, views)
    positions = np.stack([distance * np.cos(azimuth), distance * np.sin(azimuth), height], -1)
    rotations = np.stack([look_at(p, rng.normal([0, 0, 0.95], 0.1)) for p in positions])
    focal = 1 / np.tan(np.radians(rng.uniform(*options.fovs_deg, views)) / 2)
    k1 = rng.uniform(-1, 1, views) * options.k1
    offsets = rng.uniform(-1, 1, views) * options.offset_s
    times = np.arange(round(options.seconds * 30)) / 30
    frozen = 0.0 if options.still else 1.0
    joints = walk(0.5 + frozen * times, options.walk_m)
    keypoints = np.stack(
        [
            see(
                walk(0.5 + frozen * (times + offsets[v]), options.walk_m),
                rotations[v],
                positions[v],
                float(focal[v]),
                float(k1[v]),
                options,
                rng,
            )
            for v in range(views)
        ],
        axis=1,
    )
    return Scene(rotations, positions, focal, k1, offsets, times, joints, keypoints)


def look_at(position: Floats, target: Floats) -> Floats:
    """(3, 3) world to camera of a camera that stands level and looks at a point."""
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def see(
    joints: Floats,
    rotation: Floats,
    position: Floats,
    focal: float,
    k1: float,
    options: SceneOptions,
    rng: np.random.Generator,
) -> Floats:
    """(T, 17, 3) what a detector makes of (T, 17, 3) joints."""
    in_camera = (joints - position) @ rotation.T
    xy = project(in_camera, focal, k1)
    size = (xy.max(1) - xy.min(1)).max(-1)[:, None, None]
    seen = xy + rng.normal(0, 1, xy.shape) * options.noise * size
    confidence = np.clip(rng.normal(0.9, 0.05, seen.shape[:2]), 0.5, 1.0)
    astray = rng.random(confidence.shape) < options.astray
    wild = xy + rng.normal(0, 0.12, xy.shape) * size
    seen = np.where(astray[..., None], wild, seen)
    confidence = np.where(astray, rng.uniform(0.2, 0.6, confidence.shape), confidence)
    outside = (np.abs(seen) > [1.0, 0.75]).any(-1) | (in_camera[..., 2] < 0.3)
    gone = outside | (rng.random(confidence.shape) < options.missing)
    return np.concatenate([seen, np.where(gone, 0.0, confidence)[..., None]], -1)


def walk(times: Floats, reach: float) -> Floats:
    """(T, 17, 3) joints of somebody who walks a figure of eight, swinging arms and bowing."""
    t = times[:, None]
    path = np.concatenate([reach * np.sin(0.9 * t), 0.8 * reach * np.sin(1.8 * t)], -1)
    heading = np.arctan2(1.44 * np.cos(1.8 * t), 0.9 * np.cos(0.9 * t))[:, 0]
    if reach < 0.01:
        path, heading = np.zeros_like(path), 0.3 * np.sin(0.7 * times)
    length = dict(zip(BONES, BONE_SHARES / BONE_SHARES.sum() * 4.2, strict=True))
    forward = np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], -1)
    left = np.stack([-np.sin(heading), np.cos(heading), np.zeros_like(heading)], -1)
    up = np.array([0.0, 0.0, 1.0])
    phase = 5.5 * times
    lean = 0.25 * np.sin(0.6 * times) + 0.1

    def swing(angle: Floats, out: Floats | float = 0.0) -> Floats:
        """A limb that hangs down, swung forwards and outwards."""
        out = np.broadcast_to(np.asarray(out, np.float64), angle.shape)
        direction = (
            np.sin(angle)[:, None] * forward
            - (np.cos(angle) * np.cos(out))[:, None] * up
            + (np.cos(angle) * np.sin(out))[:, None] * left
        )
        return np.asarray(direction)

    trunk = np.cos(lean)[:, None] * up + np.sin(lean)[:, None] * forward
    joints = np.zeros((len(times), 17, 3))
    thigh = {1: 0.45 * np.sin(phase), 4: -0.45 * np.sin(phase)}
    for hip, side in ((1, -1.0), (4, 1.0)):
        knee, ankle = hip + 1, hip + 2
        joints[:, hip] = joints[:, 0] + side * length[0, hip] * left
        joints[:, knee] = joints[:, hip] + length[hip, knee] * swing(thigh[hip])
        bend = 0.25 - 0.25 * np.cos(phase + (0 if hip == 1 else np.pi))
        joints[:, ankle] = joints[:, knee] + length[knee, ankle] * swing(thigh[hip] - bend)
    joints[:, 7] = joints[:, 0] + length[0, 7] * trunk
    joints[:, 8] = joints[:, 7] + length[7, 8] * trunk
    joints[:, 9] = joints[:, 8] + length[8, 9] * (0.9 * trunk + 0.43 * forward)
    joints[:, 10] = joints[:, 9] + length[9, 10] * (0.95 * trunk - 0.3 * forward)
    raise_arm = 0.9 + 0.9 * np.sin(0.8 * times)
    for shoulder, side in ((11, 1.0), (14, -1.0)):
        elbow, wrist = shoulder + 1, shoulder + 2
        joints[:, shoulder] = joints[:, 8] + length[8, shoulder] * (
            side * 0.98 * left - 0.2 * trunk
        )
        angle = side * 0.5 * np.sin(phase)
        out = side * (raise_arm if shoulder == 11 else 0.3)
        joints[:, elbow] = joints[:, shoulder] + length[shoulder, elbow] * swing(angle, out)
        joints[:, wrist] = joints[:, elbow] + length[elbow, wrist] * swing(angle + 0.6, out)
    lowest = joints[:, [3, 6], 2].min(1)
    joints[..., 2] += (0.08 - lowest)[:, None]
    joints[..., :2] += path[:, None]
    return joints
