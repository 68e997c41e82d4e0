"""Joints that are missing from the first to the last picture of a window.

Somebody sits at a desk, a camera looks over a table, a 2D detector of another make leaves out what
it cannot see. That is harder than a joint that is gone for a moment: motion says nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engines.skeleton import JOINT_COUNT
from tools.training.keypoint_errors import chance, joint_masks
from tools.training.rigs import uniform

_PARTS: Final = (
    (2, 3, 5, 6),
    (1, 2, 3, 4, 5, 6),
    (0, 1, 2, 3, 4, 5, 6),
    (2, 3),
    (5, 6),
    (12, 13),
    (15, 16),
    (12, 13, 15, 16),
    (9, 10),
)
"""Legs without the hips, with them, with the pelvis too; each leg, each forearm, both, the head."""


@dataclass(frozen=True, slots=True)
class LostJoints:
    """How often joints are missing for good, and which.

    Attributes:
        windows: Share of windows in which views lose joints.
        parts: Share of these that lose a part of the body, most views the same; the others lose
            any joints, each view its own.
        most: Most of a view's joints that any-joint windows lose, as a share.
    """

    windows: float = 0.0
    parts: float = 0.35
    most: float = 0.5


def lose_joints(
    keypoints: Tensor, context: Tensor | None, lost: LostJoints, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Takes joints out of windows.

    Args:
        keypoints: (B, F, V, 17, 3) x, y, confidence.
        context: (B, F, V, 17, C), or None.
        lost: How often, and which.
        generator: Source of chance, on their device.

    Returns:
        The same, zero where a joint is missing: as live, it has no context either.
    """
    if lost.windows <= 0:
        return keypoints, context
    batch, _, views = keypoints.shape[:3]
    some, one = (batch, 1, views, JOINT_COUNT), (batch, 1, 1, 1)
    share = uniform((batch, 1, views, 1), 0.0, lost.most, generator)
    gone = uniform(some, 0.0, 1.0, generator) < share
    parts = joint_masks(_PARTS, generator.device)
    chosen = torch.randint(0, len(_PARTS), (batch,), generator=generator, device=generator.device)
    by_view = uniform((batch, 1, views, 1), 0.0, 1.0, generator)
    part = parts[chosen][:, None, None] & (by_view < uniform(one, 0.3, 1.3, generator))
    gone = torch.where(chance(one, lost.parts, generator), part, gone)
    gone = (gone & chance(one, lost.windows, generator))[..., None]
    kept = None if context is None else torch.where(gone, 0.0, context)
    return torch.where(gone, 0.0, keypoints), kept
