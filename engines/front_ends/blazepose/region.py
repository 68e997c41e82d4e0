"""The turned square around a person that BlazePose's landmark network looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engines.front_ends.base import Image

_MARGIN: Final = 1.25
"""How much larger than the body circle the square is (BlazePose model card)."""
_LARGE_TURN: Final = 0.15
"""Radians."""
_LARGE_GROWTH: Final = 0.3
"""Fraction of the size."""


@dataclass(frozen=True, slots=True)
class Region:
    """A square in a picture, turned so that the person in it stands upright.

    Attributes:
        x, y: centre in pixels.
        size: side in pixels.
        rotation: clockwise turn of the square in the picture, radians.
    """

    x: float
    y: float
    size: float
    rotation: float

    @staticmethod
    def around(
        hips: npt.NDArray[np.floating], rim: npt.NDArray[np.floating], margin: float = _MARGIN
    ) -> Region:
        """The region of the circle around ``hips`` through ``rim``, a point above the head.

        Args:
            hips: (2,) centre between the hips, pixels.
            rim: (2,) point where the circle around the whole body meets the line from the hips
                through the shoulders, pixels.
            margin: side of the square over the diameter of the circle.
        """
        across, down = (float(value) for value in rim - hips)
        return Region(
            x=float(hips[0]),
            y=float(hips[1]),
            size=2.0 * math.hypot(across, down) * margin,
            rotation=math.atan2(across, -down),
        )

    def eased_to(self, other: Region) -> Region:
        """The region at the centre of ``other``, whose size and turn follow with a little damping.

        A region that jitters makes the joints jitter, while one that is slightly off costs
        nothing; so small differences are halved, and large ones, which are motion, taken whole.
        """
        turn = math.remainder(other.rotation - self.rotation, 2 * math.pi)
        growth = other.size - self.size
        difference = max(abs(turn) / _LARGE_TURN, abs(growth) / (_LARGE_GROWTH * self.size))
        share = 0.5 + 0.5 * min(1.0, difference)
        return Region(
            x=other.x,
            y=other.y,
            size=self.size + share * growth,
            rotation=math.remainder(self.rotation + share * turn, 2 * math.pi),
        )

    @property
    def box(self) -> npt.NDArray[np.float32]:
        """(4,) x0, y0, x1, y1: the upright box of the same size and centre, pixels."""
        half = self.size / 2
        corners = (self.x - half, self.y - half, self.x + half, self.y + half)
        return np.asarray(corners, np.float32)

    def is_plausible(self, height: int, width: int) -> bool:
        """Whether a person so large and so placed can be in a picture of that size."""
        if not all(map(math.isfinite, (self.x, self.y, self.size, self.rotation))):
            return False
        larger = max(height, width)
        inside = -0.1 * width <= self.x <= 1.1 * width and -0.25 * height <= self.y <= 1.25 * height
        return inside and max(24.0, 0.06 * larger) <= self.size <= 4.0 * larger

    def crop(self, image: Image, side: int) -> npt.NDArray[np.uint8]:
        """Cuts the square out.

        Args:
            image: (H, W, 3) picture.
            side: side of the result in pixels.

        Returns:
            (side, side, 3) in the picture's colour order; black outside the picture.
        """
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        step = self.size / side
        # Centres of crop pixels sit at k + 0.5, and warpAffine counts them from 0.
        start = 0.5 - side / 2
        matrix = np.array(
            [
                [cosine * step, -sine * step, self.x + step * start * (cosine - sine) - 0.5],
                [sine * step, cosine * step, self.y + step * start * (sine + cosine) - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, matrix, (side, side), flags=flags)
        return np.asarray(crop, np.uint8)

    def to_picture(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Maps points of the crop to the picture.

        Args:
            points: (N, 2) with the crop's corners at (0, 0) and (1, 1).

        Returns:
            (N, 2) pixels of the picture.
        """
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        centred = (np.asarray(points, np.float64) - 0.5) * self.size
        return np.asarray(centred @ turn.T + (self.x, self.y), np.float32)
