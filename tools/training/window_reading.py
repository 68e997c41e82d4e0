"""Reads joints and context of windows at common instants, as ``app.tracks.JointTrack`` does live.

The joints found in each picture stand at that picture's time; a window reads them out at common
instants, here for many windows at once on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from app.tracks import MAX_AHEAD_S, MAX_CONTEXT_AGE_S, MAX_GAP_S
from engines.skeleton import JOINT_COUNT
from tools.training.feature_scenes import RATE_HZ

LEAD: Final = 4
"""So many pictures before a window's first instant are read along: a track is older than that."""

PERIOD_S: Final = 1.0 / RATE_HZ
_SPEED_SPAN_S: Final = 0.12
_LONGEST_BACK: Final = 7
"""A speed is never taken over more pictures than this: twice the span above."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the pictures around B windows gave, E = ``LEAD`` + F instants, V views.

    Attributes:
        keypoints: (B, E, V, 17, 3) joints found, half-widths and confidence.
        context: (B, E, V, 17, C) what is told of the joints.
        crop: (B, E, V) height of the crop that was looked at, half-widths.
        times_s: (B, E, V) of the pictures after the first instant's; anything where there is none.
        kept: (B, E, V) bool, whether there is a picture in which somebody was found.
    """

    keypoints: Tensor
    context: Tensor
    crop: Tensor
    times_s: Tensor
    kept: Tensor


def read_joints(pictures: Pictures, frames: int) -> Tensor:
    """Reads joints at the common instants; ``JointTrack``, batched.

    A picture's time must lie within half a period of its instant.

    Args:
        pictures: E = ``LEAD`` + F instants.
        frames: F.

    Returns:
        (B, F, V, 17, 3).
    """
    nominal, late = _instants(pictures)
    known = pictures.kept[..., None] & (pictures.keypoints[..., 2] > 0)  # (B, E, V, 17)
    before, after = _neighbours(known, late[..., None], frames)
    return _between(pictures, before, after, nominal[LEAD:])


def read_windows(pictures: Pictures, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Reads joints and context at the common instants; see ``read_joints``.

    Args:
        pictures: E = ``LEAD`` + F instants.
        frames: F.

    Returns:
        keypoints (B, F, V, 17, 3), context (B, F, V, 17, C) and context mask (B, F, V).
    """
    times, kept = pictures.times_s, pictures.kept
    count = times.shape[1]
    nominal, late = _instants(pictures)
    # The nearest picture's context, whatever joints it has.
    first, last = _neighbours(kept[..., None], late[..., None], frames)
    first, last = first[..., 0], last[..., 0]  # (B, F, V)
    wanted = nominal[LEAD:, None]
    since = torch.where(first >= 0, wanted - times.gather(1, first.clamp(min=0)), torch.inf)
    until = torch.where(
        last < count, times.gather(1, last.clamp(max=count - 1)) - wanted, torch.inf
    )
    nearest = torch.where(since <= until, first.clamp(min=0), last.clamp(max=count - 1))
    near = torch.minimum(since, until) <= MAX_CONTEXT_AGE_S
    rows = nearest[..., None, None].expand(*nearest.shape, JOINT_COUNT, 1)
    found = pictures.keypoints[..., 2:].gather(1, rows) > 0
    near = near & found.any(-2)[..., 0]
    context = pictures.context.gather(1, rows.expand(*rows.shape[:-1], pictures.context.shape[-1]))
    context = torch.where(found & near[..., None, None], context, 0.0)
    return read_joints(pictures, frames), context, near.to(context.dtype)


def _instants(pictures: Pictures) -> tuple[Tensor, Tensor]:
    """The instants (E,), and by how much each picture (B, E, V) is after its own; seconds."""
    times = pictures.times_s
    nominal = (torch.arange(times.shape[1], device=times.device) - LEAD) * PERIOD_S
    return nominal, times - nominal[:, None]


def _neighbours(known: Tensor, late: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """The nearest sightings at or before, and after, each instant of the window.

    Args:
        known: (B, E, V, K) bool.
        late: (B, E, V, 1) by how much a picture is after its instant.
        frames: F.

    Returns:
        Two (B, F, V, K) index tensors along E; -1 and E where there is none.
    """
    count = known.shape[1]
    index = torch.arange(count, device=known.device).reshape(1, -1, 1, 1)
    before = torch.where(known, index, -1).cummax(1).values
    after = torch.where(known, index, count).flip(1).cummin(1).values.flip(1)
    earlier = torch.cat([torch.full_like(before[:, :1], -1), before[:, :-1]], 1)
    later = torch.cat([after[:, 1:], torch.full_like(after[:, :1], count)], 1)
    low = torch.where(known & (late <= 0), index, earlier)
    high = torch.where(known & (late >= 0), index, later)
    return low[:, count - frames :], high[:, count - frames :]


def _between(pictures: Pictures, before: Tensor, after: Tensor, wanted: Tensor) -> Tensor:
    """Joints (B, F, V, 17, 3) at the instants ``wanted`` (F,), between two sightings each."""
    count = pictures.times_s.shape[1]
    times = pictures.times_s[..., None].expand(-1, -1, -1, JOINT_COUNT)
    wanted = wanted[:, None, None]
    has_before, has_after = before >= 0, after < count
    low, high = before.clamp(min=0), after.clamp(max=count - 1)
    t_low, t_high = times.gather(1, low), times.gather(1, high)
    points = pictures.keypoints

    def take(values: Tensor, rows: Tensor) -> Tensor:
        return values.gather(1, rows[..., None].expand(*rows.shape, values.shape[-1]))

    a, b = take(points, low), take(points, high)
    gap = t_high - t_low
    inside = has_before & has_after & (gap <= MAX_GAP_S)
    share = torch.where(gap > 0, (wanted - t_low) / gap.clamp(min=1e-9), 0.0)[..., None]
    mixed = torch.cat(
        [a[..., :2] + (b[..., :2] - a[..., :2]) * share, torch.minimum(a[..., 2:], b[..., 2:])], -1
    )
    ahead = wanted - t_low
    beyond = ~inside & has_before & (ahead >= 0) & (ahead <= MAX_AHEAD_S)
    moved = take(_speeds(pictures), low) * ahead[..., None]
    carried = torch.cat([a[..., :2] + moved, a[..., 2:]], -1)
    behind = t_high - wanted
    held = ~inside & ~beyond & has_after & (behind >= 0) & (behind <= MAX_AHEAD_S)
    joints = torch.where(inside[..., None], mixed, 0.0)
    joints = torch.where(beyond[..., None], carried, joints)
    return torch.where(held[..., None], b, joints)


def _speeds(pictures: Pictures) -> Tensor:
    """(B, E, V, 17, 2) a second, of each joint at the newest pictures.

    Over the longest time within the span, or to the picture before where that is longer.
    """
    points, times, kept = pictures.keypoints, pictures.times_s, pictures.kept
    base = torch.zeros_like(times)
    partner = torch.arange(times.shape[1], device=times.device).reshape(1, -1, 1).expand_as(base)
    own = partner
    for back in range(1, _LONGEST_BACK + 1):
        then = (own - back).clamp(min=0)
        there = kept & kept.gather(1, then) & (own >= back)
        passed = times - times.gather(1, then)
        first = there & (base == 0) & (passed <= 2 * _SPEED_SPAN_S)
        better = there & (passed <= _SPEED_SPAN_S)
        use = first | better
        partner = torch.where(use, then, partner)
        base = torch.where(use, passed, base)
    rows = partner[..., None, None].expand(*partner.shape, JOINT_COUNT, 3)
    past = points.gather(1, rows)
    both = (points[..., 2] > 0) & (past[..., 2] > 0) & (base > 0)[..., None]
    # Only the newest four have a speed, as live.
    recent = kept.flip(1).cumsum(1).flip(1) <= 4
    moving = (both & recent[..., None])[..., None]
    return torch.where(moving, (points - past)[..., :2] / base.clamp(min=1e-3)[..., None, None], 0)
