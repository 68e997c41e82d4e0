"""Training on small pictures first: most is learned there, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PictureStage:
    """A part of training with pictures of one size.

    Attributes:
        until: The share of the budget at which it ends.
        height: Of the pictures in pixels, a multiple of 32.
        width: Of the pictures in pixels, a multiple of 32 (of crops: 16).
    """

    until: float
    height: int
    width: int


def stage_at(stages: Sequence[PictureStage], progress: float) -> PictureStage:
    """The stage of a share of the budget, 0..1."""
    return next((stage for stage in stages if progress < stage.until), stages[-1])
