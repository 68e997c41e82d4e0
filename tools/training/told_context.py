"""What the image context would tell of joints if the pose network never erred.

The difference between this and what it did tell are its errors. They carry over to other poses of
the same window, and are lent to motion capture, as those of the joints themselves.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engines.networks.joint_context import (
    BONE,
    BONE_UNIT,
    DEPTH,
    NEIGHBOURS,
    TOWARDS,
    TOWARDS_UNIT,
)
from engines.skeleton import PARENTS

BODY_UNITS_PER_HEIGHT: Final = 1.81
"""Of the studio's people (standard deviation 0.03): the lifter's unit is bones, the context's
body heights."""

_FARTHEST: Final = 20.0
"""Tenths of the crop's height; beyond, as near the camera's own plane, nothing can be told."""

_LEAST_FOCAL: Final = 0.3


def told_truth(depth: Tensor, places: Tensor, found: Tensor, crop: Tensor, channels: int) -> Tensor:
    """What the context would tell.

    Args:
        depth: (..., 17) of joints behind the pelvis along the ray to it, in body heights.
        places: (..., 17, 2) where the joints truly are in the picture, half-widths.
        found: (..., 17, 2) where they were found.
        crop: (...) height of the crop, half-widths; where it is 0 nothing is told of neighbours.
        channels: of the whole context.

    Returns:
        (..., 17, ``channels``); 0 in the channels that are not about where things are.
    """
    told = depth.new_zeros(*depth.shape, channels)
    told[..., DEPTH], told[..., BONE] = depth, behind_parents(depth) / BONE_UNIT
    unit = (TOWARDS_UNIT * crop)[..., None, None]
    around = towards_neighbours(places, found) / unit.clamp(min=1e-6)
    told[..., TOWARDS] = torch.where(unit > 0, around, 0.0).clamp(-_FARTHEST, _FARTHEST)
    return told


def behind_parents(depth: Tensor) -> Tensor:
    """How far joints (..., 17) are behind their parents; 0 for the root."""
    parents = [max(parent, 0) for parent in PARENTS]
    return depth - depth[..., parents]


def towards_neighbours(places: Tensor, found: Tensor) -> Tensor:
    """From where joints were found (..., 17, 2) to where their neighbours are: (..., 17, 4)."""
    neighbours = torch.tensor(NEIGHBOURS, device=places.device)
    return (places[..., neighbours, :] - found[..., :, None, :]).flatten(-2)


def depth_along_ray(relative: Tensor, pelvis: Tensor, focal: Tensor) -> Tensor:
    """Depth of joints along the ray to the pelvis.

    Args:
        relative: (..., 17, 3) joints from the pelvis in the camera's axes.
        pelvis: (..., 2) where the camera sees it, half-widths from the picture's middle.
        focal: (...) in half-widths.

    Returns:
        (..., 17) in the unit of ``relative``.
    """
    across = pelvis / focal.clamp(min=_LEAST_FOCAL)[..., None]
    ray = functional.normalize(torch.cat((across, torch.ones_like(across[..., :1])), -1), dim=-1)
    return (relative * ray[..., None, :]).sum(-1)
