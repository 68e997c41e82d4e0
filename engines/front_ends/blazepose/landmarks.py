"""BlazePose's landmark network: a region of a picture in, 33 body landmarks out.

Output and heat-map refinement as the "BlazePose GHUM 3D" model card and the BlazePose paper
(Bazarevsky et al., 2020) describe them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engines.backends.base import Backend
from engines.front_ends.base import Image
from engines.front_ends.blazepose.region import Region

SIDE: Final = 256
LANDMARK_COUNT: Final = 33
_OUTPUTS: Final = 39
"""33 landmarks, the hip centre, the body circle's rim, and four more for the hands."""
_HIPS: Final = 33
_RIM: Final = 34
_WINDOW: Final = 3
"""The refinement looks this many heat-map cells to each side."""

_FULL_PEAK: Final = 0.8
"""From this heat-map probability on a landmark is as certain as it gets. With visibility and
presence alone, wrong landmarks of people seen from behind look certain."""


@dataclass(frozen=True, slots=True)
class BodyLandmarks:
    """What the landmark network says about one region.

    Attributes:
        points: (33, 2) float32 pixels of the picture.
        confidence: (33,) float32, 0…1: that the landmark is in the crop, not hidden, and where it
            is said to be.
        presence: 0…1: that there is a person in the region at all.
        next_region: where to look in the next picture.
    """

    points: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    presence: float
    next_region: Region


class LandmarkFinder:
    """Runs the landmark network.

    Args:
        backend: ``pose_landmark_full.tflite``.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._input = backend.inputs[0].name
        by_shape = {spec.shape: spec.name for spec in backend.outputs}
        self._landmarks = by_shape[1, _OUTPUTS * 5]
        self._flag = by_shape[1, 1]
        self._heatmaps = by_shape[1, 64, 64, _OUTPUTS]

    def find(self, image: Image, region: Region) -> BodyLandmarks:
        """Finds the landmarks of the person in a region.

        Args:
            image: (H, W, 3) BGR picture.
            region: where to look.
        """
        crop = cv2.cvtColor(region.crop(image, SIDE), cv2.COLOR_BGR2RGB)
        tensor = np.multiply(crop, np.float32(1 / 255), dtype=np.float32)
        result = self._backend.run({self._input: tensor[None]})
        raw = np.asarray(result[self._landmarks], np.float32).reshape(_OUTPUTS, 5)
        heatmaps = np.asarray(result[self._heatmaps], np.float32)[0]
        places, peaks = refine(raw[:, :2] / np.float32(SIDE), heatmaps)
        pixels = region.to_picture(places)
        visibility, presence = _sigmoid(raw[:, 3]), _sigmoid(raw[:, 4])
        confidence = visibility * presence * np.minimum(peaks / _FULL_PEAK, 1)
        return BodyLandmarks(
            points=pixels[:LANDMARK_COUNT],
            confidence=np.asarray(confidence[:LANDMARK_COUNT], np.float32),
            presence=float(np.asarray(result[self._flag]).reshape(-1)[0]),
            next_region=region.eased_to(Region.around(pixels[_HIPS], pixels[_RIM])),
        )


def refine(
    places: npt.NDArray[np.float32],
    heatmaps: npt.NDArray[np.float32],
    min_peak: float = 0.5,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Moves landmarks to the centre of mass of their heat map's neighbourhood.

    Args:
        places: (N, 2) x, y with the crop's corners at (0, 0) and (1, 1).
        heatmaps: (H, W, N) logits.
        min_peak: a landmark whose neighbourhood stays below this probability is left alone.

    Returns:
        (N, 2) refined places, and (N,) the best probability in each landmark's neighbourhood.
    """
    height, width, count = heatmaps.shape
    cells = np.floor(places * (width, height)).astype(np.intp)
    offsets = np.arange(-_WINDOW, _WINDOW + 1)
    columns = cells[:, 0, None] + offsets
    rows = cells[:, 1, None] + offsets
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None, :
    ]
    values = heatmaps[
        np.clip(rows, 0, height - 1)[:, :, None],
        np.clip(columns, 0, width - 1)[:, None, :],
        np.arange(count)[:, None, None],
    ]
    probability = _sigmoid(values) * inside
    # Squared, they weigh the flanks less, which the other side's joint may reach into.
    weights = probability**2
    total = np.maximum(weights.sum(axis=(1, 2)), 1e-9)
    x = (weights.sum(axis=1) * columns).sum(axis=1) / total / width
    y = (weights.sum(axis=2) * rows).sum(axis=1) / total / height
    peaks = probability.max(axis=(1, 2))
    sure = (peaks >= min_peak)[:, None]
    return np.where(sure, np.stack([x, y], axis=1), places).astype(np.float32), peaks


def _sigmoid(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -60.0, 60.0))), np.float32)
