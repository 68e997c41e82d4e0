"""What happens to pictures and maps around the networks, wherever that is done.

There are two implementations of the same arithmetic: on the host with OpenCV and NumPy, and in
torch on the device of the engine, where pictures go up once and only joints come down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from engines.backends.base import DescribedBackend
from engines.front_ends.base import Image
from engines.front_ends.yolo_cpn.regions import Region

Floats = npt.NDArray[np.float32]
Decoding = Literal["cpn", "log_parabola"]

CPN_MEAN: Final = (122.7717 / 255, 115.9465 / 255, 102.9801 / 255)
"""RGB that is subtracted from crops, and that fills them outside the picture."""

LETTERBOX_FILL: Final = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Blur:
    """How heatmaps are smoothed before their peak is sought, by a Gaussian.

    Attributes:
        size: of the kernel, cells.
        sigma: its standard deviation, cells.
        edge_goes_on: whether beyond its border a map goes on as at the border, or is zero.
    """

    size: int
    sigma: float
    edge_goes_on: bool


BLURS: Final[dict[Decoding, Blur]] = {
    # OpenCV's rule for the width of a Gaussian of 21 cells, as CPN's authors have it.
    "cpn": Blur(21, 0.3 * ((21 - 1) * 0.5 - 1) + 0.8, edge_goes_on=False),
    # So much that noise decides less often which cell of a peak is the highest, and so little
    # that two joints beside each other stay two.
    "log_parabola": Blur(5, 0.7, edge_goes_on=True),
}

LEAST_HEAT: Final = 1e-6
"""Heat below this fraction of a full peak counts as this much, so that it has a logarithm."""

NEARLY_HIGHEST: Final = 0.05
"""Cells beside the highest that have this share less heat, or still less, help to find the peak.

More of them weigh the more, so that a joint does not jump where another cell becomes the highest:
heat that differs by 3e-4, as half precision's may, moved joints by up to 1.6 pixels of the crop,
and now moves none by more than 0.05 (768 crops of the test, confidence above 0.5). They are found
as exactly: within 2 % of body height 77.1 instead of 76.7 % of the visible ones.
"""

FARTHEST: Final = 0.75
"""A peak lies at most so many cells from the middle of its highest cell, along x or y."""

TOP: Final = 64
"""So many boxes of a picture are looked at more closely."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A region of a picture to be shown to a network.

    Attributes:
        view: whose picture.
        region: which part of it.
    """

    view: int
    region: Region


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """How features belong to a crop and its joints.

    Attributes:
        height: of the crop in pixels.
        width: of the crop in pixels.
        by_joint: whether each joint has features of its own (``engines.networks.joint_context``).
    """

    height: int
    width: int
    by_joint: bool


@dataclass(frozen=True, slots=True)
class HeatReading:
    """How a pose network's heatmaps are made and read.

    Attributes:
        decoding: how a joint's place follows from its map.
        peak: heat of full certainty.
        partners: for a flip test, each joint's partner on the other side: the mirrored crops are
            looked at, too, and the mean of both heatmaps is read (as in Chen et al., CVPR 2018).
            None looks once.
        rivals: whether the heatmaps' further peaks are wanted.
        both: whether the features of mirrored crops are wanted, too, where they are looked at.
    """

    decoding: Decoding
    peak: float
    partners: tuple[int, ...] | None = None
    rivals: bool = False
    both: bool = False


@dataclass(frozen=True, slots=True)
class PoseAnswer:
    """What the pose network sees in a batch of crops.

    Attributes:
        places: (B, 17, 2) x, y in pixels of the crop.
        confidence: (B, 17), 0…1.
        rivals: (B, 17, R, 3) the heatmaps' further peaks (``rivals.py``): x, y in pixels of the
            crop and heat 0…1, where 0 is none; R is 0 where they were not wanted.
        features: the features of the batch, kept where the engine is.
        mirrored: those of the mirrored crops, or None where they were not wanted.
    """

    places: Floats
    confidence: Floats
    rivals: Floats
    features: object
    mirrored: object = None


class Operations(Protocol):
    """The steps around the networks, batched over views."""

    def take(self, images: Sequence[Image | None]) -> None:
        """Takes the new pictures; on a device, this is where they go up."""
        ...

    def detect(self, backend: DescribedBackend, patches: Sequence[Patch]) -> tuple[Floats, Floats]:
        """Runs a detector on patches.

        Returns:
            The surest boxes (B, K, 4), as centre and size in input pixels, and their scores
            (B, K), surest first.
        """
        ...

    def find_joints(
        self, backend: DescribedBackend, patches: Sequence[Patch], reading: HeatReading
    ) -> PoseAnswer:
        """Runs a pose network on patches and reads its heatmaps."""
        ...

    def sample(self, features: object, places: Floats, layout: FeatureLayout) -> Floats:
        """Image features at places.

        Args:
            features: of a ``PoseAnswer``.
            places: (B, 17, 2) x, y in pixels of the crop.
            layout: how the features belong to the crop and its joints.

        Returns:
            (B, 17, C).
        """
        ...

    def pool(self, answer: PoseAnswer) -> Floats:
        """The mean of the features over each crop, (B, C)."""
        ...


def reduction(region: Region, height: int, width: int) -> int:
    """By which whole factor a picture is averaged down before it is sampled for a region.

    A region much larger than the input would otherwise be sampled with gaps, and flicker.
    """
    return max(1, int(min(region.width / width, region.height / height)))
