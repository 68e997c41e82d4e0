"""BlazePose's person detector: a picture in, people with hips and body circle out.

Method: the single-shot detector of BlazeFace (Bazarevsky et al., 2019), which BlazePose (Bazarevsky
et al., 2020) extends by alignment points; its boxes are merged by score-weighted means.
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

SIDE: Final = 224
_STRIDES: Final = (8, 16, 32, 32, 32)
_ANCHORS_PER_STRIDE: Final = 2
_POINTS: Final = 4
_HIPS: Final = 0
_RIM: Final = 1


@dataclass(frozen=True, slots=True)
class PersonDetection:
    """One person.

    Attributes:
        score: 0…1.
        region: where the landmark network should look.
    """

    score: float
    region: Region


class PersonDetector:
    """Runs the detector network.

    Args:
        backend: ``pose_detection.tflite``.
        score_threshold: people below it are not reported. Those whose legs are outside the picture
            score low; the landmark network tells them from mistakes.
    """

    def __init__(self, backend: Backend, score_threshold: float = 0.4) -> None:
        self._backend = backend
        self._threshold = score_threshold
        self._anchors = anchor_centres()
        self._input = backend.inputs[0].name
        self._boxes, self._scores = (spec.name for spec in backend.outputs)

    def detect(self, image: Image) -> tuple[PersonDetection, ...]:
        """Finds people.

        Args:
            image: (H, W, 3) BGR picture.

        Returns:
            The people, best score first, in pixels of the picture.
        """
        height, width = image.shape[:2]
        scale = SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
        canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
        canvas[top : top + size[1], left : left + size[0]] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
        tensor = np.multiply(canvas, np.float32(1 / 127.5), dtype=np.float32) - np.float32(1)
        result = self._backend.run({self._input: tensor[None]})

        logits = np.asarray(result[self._scores], np.float64)[0, :, 0]
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -100, 100)))
        kept = np.flatnonzero(scores >= self._threshold)
        found = decode(np.asarray(result[self._boxes])[0, kept], self._anchors[kept])
        people = []
        for score, _, points in merge_overlapping(scores[kept], *found):
            pixels = (points * SIDE - (left, top)) / scale
            people.append(PersonDetection(score, Region.around(pixels[_HIPS], pixels[_RIM])))
        return tuple(people)


def anchor_centres() -> npt.NDArray[np.float32]:
    """The centres of the 2254 anchors, (2254, 2) x and y over the input's side.

    Every cell of every layer has two; all anchors have the size of the input, so only the centre
    matters. Layers of one stride are laid out together, cell by cell.
    """
    layers = []
    for stride in sorted(set(_STRIDES)):
        cells = SIDE // stride
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, _ANCHORS_PER_STRIDE * _STRIDES.count(stride), axis=0))
    return np.concatenate(layers)


def decode(
    raw: npt.NDArray[np.floating], anchors: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Turns the network's offsets into places in its input.

    Args:
        raw: (N, 12) centre x, y, width, height, then four points, in input pixels from the anchor.
        anchors: (N, 2) anchor centres over the input's side.

    Returns:
        (N, 4) boxes x0, y0, x1, y1 and (N, 4, 2) points, both over the input's side.
    """
    scaled = np.asarray(raw, np.float32) / SIDE
    centre, half = scaled[:, :2] + anchors, scaled[:, 2:4] / 2
    points = scaled[:, 4:].reshape(-1, _POINTS, 2) + anchors[:, None]
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return np.asarray(boxes, np.float32), np.asarray(points, np.float32)


def merge_overlapping(
    scores: npt.NDArray[np.floating],
    boxes: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    overlap: float = 0.3,
) -> list[tuple[float, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Merges detections of one person into their score-weighted mean.

    Args:
        scores: (N,) 0…1.
        boxes: (N, 4) x0, y0, x1, y1.
        points: (N, P, 2).
        overlap: boxes with a larger intersection over union are one person.

    Returns:
        (score, box, points) a person, best score first; the score is the best of the merged.
    """
    order = np.argsort(-scores, kind="stable")
    people = []
    while order.size:
        best = order[0]
        same = _overlaps(boxes[best], boxes[order]) > overlap
        same[0] = True
        group = order[same]
        weights = scores[group] / scores[group].sum()
        box = np.asarray(weights @ boxes[group], np.float32)
        merged = np.asarray(np.tensordot(weights, points[group], 1), np.float32)
        people.append((float(scores[best]), box, merged))
        order = order[~same]
    return people


def _overlaps(
    box: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Intersection over union of one box with (N, 4) others."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(axis=1)
    own = np.clip(box[2:] - box[:2], 0, None).prod()
    return np.asarray(common / np.maximum(own + areas - common, 1e-12), np.float32)
