"""Training and test data of the lifter: mocap windows seen by random rigs, in batched torch.

Everything is made on the device of the random generator, so the same code serves a CPU and a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from engines.skeleton import MIRROR, PARENTS
from tools.training.bodies import VARIED_BODIES, BodyRanges, body_offsets, vary_bodies
from tools.training.keypoint_errors import SKETCH_ERRORS, KeypointErrors, observe
from tools.training.lifter_weights import Network
from tools.training.mocap import Mocap, units_of
from tools.training.rigs import SKETCH_RIGS, Rig, RigRanges, normal, random_rigs, uniform

_DEFINITION_SIGMA_M: Final = tuple(
    {0: 0.010, 7: 0.015, 8: 0.014, 9: 0.018, 10: 0.020}.get(joint, 0.007)
    for joint in range(len(PARENTS))
)
"""Per axis: how far a detector's idea of a joint lies from the mocap's."""


@dataclass(frozen=True, slots=True)
class SceneRanges:
    """What is random about the person, the rig and the detector.

    Attributes:
        rigs: The cameras.
        errors: The 2D error model.
        speed: Range of the time scale of the motion.
        mirror: Whether half the windows are mirrored.
        bodies: How bodies and poses differ from the captured ones.
        even_people: Whether people of whom there is much are drawn less often than that.
        stature: Range of the body's size.
        room_m: Standard deviation of the person's place in the room.
        time_offset_s: Most that a view's clock is off.
        definition_offsets: Scale of the offsets between a detector's joints and the mocap's.
    """

    rigs: RigRanges = field(default_factory=RigRanges)
    errors: KeypointErrors = field(default_factory=KeypointErrors)
    speed: tuple[float, float] = (0.7, 1.4)
    mirror: bool = True
    bodies: BodyRanges = field(default_factory=BodyRanges)
    even_people: bool = False
    stature: tuple[float, float] = (0.85, 1.15)
    room_m: float = 0.35
    time_offset_s: float = 0.015
    definition_offsets: float = 1.0


TRAIN_SCENES: Final = SceneRanges(
    bodies=VARIED_BODIES,
    even_people=True,
    errors=KeypointErrors(derived_share=0.5, slow_rate_share=0.4),
)
"""Everything that training mixes."""

SKETCH_SCENES: Final = SceneRanges(
    rigs=SKETCH_RIGS,
    errors=SKETCH_ERRORS,
    speed=(1.0, 1.0),
    mirror=False,
    bodies=BodyRanges(bone_sigma=0.0),
    stature=(0.9 * 1.08, 1.1 * 1.08),
    room_m=0.0,
    time_offset_s=0.0,
    definition_offsets=0.0,
)
"""The feasibility sketch's test. Its bodies are 4.2 m of bone, 1.08 times those of the mocap."""

FULL_SCENES: Final = SceneRanges(speed=(1.0, 1.0))
"""Every error of the error model, at the cameras' full rate."""

LIVE_SCENES: Final = replace(
    FULL_SCENES, errors=KeypointErrors(derived_share=1.0, slow_rate_share=1.0)
)
"""The same as the live application sees it on a CPU: slow sets, trunk joints derived."""


@dataclass(frozen=True, slots=True)
class SeenJoints:
    """True joints as cameras see them, before anything goes wrong.

    Attributes:
        xy: (B, F, V, 17, 2) in half-widths.
        depth: (B, F, V, 17) metres.
        target: (B, F, V, 17, 3) root-relative, in camera axes, body units.
        rig: The true cameras.
    """

    xy: Tensor
    depth: Tensor
    target: Tensor
    rig: Rig


@dataclass(frozen=True, slots=True)
class FoundJoints:
    """What was found of people whom cameras see.

    Attributes:
        keypoints: (B, F, V, 17, 3) x, y in half-widths, confidence (0 is missing; x, y are then 0).
        context: (B, F, V, 17, C) image context, or None.
        context_mask: (B, F, V) where there is context; None without.
    """

    keypoints: Tensor
    context: Tensor | None = None
    context_mask: Tensor | None = None


Observer = Callable[[SeenJoints, torch.Generator], FoundJoints]
"""What finds joints in what cameras see."""


@dataclass(frozen=True, slots=True)
class LifterBatch:
    """Windows, what the cameras saw of them, and the truth.

    Attributes:
        found: What was found of them.
        view_mask: (B, V) 1 where the view exists.
        target: (B, F, V, 17, 3) root-relative, in camera axes, body units.
        world: (B, F, 17, 3) true joints in the world, metres.
        unit: (B,) body units per metre.
        rig: The true cameras.
    """

    found: FoundJoints
    view_mask: Tensor
    target: Tensor
    world: Tensor
    unit: Tensor
    rig: Rig

    @property
    def keypoints(self) -> Tensor:
        """(B, F, V, 17, 3) x, y in half-widths, confidence."""
        return self.found.keypoints

    def to(self, device: torch.device) -> LifterBatch:
        """The same batch on another device."""
        found = self.found
        return LifterBatch(
            FoundJoints(
                found.keypoints.to(device),
                None if found.context is None else found.context.to(device),
                None if found.context_mask is None else found.context_mask.to(device),
            ),
            self.view_mask.to(device),
            self.target.to(device),
            self.world.to(device),
            self.unit.to(device),
            self.rig.to(device),
        )


class WindowSource:
    """Draws windows of mocap and shows them to random rigs."""

    def __init__(
        self, mocap: Mocap, frames: int, scenes: SceneRanges, device: torch.device
    ) -> None:
        self.frames, self.scenes, self.device = frames, scenes, device
        # One frame more at either end, for views whose clock is off.
        self.margin = 1
        span = math.ceil((frames - 1) * scenes.speed[1]) + 2 * self.margin + 2
        self.joints = mocap.joints.to(device)
        self.starts = mocap.window_starts(span).to(device)
        self.weights = mocap.window_weights(span).to(device) if scenes.even_people else None
        self.span = span

    def draw(
        self,
        batch: int,
        views: int,
        generator: torch.Generator,
        observer: Observer | None = None,
    ) -> LifterBatch:
        """Makes one batch.

        Args:
            batch: Windows.
            views: Cameras of each.
            generator: Source of chance, on the source's device.
            observer: What finds the joints; None takes the scenes' error model.

        Returns:
            The batch.
        """
        scenes = self.scenes
        times, offsets = self._times(batch, views, generator)
        world, seen_world = self._motion(times, offsets, generator)
        unit = units_of(world)
        rig = random_rigs(batch, views, scenes.rigs, generator)
        camera = rig.to_camera(world[:, :, None])
        target = (camera - camera[..., :1, :]) * unit[:, None, None, None, None]
        seen_camera = rig.to_camera(seen_world)
        seen = SeenJoints(rig.project(seen_camera), seen_camera[..., 2], target, rig)
        found = (observer or self._observe)(seen, generator)
        mask = torch.ones(batch, views, device=self.device)
        return LifterBatch(found, mask, target, world, unit, rig)

    def _observe(self, seen: SeenJoints, generator: torch.Generator) -> FoundJoints:
        return FoundJoints(observe(seen.xy, seen.depth, seen.rig, self.scenes.errors, generator))

    def _times(self, batch: int, views: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows of the mocap, with fractions: (B, F) true ones and (B, F, V) each view's."""
        scenes = self.scenes
        if self.weights is None:
            count = len(self.starts)
            pick = torch.randint(0, count, (batch,), generator=generator, device=self.device)
        else:
            pick = torch.multinomial(self.weights, batch, replacement=True, generator=generator)
        start = self.starts[pick].to(torch.float64) + self.margin
        speed = uniform((batch, 1), *scenes.speed, generator)
        frames = torch.arange(self.frames, device=self.device)
        local = frames * speed
        late = scenes.time_offset_s * 30.0
        offset = uniform((batch, 1, views), -late, late, generator) * speed[..., None]
        return start[:, None] + local, (start[:, None] + local)[..., None] + offset

    def _sample(self, rows: Tensor) -> Tensor:
        """Joints at fractional rows (...): (..., 17, 3)."""
        low = rows.floor()
        index = low.long()
        weight = (rows - low).to(self.joints.dtype)[..., None, None]
        return torch.lerp(self.joints[index], self.joints[index + 1], weight)

    def _motion(
        self, times: Tensor, view_times: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """True joints, (B, F, 17, 3), and each view's idea of them, (B, F, V, 17, 3)."""
        scenes = self.scenes
        batch = times.shape[0]
        true = self._sample(times)[:, :, None]
        moving = scenes.time_offset_s > 0
        both = torch.cat([true, self._sample(view_times)], 2) if moving else true
        if scenes.mirror:
            mirrored = both[..., list(MIRROR), :] * torch.tensor(
                [-1.0, 1.0, 1.0], device=self.device
            )
            flip = uniform((batch, 1, 1, 1, 1), 0.0, 1.0, generator) < 0.5
            both = torch.where(flip, mirrored, both)
        # Put the person near the middle of the room, facing anywhere.
        middle = both[:, self.frames // 2, 0, 0, :2].clone()
        both = torch.cat([both[..., :2] - middle[:, None, None, None], both[..., 2:]], -1)
        turn = uniform((batch,), 0.0, 2 * math.pi, generator)
        cos, sin = turn.cos()[:, None, None, None], turn.sin()[:, None, None, None]
        both = torch.stack(
            [
                cos * both[..., 0] - sin * both[..., 1],
                sin * both[..., 0] + cos * both[..., 1],
                both[..., 2],
            ],
            -1,
        )
        both = vary_bodies(both, scenes.bodies, generator)
        size = uniform((batch, 1, 1, 1, 1), *scenes.stature, generator)
        place = normal((batch, 1, 1, 1, 2), scenes.room_m, generator)
        both = both * size
        both = torch.cat([both[..., :2] + place, both[..., 2:]], -1)
        world = both[:, :, 0]
        seen = both[:, :, 1:] if moving else both.expand(-1, -1, view_times.shape[2], -1, -1)
        if scenes.definition_offsets > 0:
            seen = seen + self._definition_offsets(seen, generator)
        return world, seen

    def _definition_offsets(self, joints: Tensor, generator: torch.Generator) -> Tensor:
        """Offsets fixed to the body for a window: (B, F, V, 17, 3) in the world."""
        batch = joints.shape[0]
        sigma = torch.tensor(_DEFINITION_SIGMA_M, device=self.device)[:, None]
        local = normal((batch, len(PARENTS), 3), 1.0, generator) * sigma
        local = local * self.scenes.definition_offsets
        return body_offsets(joints, local)


def draw_fixed(
    mocap: Mocap,
    frames: int,
    scenes: SceneRanges,
    windows: int,
    views: int,
    seed: int,
    device: torch.device,
) -> LifterBatch:
    """The same windows, rigs and errors every time, drawn on the CPU whatever the device."""
    source = WindowSource(mocap, frames, scenes, torch.device("cpu"))
    batch = source.draw(windows, views, torch.Generator().manual_seed(seed))
    return batch.to(device)


def predict(network: Network, batch: LifterBatch, chunk: int = 32) -> tuple[Tensor, Tensor]:
    """Runs a network over a batch in pieces: joints and log sigma."""
    pairs = [
        network(batch.keypoints[k : k + chunk], batch.view_mask[k : k + chunk])
        for k in range(0, len(batch.keypoints), chunk)
    ]
    return torch.cat([joints for joints, _ in pairs]), torch.cat([sigma for _, sigma in pairs])
