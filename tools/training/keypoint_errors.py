"""The 2D error model: what detectors do to the joints of a person, in batched torch.

Errors are relative to the person's box, the longer side of the bounding box of the true joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engines.skeleton import JOINT_COUNT, MIRROR
from tools.training.rigs import Rig, normal, uniform

_LEG_PAIRS: Final = (1, 2, 3, 4, 5, 6)
_ARM_PAIRS: Final = (11, 12, 13, 14, 15, 16)
_LIMBS: Final = ((2, 3, 5, 6), (12, 13), (15, 16))  # the first are behind a table
_AR1: Final = 0.88  # correlation of a detector's slow error from one frame to the next, 30 fps


@dataclass(frozen=True, slots=True)
class KeypointErrors:
    """How 2D joints err. Shares are probabilities; lengths are in units of the person's box.

    Attributes:
        sigma: Range of the Gaussian error of a view.
        slow_share: Range of the share of its variance that persists over frames.
        sure: Whether the size of the error shows, a little, in the confidence.
        outlier_share: Most of a view's joints that are astray.
        outlier_shift: How far astray.
        missing_views: Share of views in which joints go missing.
        missing_share: Share of joints missing there.
        lost_limbs: Share of views that never see the legs (or an arm).
        swap_share: Share of views with a burst of left/right swaps.
        absent_share: Share of views that are absent for a part of the window.
        cut_share: Share of joints beyond the picture's border that are dropped, not clamped.
        derived_share: Share of samples whose trunk joints are computed from hips and shoulders.
        slow_rate_share: Share of samples observed at a half to a quarter of the rate, and
            interpolated between.
        box_frames: Frames over which the person's box is taken.
    """

    sigma: tuple[float, float] = (0.004, 0.02)
    slow_share: tuple[float, float] = (0.2, 0.8)
    sure: bool = True
    outlier_share: float = 0.12
    outlier_shift: float = 0.1
    missing_views: float = 0.5
    missing_share: float = 0.06
    lost_limbs: float = 0.05
    swap_share: float = 0.12
    absent_share: float = 0.08
    cut_share: float = 0.6
    derived_share: float = 0.0
    slow_rate_share: float = 0.0
    box_frames: int = 1


SKETCH_ERRORS: Final = KeypointErrors(
    slow_share=(0.0, 0.0),
    sure=False,
    lost_limbs=0.0,
    swap_share=0.0,
    absent_share=0.0,
    box_frames=9,
)
"""The feasibility sketch's: Gaussian, outliers, missing joints, and no more."""


def chance(shape: tuple[int, ...], share: float, generator: torch.Generator) -> Tensor:
    """True with probability ``share``."""
    return torch.rand(shape, generator=generator, device=generator.device) < share


def joint_masks(groups: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Which joints belong to each group: (groups, 17) bool."""
    masks = torch.zeros(len(groups), JOINT_COUNT, dtype=torch.bool, device=device)
    for row, joints in enumerate(groups):
        masks[row, list(joints)] = True
    return masks


def burst(
    shape: tuple[int, ...], frames: int, least: int, most: int, generator: torch.Generator
) -> Tensor:
    """A random run of frames: (*shape, frames) bool."""
    length = uniform(shape, least, most + 1, generator).floor()
    start = (uniform(shape, 0.0, 1.0, generator) * (frames + length) - length).round()
    index = torch.arange(frames, device=generator.device)
    return (index >= start[..., None]) & (index < (start + length)[..., None])


def slow_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Unit-variance first-order autoregressive noise along axis 1 of five."""
    frames = shape[1]
    index = torch.arange(frames, device=generator.device)
    covariance = _AR1 ** (index[:, None] - index[None, :]).abs().float()
    factor = torch.linalg.cholesky(covariance)
    return torch.einsum("fg,bgvkc->bfvkc", factor, normal(shape, 1.0, generator))


def box_size(xy: Tensor, frames: int = 1) -> Tensor:
    """The longer side of the person's box, averaged over the window.

    Args:
        xy: (B, F, V, 17, 2).
        frames: Frames that one box spans.

    Returns:
        (B, 1, V, 1, 1).
    """
    high, low = xy.amax(3), -xy.amin(3)  # (B, F, V, 2)
    if frames > 1:
        both = torch.stack([high, low], -1).flatten(2).transpose(1, 2)
        both = functional.max_pool1d(both, min(frames, both.shape[2]), 1).transpose(1, 2)
        high, low = both.reshape(len(high), -1, *high.shape[2:], 2).unbind(-1)
    return (high + low).amax(-1).mean(1)[:, None, :, None, None]


def observe(
    xy: Tensor, depth: Tensor, rig: Rig, errors: KeypointErrors, generator: torch.Generator
) -> Tensor:
    """Makes a detector's joints out of true ones.

    Args:
        xy: (B, F, V, 17, 2) true joints in half-widths.
        depth: (B, F, V, 17) true depths in metres; joints behind the camera go missing.
        rig: The cameras.
        errors: What goes wrong, and how much.
        generator: Source of chance.

    Returns:
        (B, F, V, 17, 3): x, y, confidence (0 is missing; x, y are then 0).
    """
    batch, frames, views = xy.shape[:3]
    per_view, per_joint = (batch, 1, views, 1), (batch, frames, views, JOINT_COUNT)
    size = box_size(xy, errors.box_frames)
    seen, confidence = _noisy(xy, size, errors, generator)

    if errors.swap_share > 0:
        seen, confidence, _ = swap_sides(seen, confidence, errors.swap_share, generator)

    astray = uniform(per_joint, 0.0, 1.0, generator) < uniform(
        per_view, 0.0, errors.outlier_share, generator
    )
    shift = normal(tuple(xy.shape), errors.outlier_shift, generator) * size
    seen = torch.where(astray[..., None], xy + shift, seen)
    unsure = (0.4 + normal(per_joint, 0.2, generator)).clamp(0.0, 1.0)
    confidence = torch.where(astray, unsure, confidence)

    seen, confidence, outside = at_border(seen, confidence, rig)
    dropped = outside & chance((batch, frames, views, 1), errors.cut_share, generator)

    flaky = chance(per_view, errors.missing_views, generator)
    missing = flaky & chance(per_joint, errors.missing_share, generator)
    missing = missing | dropped | (depth < 0.3)
    if errors.lost_limbs > 0:
        missing = missing | _lost_limbs(batch, views, errors.lost_limbs, generator)
    confidence = torch.where(missing, 0.0, confidence)

    if errors.derived_share > 0:
        derived = chance((batch, 1, 1, 1), errors.derived_share, generator)
        seen, confidence = _derive_trunk(seen, confidence, derived)
    if errors.slow_rate_share > 0:
        seen, confidence = slow_rate(seen, confidence, errors.slow_rate_share, generator)
    if errors.absent_share > 0:
        away = burst((batch, views), frames, 3, frames - 3, generator).transpose(1, 2)
        away = away & chance((batch, 1, views), errors.absent_share, generator)
        confidence = torch.where(away[..., None], 0.0, confidence)
    seen = torch.where(confidence[..., None] > 0, seen, 0.0)
    return torch.cat([seen, confidence[..., None]], dim=-1)


def at_border(seen: Tensor, confidence: Tensor, rig: Rig) -> tuple[Tensor, Tensor, Tensor]:
    """Joints beyond a picture's border are found at it, with less confidence.

    Args:
        seen: (B, F, V, 17, 2) joints in half-widths.
        confidence: (B, F, V, 17).
        rig: The cameras.

    Returns:
        The same, and (B, F, V, 17) bool which joints lay outside.
    """
    limit = torch.stack([rig.half_width, rig.half_height], -1)[:, None, :, None]
    outside = (seen.abs() > limit).any(-1)
    seen = torch.minimum(torch.maximum(seen, -limit), limit)
    return seen, torch.where(outside, confidence * 0.4, confidence), outside


def set_steps(batch: int, share: float, generator: torch.Generator) -> Tensor:
    """(B, 1) frames from set to set: two to four in a share of the windows, else one."""
    step = torch.randint(2, 5, (batch, 1), generator=generator, device=generator.device)
    return torch.where(chance((batch, 1), share, generator), step, 1)


def _noisy(
    xy: Tensor, size: Tensor, errors: KeypointErrors, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Gaussian error and the confidence of joints that are seen."""
    batch, frames, views = xy.shape[:3]
    shape = (batch, frames, views, JOINT_COUNT, 2)
    noise = normal(shape, 1.0, generator)
    confidence = 0.9 + normal(shape[:4], 0.08, generator)
    sigma = uniform((batch, 1, views, 1, 1), *errors.sigma, generator)
    if errors.slow_share[1] > 0:
        share = uniform((batch, 1, views, 1, 1), *errors.slow_share, generator)
        noise = (1 - share).sqrt() * noise + share.sqrt() * slow_noise(shape, generator)
    if errors.sure:
        trouble = 0.35 * slow_noise((*shape[:4], 1), generator)[..., 0]
        noise = noise * (trouble - 0.06).exp()[..., None]  # keeps the mean of the square near 1
        telling = uniform((batch, 1, views, 1), 0.0, 0.3, generator)
        ceiling = uniform((batch, 1, views, 1), 0.75, 1.05, generator)
        confidence = confidence * ceiling - telling * trouble
    confidence = confidence.clamp(0.3, 1.0)
    return xy + noise * sigma * size, confidence


def swap_sides(
    seen: Tensor, confidence: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Exchanges left and right of legs, arms or both, for a burst of frames of some views.

    Returns:
        Joints, confidences, and (B, F, V, 17) bool which were exchanged.
    """
    batch, frames, views = seen.shape[:3]
    device = seen.device
    mirror = torch.tensor(MIRROR, device=device)
    pairs = joint_masks((_LEG_PAIRS, _ARM_PAIRS, _LEG_PAIRS + _ARM_PAIRS), device)
    which = torch.randint(0, 3, (batch, views), generator=generator, device=device)
    while_ = burst((batch, views), frames, 2, frames, generator)
    while_ = while_ & chance((batch, views, 1), share, generator)
    swapped = while_.transpose(1, 2)[..., None] & pairs[which][:, None]
    seen = torch.where(swapped[..., None], seen[..., mirror, :], seen)
    doubt = uniform((batch, 1, views, 1), 0.3, 1.7, generator).clamp(max=1.0)
    confidence = torch.where(swapped, confidence[..., mirror] * doubt, confidence)
    return seen, confidence, swapped


def _lost_limbs(batch: int, views: int, share: float, generator: torch.Generator) -> Tensor:
    """(B, 1, V, 17) bool: limbs hidden from a view for the whole window."""
    device = generator.device
    limbs = joint_masks(_LIMBS, device)
    which = torch.randint(0, len(_LIMBS), (batch, views), generator=generator, device=device)
    return (limbs[which] & chance((batch, views, 1), share, generator))[:, None]


def _derive_trunk(seen: Tensor, confidence: Tensor, derived: Tensor) -> tuple[Tensor, Tensor]:
    """Pelvis and thorax between the sides, spine between those two, as from a COCO detector."""

    def middle(a: int, b: int) -> tuple[Tensor, Tensor]:
        return (seen[..., a, :] + seen[..., b, :]) / 2, torch.minimum(
            confidence[..., a], confidence[..., b]
        )

    pelvis, pelvis_confidence = middle(1, 4)
    thorax, thorax_confidence = middle(11, 14)
    spine = (pelvis + thorax) / 2
    spine_confidence = torch.minimum(pelvis_confidence, thorax_confidence)
    new_seen, new_confidence = seen.clone(), confidence.clone()
    for joint, point, sure in (
        (0, pelvis, pelvis_confidence),
        (7, spine, spine_confidence),
        (8, thorax, thorax_confidence),
    ):
        new_seen[..., joint, :] = point
        new_confidence[..., joint] = sure
    return torch.where(derived[..., None], new_seen, seen), torch.where(
        derived, new_confidence, confidence
    )


def slow_rate(
    seen: Tensor, confidence: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Keeps every second to fourth frame of a share of windows, and interpolates the others.

    Args:
        seen: (B, F, V, 17, 2).
        confidence: (B, F, V, 17).
        share: Of the windows.
        generator: Source of chance.

    Returns:
        The same at the slower rate.
    """
    batch, frames = seen.shape[:2]
    device = seen.device
    step = set_steps(batch, share, generator)
    # Live, the window ends with the newest set; elsewhere the phase is anything.
    phase = (uniform((batch, 1), 0.0, 1.0, generator) * step).long()
    phase = torch.where(chance((batch, 1), 0.75, generator), 0, phase)
    newest = frames - 1 - phase
    index = torch.arange(frames, device=device)[None]
    before = newest + torch.div(index - newest, step, rounding_mode="floor") * step
    after = torch.minimum(before + step, newest)
    before = torch.minimum(before.clamp(min=0), newest)
    weight = ((index - before) / (after - before).clamp(min=1)).clamp(0.0, 1.0)[:, :, None, None]

    def take(values: Tensor, rows: Tensor) -> Tensor:
        rows = rows.reshape(batch, frames, *([1] * (values.dim() - 2))).expand_as(values)
        return values.gather(1, rows)

    filled = torch.lerp(take(seen, before), take(seen, after), weight[..., None])
    first, second = take(confidence, before), take(confidence, after)
    on_key = (weight == 0) | ((before == after)[:, :, None, None])
    sure = torch.where(on_key, first, torch.minimum(first, second))
    # Where the later key frame is exactly this one, its own confidence counts.
    sure = torch.where((weight == 1) & ~on_key, second, sure)
    return filled, sure
