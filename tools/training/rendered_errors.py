"""What goes wrong around a 2D front end that rendered sequences do not show by themselves.

Their joints already err as the pose network errs. Here sets come slowly, pictures and joints go
missing, and the joints err a little more than on the people that the pose network was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS, RIVALS
from engines.networks.joint_context import TOWARDS
from engines.skeleton import JOINT_COUNT, MIRROR
from tools.training.keypoint_errors import (
    box_size,
    burst,
    chance,
    set_steps,
    slow_noise,
    swap_sides,
)
from tools.training.rendered_windows import RenderedBatch
from tools.training.rigs import normal, uniform
from tools.training.window_reading import Pictures


@dataclass(frozen=True, slots=True)
class RenderedErrors:
    """Shares are probabilities; lengths are in units of the person's box.

    Attributes:
        sigma: Range of the Gaussian error that a view's joints have on top of the network's own.
        slow_share: Share of windows with a half to a quarter of the sets.
        missing_pictures: Share of pictures that never come.
        absent_share: Share of views that are absent for a part of the window.
        hidden_views: Share of views in which joints go missing for a while.
        hidden_joints: Most of the joints that go missing there.
        swap_share: Share of views with a burst of left/right swaps.
        doubt: Range of a factor on a view's confidences.
    """

    sigma: tuple[float, float] = (0.0, 0.008)
    slow_share: float = 0.5
    missing_pictures: float = 0.03
    absent_share: float = 0.06
    hidden_views: float = 0.3
    hidden_joints: float = 0.4
    swap_share: float = 0.04
    doubt: tuple[float, float] = (0.8, 1.1)


def disturb(pictures: Pictures, errors: RenderedErrors, generator: torch.Generator) -> Pictures:
    """Adds errors to what the pictures of windows gave.

    Args:
        pictures: As found.
        errors: What goes wrong, and how much.
        generator: Source of chance, on the pictures' device.

    Returns:
        The same windows, worse.
    """
    seen, confidence = pictures.keypoints[..., :2], pictures.keypoints[..., 2]
    batch, count, views = pictures.kept.shape
    sigma = uniform((batch, 1, views, 1, 1), *errors.sigma, generator)
    noise = normal(tuple(seen.shape), 1.0, generator) + slow_noise(tuple(seen.shape), generator)
    seen = seen + noise * (0.5**0.5) * sigma * box_size(seen)
    doubt = uniform((batch, 1, views, 1), *errors.doubt, generator)
    confidence = (confidence * doubt).clamp(max=1.0)
    context = pictures.context
    if errors.swap_share > 0:
        seen, confidence, swapped = swap_sides(seen, confidence, errors.swap_share, generator)
        # What is to be seen at a place stays there, whichever joint it is taken for.
        context = torch.where(swapped[..., None], context[..., list(MIRROR), :], context)
    keypoints = torch.cat([seen, confidence[..., None]], -1)

    away = burst((batch, views), count, 3, count - 3, generator).transpose(1, 2)
    away = away & chance((batch, 1, views), errors.absent_share, generator)
    lost = chance((batch, count, views), errors.missing_pictures, generator)
    step = set_steps(batch, errors.slow_share, generator)
    kept = newest_at_sets(pictures.kept & ~away & ~lost, step)
    changed = replace(pictures, keypoints=keypoints, context=context, kept=kept)
    return _hide_bursts(changed, errors, generator)


def turn_views(
    batch: RenderedBatch, turn_deg: float, zoom: float, generator: torch.Generator
) -> RenderedBatch:
    """Turns each view about its axis and enlarges it, which is exact for a pinhole camera.

    Rivals (``engines.front_ends.yolo_cpn.rivals``) and neighbours are turned along; in crop heights
    they stay as far away.

    Args:
        batch: Windows; the last channels of the context are rivals.
        turn_deg: Standard deviation of the turn.
        zoom: Standard deviation of the logarithm of the enlargement.
        generator: Source of chance.

    Returns:
        The same windows as cameras held askew, with longer or shorter lenses, see them.
    """
    count, views = batch.view_mask.shape
    angle = normal((count, views), math.radians(turn_deg), generator)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)
    larger = normal((count, views), zoom, generator).exp()[..., None, None]
    xy = torch.einsum("bvij,bfvkj->bfvki", turn * larger, batch.keypoints[..., :2])
    across = torch.einsum("bvij,bfvkj->bfvki", turn, batch.target[..., :2])

    def turned(each: Tensor) -> Tensor:
        """Several vectors of each joint, (B, F, V, 17, n, 2)."""
        return torch.einsum("bvij,bfvkrj->bfvkri", turn, each)

    features, told = batch.context[..., :-RIVAL_CHANNELS], batch.context[..., -RIVAL_CHANNELS:]
    rivals = told.reshape(*told.shape[:-1], RIVALS, 3)
    told = torch.cat((turned(rivals[..., :2]), rivals[..., 2:]), -1).flatten(-2)
    features = features.clone()
    around = features[..., TOWARDS].reshape(*features.shape[:-1], -1, 2)
    features[..., TOWARDS] = turned(around).flatten(-2)
    return replace(
        batch,
        keypoints=torch.cat((xy, batch.keypoints[..., 2:]), -1),
        context=torch.cat((features, told), -1),
        target=torch.cat((across, batch.target[..., 2:]), -1),
    )


def disturb_context(
    batch: RenderedBatch, deviation: Tensor, most: float, generator: torch.Generator
) -> RenderedBatch:
    """Adds to each joint's context what stays the same for a window, as other people's would.

    Noise that changes from picture to picture would do little: a window has many. Rivals are places
    rather than looks, and stay as they are.

    Args:
        batch: Windows; the last channels of the context are rivals.
        deviation: (C,) standard deviation of each feature.
        most: A window's noise has between none and this times that deviation.
        generator: Source of chance.

    Returns:
        The same windows; joints without context still have none.
    """
    windows, _, views, joints, channels = batch.context.shape
    sigma = uniform((windows, 1, 1, 1, 1), 0.0, most, generator) * deviation
    noise = normal((windows, 1, views, joints, channels), 1.0, generator) * sigma
    noise[..., channels - RIVAL_CHANNELS :] = 0.0
    there = (batch.context != 0).any(-1, keepdim=True)
    return replace(batch, context=batch.context + torch.where(there, noise, 0.0))


def hide(pictures: Pictures, hidden: Tensor) -> Pictures:
    """Takes joints away; as live, a joint that is missing has no context either.

    Args:
        pictures: What the pictures gave.
        hidden: (B, E, V, 17) bool, which joints; the middle two may be 1.

    Returns:
        The same without them.
    """
    keypoints = torch.where(hidden[..., None], 0.0, pictures.keypoints)
    return replace(pictures, keypoints=keypoints)


def _hide_bursts(
    pictures: Pictures, errors: RenderedErrors, generator: torch.Generator
) -> Pictures:
    batch, count, views = pictures.kept.shape
    share = uniform((batch, 1, views, 1), 0.0, errors.hidden_joints, generator)
    which = uniform((batch, 1, views, JOINT_COUNT), 0.0, 1.0, generator) < share
    while_ = burst((batch, views), count, 4, count + 8, generator).transpose(1, 2)
    here = chance((batch, 1, views), errors.hidden_views, generator)
    return hide(pictures, which & (while_ & here)[..., None])


def newest_at_sets(kept: Tensor, step: Tensor) -> Tensor:
    """Which pictures are looked at where sets come slowly: each camera's newest at every set.

    Args:
        kept: (B, E, V) bool, where there are pictures.
        step: (B, 1) instants from set to set; the last one has a set, as a window ends with it.

    Returns:
        (B, E, V) bool.
    """
    count = kept.shape[1]
    index = torch.arange(count, device=kept.device)
    which_set = torch.div(count - 1 - index, step, rounding_mode="floor")[..., None].expand_as(kept)
    place = torch.where(kept, index[:, None], count)
    after = place.flip(1).cummin(1).values.flip(1)[:, 1:]
    after = torch.cat((after, torch.full_like(place[:, :1], count)), 1)
    next_set = which_set.gather(1, after.clamp(max=count - 1))
    return kept & ((after == count) | (next_set != which_set))
