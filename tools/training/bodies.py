"""Other people's bodies and poses out of the few that were captured, in batched torch.

The mocap knows two skeletons, one with shoulders far narrower than most people's and one with
wider ones; a lifter trained on them alone answers with one of the two whatever it is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engines.skeleton import PARENTS
from tools.training.rigs import normal, uniform

_SIDES_ALIKE: Final = (0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 8, 9, 10)
"""Bones (by child joint) that share a random length: the two sides are alike."""

_BONE_GROUPS: Final = 11
_HIPS, _THIGH, _SHIN, _SHOULDERS, _UPPER_ARM, _FOREARM = 1, 2, 3, 8, 9, 10
_TRUNK: Final = (4, 5)
_HEAD: Final = (6, 7)

_STRUCTURE_SIGMA_M: Final = {1: 0.005, 7: 0.015, 8: 0.012, 9: 0.015, 10: 0.02, 14: 0.015}
"""Per axis and scaled: how far joints lie from where the captured skeletons have them."""

_TURNED: Final = (
    (),
    (),
    (5,),
    (5, 6),
    (),
    (3,),
    (3, 4),
    (1,),
    (1,),
    (1, 2),
    (1, 2),
    (1,),
    (1, 7),
    (1, 7, 8),
    (1,),
    (1, 9),
    (1, 9, 10),
)
"""For each bone (by child joint) the turns that it follows, outermost first; 0 turns them all."""
_TURNS: Final = 11


@dataclass(frozen=True, slots=True)
class BodyRanges:
    """How bodies and poses differ from the captured ones.

    Attributes:
        bone_sigma: Relative standard deviation of bone lengths.
        shoulder_m: Range of the length from thorax to shoulder, of a body with 4.2 m of bones;
            None leaves it.
        hip_m: The same from pelvis to hip.
        trunk: Range of the scale of the trunk.
        structure: Scale of the shifts of spine, thorax, neck, head, hips and shoulders.
        turn_share: Share of windows whose limbs and trunk are turned away from the captured pose.
        turn_deg: Standard deviation of those turns.
        turn_sizes: Range of a factor on it, drawn for each window: some poses change a little,
            others beyond what people usually do.
        tilt_share: Share of windows in which the whole body leans or lies.
        tilt_deg: Standard deviation of that lean.
    """

    bone_sigma: float = 0.05
    shoulder_m: tuple[float, float] | None = None
    hip_m: tuple[float, float] | None = None
    trunk: tuple[float, float] = (1.0, 1.0)
    structure: float = 0.0
    turn_share: float = 0.0
    turn_deg: float = 14.0
    turn_sizes: tuple[float, float] = (1.0, 1.0)
    tilt_share: float = 0.0
    tilt_deg: float = 35.0


VARIED_BODIES: Final = BodyRanges(
    bone_sigma=0.08,
    shoulder_m=(0.11, 0.24),
    hip_m=(0.07, 0.12),
    trunk=(0.82, 1.12),
    structure=1.0,
    turn_share=0.5,
    turn_sizes=(0.0, 2.0),
    tilt_share=0.1,
)
"""What training draws from."""


def vary_bodies(joints: Tensor, ranges: BodyRanges, generator: torch.Generator) -> Tensor:
    """Gives each window a body of its own, the same throughout, and perhaps another pose.

    Args:
        joints: (B, F, N, 17, 3) in the world, metres, z up; N views of the same body.
        ranges: How much may change.
        generator: Source of chance.

    Returns:
        (B, F, N, 17, 3), with the pelvis where it was.
    """
    parents = torch.tensor([max(parent, 0) for parent in PARENTS], device=joints.device)
    bones = joints - joints[..., parents, :]
    bones = bones * _bone_scales(bones, ranges, generator)[:, None, None, :, None]
    if ranges.turn_share > 0 or ranges.tilt_share > 0:
        turns = _turns(len(joints), ranges, generator)
        bones = torch.einsum("bkij,bfnkj->bfnki", turns, bones)
    placed = [joints[..., 0, :]]
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            placed.append(placed[parent] + bones[..., joint, :])
    changed = torch.stack(placed, dim=-2)
    if ranges.structure > 0:
        changed = changed + body_offsets(changed, _structure(len(joints), ranges, generator))
    return changed


def body_offsets(joints: Tensor, local: Tensor) -> Tensor:
    """Turns offsets fixed to the body into the world.

    Args:
        joints: (B, F, N, 17, 3) in the world.
        local: (B, 17, 3) toward the body's left, front and up: that of the hips for joints 0 to 7,
            of the shoulders for the others.

    Returns:
        (B, F, N, 17, 3) offsets in the world.
    """
    spine = joints[..., 8, :] - joints[..., 0, :]
    axes = []
    for left, right in ((4, 1), (11, 14)):
        across = functional.normalize(joints[..., left, :] - joints[..., right, :], dim=-1)
        front = functional.normalize(torch.linalg.cross(spine, across), dim=-1)
        axes.append(torch.stack([across, front, torch.linalg.cross(across, front)], dim=-2))
    lower = torch.einsum("bka,bfnac->bfnkc", local[:, :8], axes[0])
    upper = torch.einsum("bka,bfnac->bfnkc", local[:, 8:], axes[1])
    return torch.cat([lower, upper], dim=-2)


def _bone_scales(bones: Tensor, ranges: BodyRanges, generator: torch.Generator) -> Tensor:
    """(B, 17) factors of bone lengths, by child joint."""
    batch, sigma = len(bones), ranges.bone_sigma
    factors = (normal((batch, _BONE_GROUPS), 1.0, generator).clamp(-2, 2) * sigma).exp()
    # Legs and arms also differ as a whole.
    whole = normal((batch, 2), 0.5 * sigma, generator).exp()
    factors[:, [_THIGH, _SHIN]] *= whole[:, :1]
    factors[:, [_UPPER_ARM, _FOREARM]] *= whole[:, 1:]
    factors[:, list(_HEAD)] **= 1.5
    if ranges.trunk[0] < ranges.trunk[1]:
        factors[:, list(_TRUNK)] *= uniform((batch, 1), *ranges.trunk, generator)
    lengths = bones[:, 0, 0].norm(dim=-1)
    for group, span, pair in (
        (_SHOULDERS, ranges.shoulder_m, (11, 14)),
        (_HIPS, ranges.hip_m, (1, 4)),
    ):
        if span is not None:
            wanted = uniform((batch,), *span, generator) * lengths.sum(1) / 4.2
            factors[:, group] = wanted / lengths[:, list(pair)].mean(1).clamp(min=0.01)
    return factors[:, list(_SIDES_ALIKE)]


def _turns(batch: int, ranges: BodyRanges, generator: torch.Generator) -> Tensor:
    """(B, 17, 3, 3) rotations of bones, by child joint."""
    vectors = normal((batch, _TURNS, 3), math.radians(ranges.turn_deg), generator)
    turned = uniform((batch, 1, 1), 0.0, 1.0, generator) < ranges.turn_share
    vectors = vectors * turned
    if ranges.turn_sizes[0] < ranges.turn_sizes[1]:
        vectors = vectors * uniform((batch, 1, 1), *ranges.turn_sizes, generator)
    lean = normal((batch, 3), math.radians(ranges.tilt_deg), generator)
    leans = uniform((batch, 1), 0.0, 1.0, generator) < ranges.tilt_share
    vectors[:, 0] = lean * leans
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(batch, _TURNS, 3, 3)
    rotations = torch.linalg.matrix_exp(skew)
    chains = []
    for chain in _TURNED:
        total = rotations[:, 0]
        for turn in chain:
            total = total @ rotations[:, turn]
        chains.append(total)
    return torch.stack(chains, dim=1)


def _structure(batch: int, ranges: BodyRanges, generator: torch.Generator) -> Tensor:
    """(B, 17, 3) shifts toward the body's left, front and up, the two sides mirrored."""
    sigma = torch.zeros(len(PARENTS), device=generator.device)
    for joint, value in _STRUCTURE_SIGMA_M.items():
        sigma[joint] = value * ranges.structure
    local = normal((batch, len(PARENTS), 3), 1.0, generator) * sigma[:, None]
    mirror = torch.tensor([-1.0, 1.0, 1.0], device=generator.device)
    local[:, 4], local[:, 11] = local[:, 1] * mirror, local[:, 14] * mirror
    middle = [7, 8, 9, 10]
    local[:, middle, 0] *= 0.3  # bodies are nearly symmetric
    return local
