"""Random camera rigs around a person, in batched torch.

The ranges are those of the rigs that the live application meets: a few webcams in a room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RigRanges:
    """What rigs look like.

    Attributes:
        distance_m: Horizontal distance of a camera from the middle of the room.
        height_m: Height of a camera.
        roll_deg: Standard deviation of the roll.
        field_of_view_deg: Horizontal field of view.
        aim_m: Standard deviation of the point aimed at, sideways.
        spread_share: Share of rigs whose cameras stand around the person rather than anywhere.
        portrait_share: Share of cameras turned upright; the rest are 4:3 or 16:9.
        fit_person: Move cameras back until most of a person fits into the picture.
        framed: Whether pictures have a border at all.
    """

    distance_m: tuple[float, float] = (2.0, 6.0)
    height_m: tuple[float, float] = (0.4, 2.8)
    roll_deg: float = 3.5
    field_of_view_deg: tuple[float, float] = (45.0, 85.0)
    aim_m: float = 0.25
    spread_share: float = 0.5
    portrait_share: float = 0.15
    fit_person: bool = True
    framed: bool = True


SKETCH_RIGS = RigRanges(distance_m=(2.2, 6.0), fit_person=False, framed=False)
"""The rigs of the feasibility sketch, whose figures are the ones to compare with."""


@dataclass(frozen=True, slots=True)
class Rig:
    """Cameras of a batch of rigs; world z up, metres; camera x right, y down, z forward.

    Attributes:
        rotation: (B, V, 3, 3) world to camera.
        position: (B, V, 3) of the cameras in the world.
        focal: (B, V) in half-widths of the picture.
        half_height: (B, V) half the picture's height in half-widths; infinite without a border.
        half_width: (B, V) 1, or infinite without a border.
    """

    rotation: Tensor
    position: Tensor
    focal: Tensor
    half_height: Tensor
    half_width: Tensor

    def to(self, device: torch.device) -> Rig:
        """The same rigs on another device."""
        return Rig(
            self.rotation.to(device),
            self.position.to(device),
            self.focal.to(device),
            self.half_height.to(device),
            self.half_width.to(device),
        )

    def to_camera(self, points: Tensor) -> Tensor:
        """(B, F, V, 17, 3) or (B, F, 1, 17, 3) world points to camera axes: (B, F, V, 17, 3)."""
        moved = points - self.position[:, None, :, None]
        return torch.einsum("bvij,bfvkj->bfvki", self.rotation, moved)

    def project(self, camera_points: Tensor) -> Tensor:
        """(B, F, V, 17, 3) points in camera axes to half-widths, (B, F, V, 17, 2)."""
        depth = camera_points[..., 2:].clamp(min=0.2)
        return camera_points[..., :2] / depth * self.focal[:, None, :, None, None]


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform random numbers on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def normal(shape: tuple[int, ...], sigma: float, generator: torch.Generator) -> Tensor:
    """Gaussian random numbers on the generator's device."""
    return sigma * torch.randn(shape, generator=generator, device=generator.device)


def random_rigs(batch: int, views: int, ranges: RigRanges, generator: torch.Generator) -> Rig:
    """Draws rigs that look at a person near the origin.

    Args:
        batch: Rigs.
        views: Cameras of each.
        ranges: What they look like.
        generator: Source of chance; its device is where everything is made.

    Returns:
        The rigs.
    """
    device = generator.device
    shape = (batch, views)
    anywhere = uniform(shape, 0.0, 2 * math.pi, generator)
    around = (
        uniform((batch, 1), 0.0, 2 * math.pi, generator)
        + torch.arange(views, device=device) * (2 * math.pi / views)
        + normal(shape, 0.25, generator)
    )
    spread = uniform((batch, 1), 0.0, 1.0, generator) < ranges.spread_share
    azimuth = torch.where(spread, around, anywhere)
    azimuth = azimuth.gather(1, uniform(shape, 0.0, 1.0, generator).argsort(1))
    height = uniform(shape, *ranges.height_m, generator)
    distance = uniform(shape, *ranges.distance_m, generator)
    tangent = torch.tan(torch.deg2rad(uniform(shape, *ranges.field_of_view_deg, generator)) / 2)
    half_height = torch.full(shape, torch.inf, device=device)
    half_width = torch.full(shape, torch.inf, device=device)
    if ranges.framed:
        wide = torch.where(uniform(shape, 0.0, 1.0, generator) < 0.5, 0.75, 0.5625)
        upright = uniform(shape, 0.0, 1.0, generator) < ranges.portrait_share
        # Turning a camera upright keeps the field of view of its long side.
        half_height = torch.where(upright, 16.0 / 9.0, wide)
        tangent = torch.where(upright, tangent * 9.0 / 16.0, tangent)
        half_width = torch.ones(shape, device=device)
    if ranges.fit_person:
        need = 0.95 / (tangent * half_height.clamp(max=1.0)) * uniform(shape, 0.7, 1.3, generator)
        distance = torch.maximum(distance, need.clamp(max=7.0))
    position = torch.stack([distance * azimuth.cos(), distance * azimuth.sin(), height], dim=-1)
    aim = torch.cat(
        [
            normal((*shape, 2), ranges.aim_m, generator),
            0.95 + normal((*shape, 1), 0.2, generator),
        ],
        dim=-1,
    )
    forward = torch.nn.functional.normalize(aim - position, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], device=device).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    roll = torch.deg2rad(normal((*shape, 1), ranges.roll_deg, generator))
    x_axis = roll.cos() * right + roll.sin() * down
    y_axis = roll.cos() * down - roll.sin() * right
    return Rig(
        rotation=torch.stack([x_axis, y_axis, forward], dim=-2),
        position=position,
        focal=1.0 / tangent,
        half_height=half_height,
        half_width=half_width,
    )
