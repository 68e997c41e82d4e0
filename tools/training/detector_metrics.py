"""How well people are found in whole pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.front_ends.yolo_cpn.suppression import intersection_over_union, suppress
from tools.training.detector_samples import NOBODY, PERSON, DetectorSample

Floats = npt.NDArray[np.float32]

FOUND_OVERLAP: Final = 0.5
"""A person counts as found by a box of at least this intersection over union."""


@dataclass(frozen=True, slots=True)
class DetectionScore:
    """What was found.

    Attributes:
        pictures: So many pictures.
        empty: So many of them without anybody.
        people: So many people who are seen well enough to ask for them.
        recall: People found, in per cent.
        mean_overlap: Mean intersection over union of those found, in per cent.
        false_per_empty: Boxes in a picture without anybody.
        false_per_picture: Boxes on nobody in a picture, people too little seen left out.
        further_per_picture: Further boxes on people in a picture, beside each one's own; they cost
            the front end a look of its pose network.
    """

    pictures: int
    empty: int
    people: int
    recall: float
    mean_overlap: float
    false_per_empty: float
    false_per_picture: float
    further_per_picture: float


def thinned(boxes: Floats, scores: Floats, score: float, overlap: float) -> Floats:
    """The boxes that the front end would keep.

    Args:
        boxes: (N, 4) centre x, y, width, height.
        scores: (N,).
        score: Least score.
        overlap: Boxes that overlap more are one person.

    Returns:
        (K, 4) x0, y0, x1, y1, surest first.
    """
    likely = scores >= score
    centre, half = boxes[likely, :2], boxes[likely, 2:] / 2
    corners = np.concatenate((centre - half, centre + half), 1).astype(np.float32)
    return corners[suppress(corners, scores[likely], overlap)]


def score_detections(found: Sequence[Floats], samples: Sequence[DetectorSample]) -> DetectionScore:
    """Compares found boxes with the people of pictures, each person with one box of their own.

    Args:
        found: For each picture (K, 4) boxes, surest first.
        samples: The pictures.
    """
    overlaps: list[float] = []
    people = empty = false_empty = false_all = further = 0
    for boxes, sample in zip(found, samples, strict=True):
        wanted = sample.boxes[sample.kinds == PERSON]
        known = sample.boxes[sample.kinds != NOBODY]
        people += len(wanted)
        if len(known) == 0:
            empty += 1
            false_empty += len(boxes)
        grid = intersection_over_union(boxes, wanted)
        free = np.ones(len(wanted), np.bool_)
        for row in range(len(boxes)):
            mine = np.where(free, grid[row], 0) if len(wanted) else np.zeros(1)
            best = int(mine.argmax())
            if mine[best] >= FOUND_OVERLAP:
                free[best] = False
                overlaps.append(float(mine[best]))
            elif _share_on(boxes[row], known) < FOUND_OVERLAP:
                false_all += 1
            else:
                further += 1
    return DetectionScore(
        pictures=len(samples),
        empty=empty,
        people=people,
        recall=100 * len(overlaps) / max(people, 1),
        mean_overlap=100 * float(np.mean(overlaps)) if overlaps else 0.0,
        false_per_empty=false_empty / max(empty, 1),
        false_per_picture=false_all / max(len(samples), 1),
        further_per_picture=further / max(len(samples), 1),
    )


def _share_on(box: Floats, people: Floats) -> float:
    """The largest share of a box that lies on one person's."""
    if len(people) == 0:
        return 0.0
    shared = np.minimum(box[2:], people[:, 2:]) - np.maximum(box[:2], people[:, :2])
    area = float(max(np.prod(box[2:] - box[:2]), 1e-6))
    return float(shared.clip(0).prod(1).max()) / area
