"""Whole takes of motion capture as random webcams see them, for measuring self-calibration.

Rigs and 2D errors are those that the lifter is trained on (``tools.training``); here a take lasts
many seconds, cameras run free with known phases, and their time stamps are wrong by an unknown
constant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from engines.rig.rotations import exponential
from engines.rig.types import Floats, Observation
from engines.skeleton import BODY_UNIT_BONE_LENGTH, total_bone_length
from tools.rig.motion import Motion, about_z, random_body, random_motion
from tools.training.keypoint_errors import KeypointErrors, observe
from tools.training.mocap import Mocap
from tools.training.rigs import Rig as TorchRig
from tools.training.rigs import RigRanges, random_rigs

_DEFINITION_SIGMA_M = {0: 0.010, 7: 0.015, 8: 0.014, 9: 0.018, 10: 0.020}


@dataclass(frozen=True, slots=True)
class Bump:
    """A camera that is turned and shifted at some moment, any way."""

    view: int
    at_s: float
    turn_deg: float = 3.0
    shift_m: float = 0.05


@dataclass(frozen=True, slots=True)
class TakeOptions:
    """What a simulated take is like.

    Attributes:
        views: number of cameras.
        seconds: length.
        rate_hz: sets a second.
        motion_fps: rate of the motion capture.
        offset_s: most that a camera's time stamps are wrong.
        phase_s: most that a camera's pictures are away from the common time (known).
        k1: standard deviation of the radial distortion.
        still: the person stands like a statue.
        spot: the person moves, but stays on one spot.
        fan_deg: all cameras stand within this angle seen from the person; None for random ones.
        bump: somebody knocks against a camera.
        rigs: what rigs look like.
        errors: the 2D error model.
    """

    views: int = 4
    seconds: float = 10.0
    rate_hz: float = 30.0
    motion_fps: float = 30.0
    offset_s: float = 0.015
    phase_s: float = 0.012
    k1: float = 0.0
    still: bool = False
    spot: bool = False
    fan_deg: float | None = None
    bump: Bump | None = None
    rigs: RigRanges = field(default_factory=RigRanges)
    errors: KeypointErrors = field(default_factory=KeypointErrors)


@dataclass(frozen=True, slots=True, eq=False)
class TrueCamera:
    """One camera as it really is: (3, 3) world to camera, (3,) metres, half-widths, seconds."""

    rotation: Floats
    position: Floats
    focal: float
    k1: float
    time_offset_s: float
    aspect: float


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """What the cameras saw and what was there.

    Attributes:
        name: the mocap clips.
        times_s: (T,) common times.
        view_times_s: (T, V) time stamps of the pictures.
        keypoints: (T, V, 17, 3) half-width units and confidence.
        joints: (T, 17, 3) true joints at the common times, world, metres.
        cameras: the true cameras (as they are at the end).
        body_unit_m: one body unit in metres.
    """

    name: str
    times_s: Floats
    view_times_s: Floats
    keypoints: Floats
    joints: Floats
    cameras: tuple[TrueCamera, ...]
    body_unit_m: float

    def true_lifted(self) -> Floats:
        """(T, V, 17, 3) what a perfect lifter would answer, body units."""
        relative = (self.joints - self.joints[:, :1]) / self.body_unit_m
        rotations = np.stack([c.rotation for c in self.cameras])
        return np.asarray(np.einsum("vij,tpj->tvpi", rotations, relative))

    def observations(self, lifted: Floats | None, sigma: Floats | None) -> list[Observation]:
        """The take as sets, with a lifter's answers (T, V, 17, 3) and (T, V, 17)."""
        return [
            Observation(
                time_s=float(self.times_s[t]),
                view_times_s=self.view_times_s[t],
                keypoints=self.keypoints[t],
                lifted=None if lifted is None else lifted[t],
                lifted_sigma=None if sigma is None else sigma[t],
            )
            for t in range(len(self.times_s))
        ]


def simulate(mocap: Mocap, options: TakeOptions, seed: int) -> Take:
    """Makes one take.

    Args:
        mocap: where motion comes from.
        options: what the take is like.
        seed: of everything random.

    Returns:
        The take.

    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    count = round(options.seconds * options.rate_hz)
    times = np.arange(count) / options.rate_hz
    views = options.views
    rigs = random_rigs(1, views, options.rigs, generator)
    if options.fan_deg is not None:
        rigs = _fanned(rigs, options.fan_deg, rng)
    offsets = rng.uniform(-1, 1, views) * options.offset_s
    phases = rng.uniform(-1, 1, views) * options.phase_s
    k1 = np.clip(rng.normal(0, 1, views) * options.k1, -2 * options.k1, 2 * options.k1)
    stamps = times[:, None] + phases + rng.normal(0, 0.001, (count, views))

    name, clip = random_motion(mocap, options.seconds, options.motion_fps, rng)
    if options.spot:
        clip = clip - clip[:, :1] * [1, 1, 0]
    body = random_body(clip, rng)
    start = 0.1
    read = Motion(body, options.motion_fps)
    moving = 0.0 if options.still else 1.0
    joints = read.at(start + moving * times)
    seen = np.stack(
        [read.at(start + moving * (stamps[:, v] + offsets[v])) for v in range(views)], axis=1
    )
    seen = seen + _definition_offsets(seen, rng)
    state = generator.get_state()
    keypoints = _observe(seen, rigs, k1, options, generator)
    if options.bump is not None:
        rigs = _bumped(rigs, options.bump, rng)
        generator.set_state(state)
        after = _observe(seen, rigs, k1, options, generator)
        keypoints = np.where(times[:, None, None, None] >= options.bump.at_s, after, keypoints)
    total = float(total_bone_length(joints).mean())
    cameras = tuple(
        TrueCamera(
            rotation=rigs.rotation[0, v].double().numpy(),
            position=rigs.position[0, v].double().numpy(),
            focal=float(rigs.focal[0, v]),
            k1=float(k1[v]),
            time_offset_s=float(offsets[v]),
            aspect=float(rigs.half_height[0, v]),
        )
        for v in range(views)
    )
    unit = total / BODY_UNIT_BONE_LENGTH
    return Take(name, times, stamps, keypoints, joints, cameras, unit)


def simulated_lifter(
    take: Take, seed: int, error_mm: float = 35.0, turn_deg: float = 4.0
) -> tuple[Floats, Floats]:
    """Answers as wrong as a trained lifter's: slow joint noise and a slowly changing turn.

    Args:
        take: the take.
        seed: of the noise.
        error_mm: mean joint error to aim at, without the turn.
        turn_deg: mean angle of the turn.

    Returns:
        (T, V, 17, 3) answers and (T, V, 17) their sigma, body units.
    """
    rng = np.random.default_rng([seed, 7])
    truth = take.true_lifted()
    count, views = truth.shape[:2]
    knots = max(4, int(np.ceil(take.times_s[-1] / 0.6)) + 2)
    along = np.linspace(0, knots - 1.001, count)
    low, part = along.astype(int), (along % 1)[:, None, None, None]

    def slow(shape: tuple[int, ...]) -> Floats:
        values = rng.normal(0, 1, (knots, *shape))
        return np.asarray((1 - part) * values[low] + part * values[low + 1])

    turn = slow((views, 1, 3))[:, :, 0] + rng.normal(0, 1, (views, 3))
    turn *= np.radians(turn_deg) / (1.6 * 1.3)
    sigma = error_mm * 1e-3 / take.body_unit_m / 1.6
    # Most of what a lifter gets wrong of a pose it gets wrong in all views alike.
    rotations = np.stack([c.rotation for c in take.cameras])
    shared = slow((1, 17, 3))[:, 0]
    alike = np.einsum("vij,tpj->tvpi", rotations, shared)
    noise = (0.9 * alike + 0.65 * slow((views, 17, 3))) * sigma
    noise += rng.normal(0, 0.2 * sigma, truth.shape)
    answer = np.einsum("tvij,tvpj->tvpi", exponential(turn), truth) + noise
    answer = answer - answer[:, :, :1]
    return answer, np.full(answer.shape[:3], 1.7 * sigma)


def _fanned(rigs: TorchRig, angle_deg: float, rng: np.random.Generator) -> TorchRig:
    """Turns each camera about the room's middle until all stand within an angle."""
    views = rigs.position.shape[1]
    wanted = rng.uniform(0, 2 * np.pi) + np.radians(angle_deg) * np.linspace(0, 1, views)
    rotation, position = rigs.rotation.clone(), rigs.position.clone()
    for v in range(views):
        now = float(torch.atan2(position[0, v, 1], position[0, v, 0]))
        turn = torch.from_numpy(about_z(wanted[v] - now)).float()
        position[0, v] = turn @ position[0, v]
        rotation[0, v] = rotation[0, v] @ turn.T
    return TorchRig(rotation, position, rigs.focal, rigs.half_height, rigs.half_width)


def _bumped(rigs: TorchRig, bump: Bump, rng: np.random.Generator) -> TorchRig:
    axis, way = rng.normal(size=3), rng.normal(size=3)
    turn = exponential(np.radians(bump.turn_deg) * axis / np.linalg.norm(axis))
    shift = bump.shift_m * way / np.linalg.norm(way)
    rotation, position = rigs.rotation.clone(), rigs.position.clone()
    rotation[0, bump.view] = torch.from_numpy(turn).float() @ rotation[0, bump.view]
    position[0, bump.view] += torch.from_numpy(shift).float()
    return TorchRig(rotation, position, rigs.focal, rigs.half_height, rigs.half_width)


def _definition_offsets(joints: Floats, rng: np.random.Generator) -> Floats:
    """Detectors mean other points of the body than mocap does: fixed to trunk and hips."""
    sigma = np.array([_DEFINITION_SIGMA_M.get(j, 0.007) for j in range(17)])[:, None]
    local = rng.normal(0, 1, (17, 3)) * sigma
    spine = joints[..., 8, :] - joints[..., 0, :]
    out = np.empty_like(joints)
    for (left, right), part in (((4, 1), slice(0, 8)), ((11, 14), slice(8, 17))):
        across = joints[..., left, :] - joints[..., right, :]
        across = across / np.linalg.norm(across, axis=-1, keepdims=True)
        front = np.cross(spine, across)
        front = front / np.linalg.norm(front, axis=-1, keepdims=True)
        axes = np.stack([across, front, np.cross(across, front)], -2)
        out[..., part, :] = np.einsum("ka,...ac->...kc", local[part], axes)
    return out


def _observe(
    seen: Floats, rigs: TorchRig, k1: Floats, options: TakeOptions, generator: torch.Generator
) -> Floats:
    world = torch.from_numpy(seen).float()[None]
    camera = rigs.to_camera(world)
    depth = camera[..., 2]
    xn = camera[..., :2] / camera[..., 2:].clamp(min=0.2)
    bend = 1 + torch.from_numpy(k1).float()[:, None] * xn.square().sum(-1)
    xy = xn * (bend * rigs.focal[:, None, :, None])[..., None]
    return np.asarray(observe(xy, depth, rigs, options.errors, generator)[0].double().numpy())


def with_view_lost(take: Take, view: int, frames: slice) -> Take:
    """The same take with one view seeing nothing for a while."""
    keypoints = take.keypoints.copy()
    keypoints[frames, view] = 0.0
    return replace(take, keypoints=keypoints)
