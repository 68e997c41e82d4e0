"""Non-maximum suppression: of boxes that show the same person, the surest stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def suppress(boxes: Floats, scores: Floats, overlap: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression, without a loop over boxes.

    The greedy answer is the only set in which a box is kept exactly when no surer kept box
    overlaps it; starting from "all kept" and applying that rule reaches it in as many steps as the
    longest chain of boxes that each suppress the next.

    Args:
        boxes: (N, 4) x0, y0, x1, y1.
        scores: (N,).
        overlap: boxes with a larger intersection over union are the same person.

    Returns:
        Indices of the kept boxes, surest first.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_boxes = boxes[order]
    clash = np.triu(intersection_over_union(sorted_boxes, sorted_boxes) > overlap, 1)
    kept: npt.NDArray[np.bool_] = np.ones(len(order), np.bool_)
    while True:
        following: npt.NDArray[np.bool_] = np.logical_not((clash & kept[:, None]).any(0))
        if np.array_equal(following, kept):
            return order[kept]
        kept = following


def intersection_over_union(one: Floats, other: Floats) -> Floats:
    """Intersection over union of every box with every other.

    Args:
        one: (N, 4) x0, y0, x1, y1.
        other: (M, 4).

    Returns:
        (N, M).
    """
    # One axis at a time: reductions over an axis of two are slow.
    across, down = (
        np.minimum(one[:, None, axis + 2], other[None, :, axis + 2])
        - np.maximum(one[:, None, axis], other[None, :, axis])
        for axis in (0, 1)
    )
    shared = np.maximum(across, 0) * np.maximum(down, 0)
    areas = [
        np.maximum(b[:, 2] - b[:, 0], 0) * np.maximum(b[:, 3] - b[:, 1], 0) for b in (one, other)
    ]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float32)
