"""CPN's loss: heat on every level of the pyramid, and more for the joints that are hard.

Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018, section 3.3.
Squared heat alone learns slowly from few pictures, for nearly every cell is cold. So each heatmap
is also read as a distribution over places, whose divergence from that of the target is added; both
are least for the same heatmap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engines.skeleton import MIRROR
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE


@dataclass(frozen=True, slots=True)
class HeatConfig:
    """What heatmaps are to look like, and what each error costs.

    Attributes:
        sigma: Of a joint's Gaussian on the finest level, in cells.
        coarse_sigma: Least of it on the coarser levels, in their cells.
        hidden_peak: Heat of a hidden joint; that of a visible one is 1.
        hidden_weight: Cost of a hidden joint's squared error; that of a visible one is 1.
        hidden_place_weight: Cost of a hidden joint's divergence; that of a visible one is 1.
        hard: So many joints of a crop, those with the largest errors, count again.
        hard_hidden: Whether hidden joints are among these.
        hard_weight: How much they count again.
        coarse_weight: Cost of the coarse levels' heatmaps; that of the final ones is 1.
        place_weight: Cost of a heatmap's divergence from the target as a distribution.
        sharpness: Logarithm of how much likelier than a cold cell a joint's own cell is in it.
        side_weight: Cost of a visible joint's heat at its partner's place of the other side.
        side_apart: Such partners are further apart than this share of the crop's height.
    """

    sigma: float = 2.0
    coarse_sigma: float = 0.8
    hidden_peak: float = 0.5
    hidden_weight: float = 1.5
    hidden_place_weight: float = 1.0
    hard: int = 8
    hard_hidden: bool = True
    hard_weight: float = 0.5
    coarse_weight: float = 0.5
    place_weight: float = 0.15
    sharpness: float = 10.0
    side_weight: float = 0.0
    side_apart: float = 0.06


def heat_targets(
    joints: Tensor, peaks: Tensor, rows: int, columns: int, stride: float, sigma: float
) -> Tensor:
    """Gaussian heatmaps.

    Args:
        joints: (B, 17, 2) x, y in pixels of the crop.
        peaks: (B, 17) heat at the joint.
        rows: Of the heatmaps.
        columns: Of the heatmaps.
        stride: Pixels of a cell; cell i's centre is at (i + 0.5) · stride.
        sigma: In cells.

    Returns:
        (B, 17, rows, columns).
    """
    place = joints / stride - 0.5
    x = torch.arange(columns, device=joints.device) - place[..., 0:1]
    y = torch.arange(rows, device=joints.device) - place[..., 1:2]
    across = torch.exp(x.square() * (-0.5 / sigma**2))
    down = torch.exp(y.square() * (-0.5 / sigma**2)) * peaks[..., None]
    return down[..., :, None] * across[..., None, :]


def heat_loss(
    coarse: list[Tensor],
    final: Tensor,
    joints: Tensor,
    visibility: Tensor,
    height: int,
    config: HeatConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch.

    Each heatmap's squared error is divided by the energy of a full Gaussian, so that 1 stands for
    a visible joint that is not found at all, whatever the level's size; divergences are in nats.

    Args:
        coarse: (B, 17, h, w) heatmaps of each level.
        final: (B, 17, h, w) heatmaps.
        joints: (B, 17, 2) in pixels of the crop.
        visibility: (B, 17).
        height: Of the crop in pixels.
        config: Shapes and costs.

    Returns:
        The loss, and its parts for the log.
    """
    hidden = visibility == HIDDEN
    peaks = torch.where(hidden, config.hidden_peak, 1.0)
    peaks = peaks.masked_fill(visibility == OUTSIDE, 0.0)
    weights = torch.where(hidden, config.hidden_weight, 1.0)
    told = (visibility != OUTSIDE).float() * torch.where(hidden, config.hidden_place_weight, 1.0)
    # A hidden joint's heat is lower, its place as definite.
    scale = config.sharpness / peaks.clamp(min=config.hidden_peak)
    finest = height / final.shape[2]

    def errors(heat: Tensor, least_sigma: float) -> Tensor:
        rows, columns = heat.shape[2:]
        stride = height / rows
        sigma = max(config.sigma * finest / stride, least_sigma)
        target = heat_targets(joints, peaks, rows, columns, stride, sigma)
        squared = (heat.float() - target).square().sum((2, 3)) / (math.pi * sigma**2)
        divergence = _divergence(heat.float(), target, scale)
        return weights * squared + config.place_weight * told * divergence

    refined = errors(final, config.sigma)
    eligible = refined if config.hard_hidden else refined.masked_fill(hidden, 0.0)
    hard = eligible.topk(min(config.hard, refined.shape[1]), dim=1).values.mean()
    levels = torch.stack([errors(heat, config.coarse_sigma).mean() for heat in coarse])
    mean = refined.mean()
    loss = mean + config.hard_weight * hard + config.coarse_weight * levels.mean()
    if config.side_weight > 0:
        loss = loss + config.side_weight * sides_taken(
            final.float(), joints, visibility, height, config
        )
    return loss, {"loss": loss.detach(), "final": mean.detach(), "coarse": levels.detach().mean()}


def _divergence(heat: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Kullback-Leibler divergence (B, 17) of heatmaps as distributions over cells."""
    found, wanted = (
        functional.log_softmax((scale[..., None, None] * maps).flatten(2), 2)
        for maps in (heat, target)
    )
    return (wanted.exp() * (wanted - found)).sum(2)


def sides_taken(
    heat: Tensor, joints: Tensor, visibility: Tensor, height: int, config: HeatConfig
) -> Tensor:
    """How much visible joints of one side look like their partners of the other.

    Of the joints that are found in the wrong place more than a third are in their partner's, mostly
    with the partner there, too. These are two cells of thousands, which the other errors hardly
    notice, so they alone are compared: cross-entropy of the joint's heat at both, sharpened as in
    the divergence.

    Args:
        heat: (B, 17, h, w) heatmaps.
        joints: (B, 17, 2) in pixels of the crop.
        visibility: (B, 17).
        height: Of the crop in pixels.
        config: How far apart partners must be, and how sharp.

    Returns:
        Nats, summed over the visible joints of two distinct sides, by all joints.
    """
    rows, columns = heat.shape[2:]
    stride = height / rows
    cells = (joints / stride - 0.5).round().long()
    within = ((cells >= 0) & (cells < cells.new_tensor([columns, rows]))).all(-1)
    x, y = cells[..., 0].clamp(0, columns - 1), cells[..., 1].clamp(0, rows - 1)
    place = y * columns + x
    partner = torch.tensor(MIRROR, device=joints.device)
    apart = torch.linalg.vector_norm(joints - joints[:, partner], dim=-1)
    counts = within & within[:, partner] & (apart > config.side_apart * height)
    counts = counts & (visibility == VISIBLE)
    both = torch.stack([place, place[:, partner]], dim=-1)
    own, other = heat.flatten(2).gather(2, both).unbind(-1)
    nats = functional.softplus(config.sharpness * (other - own))
    taken: Tensor = (nats * counts).sum() / counts.numel()
    return taken
