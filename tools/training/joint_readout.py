"""Teaches the light CPN what it tells of joints beside their places (``joint_context``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engines.front_ends.yolo_cpn.operations import FeatureLayout
from engines.front_ends.yolo_cpn.tensor_operations import sample_features
from engines.networks.joint_context import (
    BONE,
    BONE_DOUBT,
    BONE_UNIT,
    DEPTH,
    DOUBT,
    SEEN,
    TOWARDS,
    TOWARDS_DOUBT,
    TOWARDS_UNIT,
)
from tools.studio.shards import OUTSIDE, VISIBLE
from tools.training.told_context import behind_parents, towards_neighbours

_FARTHEST: Final = 15.0
"""Neighbours farther than so many tenths of the crop's height are beyond what can be told."""


@dataclass(frozen=True, slots=True)
class ReadoutConfig:
    """What errors of the context cost.

    Attributes:
        depth: Cost of a depth that is wrong by a body height.
        bone: Cost of a bone's depth that is wrong by a tenth of body height.
        doubt: Cost of a nat of surprise by the error of any of the three.
        seen: Cost of a nat of surprise by whether a joint is seen.
        towards: Cost of a neighbour that is wrong by a tenth of the crop's height.
        scatter: Standard deviation of where it is read, in hundredths of the crop's height: live,
            it is read where a joint was found, not where it is.
        far_share: Share of joints read much farther off, as where another peak was the highest.
        far: How many times farther.
        found_share: Share of joints, of those that are found, read where the network itself finds
            them instead: live, half of what hidden joints' depths are wrong by is told of places
            where they are not.
        found_heat: Least heat of a joint that is found.
    """

    depth: float = 4.0
    bone: float = 0.8
    doubt: float = 0.05
    seen: float = 0.1
    towards: float = 0.1
    scatter: float = 1.2
    far_share: float = 0.12
    far: float = 6.0
    found_share: float = 0.0
    found_heat: float = 0.2


def read_told(features: Tensor, places: Tensor, height: int) -> Tensor:
    """What the context tells of each joint.

    Args:
        features: (B, 17 · ``JOINT_CHANNELS``, h, w).
        places: (B, 17, 2) x, y in pixels of the crop.
        height: Of the crop in pixels.

    Returns:
        (B, 17, ``JOINT_CHANNELS``).
    """
    rows, columns = features.shape[2:]
    layout = FeatureLayout(height, columns * height // rows, by_joint=True)
    return sample_features(features.float(), places, layout)


def readout_loss(
    features: Tensor,
    joints: Tensor,
    depths: Tensor,
    visibility: Tensor,
    height: int,
    config: ReadoutConfig,
    heat: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of what a batch's context tells.

    Args:
        features: (B, 17 · ``JOINT_CHANNELS``, h, w).
        joints: (B, 17, 2) in pixels of the crop.
        depths: (B, 17) behind the pelvis along the ray to it, in body heights.
        visibility: (B, 17) as in ``tools.studio.shards``.
        height: Of the crop in pixels.
        config: What errors cost.
        heat: (B, 17, h', w') the network's final heatmaps, to tell where it finds joints; they
            learn nothing here.

    Returns:
        The loss; without gradient, the mean error of the depths of joints and of bones in body
        heights, and of the neighbours' places in hundredths of the crop's height.
    """
    sigma = torch.full(joints.shape[:2], config.scatter * 0.01 * height, device=joints.device)
    far = torch.rand_like(sigma) < config.far_share
    sigma = torch.where(far, config.far * sigma, sigma)
    places = joints + sigma[..., None] * torch.randn_like(joints)
    if heat is not None and config.found_share > 0:
        hottest, highest = hottest_places(heat.detach().float(), height)
        found = (highest > config.found_heat) & (torch.rand_like(sigma) < config.found_share)
        places = torch.where(found[..., None], hottest, places)
    told = read_told(features, places, height)
    inside = (visibility != OUTSIDE).float()
    count = inside.sum().clamp(min=1)

    off = (told[..., DEPTH] - depths).abs()
    bent = (told[..., BONE] - behind_parents(depths) / BONE_UNIT).abs()
    surprise = _surprise(off, told[..., DOUBT]) + _surprise(bent, told[..., BONE_DOUBT])
    seen = functional.binary_cross_entropy_with_logits(
        told[..., SEEN], (visibility == VISIBLE).float(), reduction="none"
    )
    around = towards_neighbours(joints, places) / (TOWARDS_UNIT * height)
    pairs = (*joints.shape[:2], -1, 2)
    known = inside[..., None] * (around.abs().reshape(pairs).amax(-1) < _FARTHEST)
    astray = known[..., None] * (told[..., TOWARDS] - around).reshape(pairs)
    doubted = known * _surprise(astray.norm(dim=-1), told[..., TOWARDS_DOUBT])
    each = config.depth * off + config.bone * bent + config.doubt * surprise + config.seen * seen
    loss = (inside * each).sum() / count
    towards = astray.abs().sum() / (2 * known.sum()).clamp(min=1)
    loss = loss + 4 * config.towards * towards + 2 * config.doubt * doubted.sum() / count
    return loss, {
        "depth": ((inside * off).sum() / count).detach(),
        "bone": BONE_UNIT * ((inside * bent).sum() / count).detach(),
        "towards": 10 * towards.detach(),
    }


def hottest_places(heat: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Where heatmaps are highest, to a cell, and how high.

    Args:
        heat: (B, 17, h, w).
        height: Of the crop in pixels.

    Returns:
        (B, 17, 2) x, y in pixels of the crop, and (B, 17).
    """
    rows, columns = heat.shape[2:]
    highest, cell = heat.flatten(2).max(2)
    cells = torch.stack((cell % columns, cell // columns), -1)
    return (cells + 0.5) * (height / rows), highest


def _surprise(off: Tensor, doubt: Tensor) -> Tensor:
    """Nats of surprise by an error, by a Laplace distribution; the error itself learns nothing."""
    return off.detach() * (-doubt).exp() + doubt
