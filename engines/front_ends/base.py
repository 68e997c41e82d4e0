"""What a 2D front end takes and gives: pictures in, H36M-17 joints and image context out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""(H, W, 3) BGR picture; may be read-only."""

Box = npt.NDArray[np.float32]
"""(4,) x0, y0, x1, y1 in pixels."""


@dataclass(frozen=True, slots=True)
class View2D:
    """The person as one picture shows them.

    Attributes:
        keypoints: (17, 3) float32, H36M-17: x and y in pixels of that picture (x right, y down,
            pixel centres at integers + 0.5), then confidence 0…1. Confidence 0 means missing, and
            x, y mean nothing then.
        box: (4,) float32 x0, y0, x1, y1 in pixels: the region that the joints were looked for in.
        context: (17, C) float32 image features sampled at the joints, or None where the front end
            has none.
    """

    keypoints: npt.NDArray[np.float32]
    box: npt.NDArray[np.float32]
    context: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one named stage of the last call took, in milliseconds over all views."""

    stage: str
    milliseconds: float


class FrontEnd(Protocol):
    """A 2D front end with one person track a view.

    Views are numbered 0…n-1 in the order of the configuration; each keeps its own track between
    calls. A front end belongs to one thread.
    """

    @property
    def name(self) -> str:
        """Its name in the configuration, e.g. ``blazepose``."""
        ...

    @property
    def description(self) -> str:
        """One line for the start of a run: networks, weights, engine, precision."""
        ...

    @property
    def context_channels(self) -> int:
        """C of ``View2D.context``; 0 where there is no context."""
        ...

    @property
    def context_source(self) -> str:
        """Which weights the context comes from (``engines.shipping.weights_digest``), or empty."""
        ...

    def warm_up(self, height: int, width: int) -> None:
        """Runs every network once on a blank picture so that the first real call is not slow."""
        ...

    def expect(self, boxes: Sequence[Box | None]) -> None:
        """Says where the person should be in the next pictures, by what other views see.

        Args:
            boxes: (4,) x0, y0, x1, y1 in pixels a view, None where nothing is known of it. Somebody
                there is followed before anybody else.
        """
        ...

    def process(self, images: Sequence[Image | None]) -> tuple[View2D | None, ...]:
        """Finds the person in each view's newest picture.

        Args:
            images: one picture a view, None where the view has none this time (its track is kept
                for a while).

        Returns:
            One result a view, None where there is no picture or no person.
        """
        ...

    def stage_times(self) -> tuple[StageTime, ...]:
        """What the stages of the last ``process`` call took."""
        ...

    def close(self) -> None:
        """Frees the networks and threads."""
        ...
