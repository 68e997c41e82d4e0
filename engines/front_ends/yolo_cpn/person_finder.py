"""Stage 1: the detector on whole pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from engines.backends.base import DescribedBackend
from engines.front_ends.base import Image
from engines.front_ends.tracking import Candidate
from engines.front_ends.yolo_cpn.network_facts import check_kind, input_size
from engines.front_ends.yolo_cpn.operations import Floats, Operations, Patch
from engines.front_ends.yolo_cpn.regions import are_plausible, letterbox_region
from engines.front_ends.yolo_cpn.suppression import suppress


class PersonFinder:
    """Letterboxes pictures, detects in all of them at once, and thins out the answers.

    Args:
        backend: runs the detector.
        operations: the steps around it.
        score: least score of a person.
        overlap: boxes that overlap more than this are one person.

    Raises:
        UserError: the network is no detector.
    """

    def __init__(
        self, backend: DescribedBackend, operations: Operations, score: float, overlap: float
    ) -> None:
        check_kind(backend, "detector")
        self._backend = backend
        self._operations = operations
        self._score = score
        self._overlap = overlap
        self._height, self._width = input_size(backend)

    def find(
        self, images: Sequence[Image | None], views: Sequence[int]
    ) -> list[list[Candidate[Floats]]]:
        """Finds the people in some views' pictures, which the operations have taken already.

        Args:
            images: one picture a view.
            views: the views to look at.

        Returns:
            For each of these views the people, surest first.
        """
        return [
            self._people(patch, size, rows, scores)
            for patch, size, rows, scores in self._detected(images, views)
        ]

    def find_surest(
        self, images: Sequence[Image | None], views: Sequence[int]
    ) -> list[Candidate[Floats] | None]:
        """The first of those whom ``find`` finds in each view, or None; it takes less work."""
        return [
            self._surest(patch, size, rows, scores)
            for patch, size, rows, scores in self._detected(images, views)
        ]

    def _detected(
        self, images: Sequence[Image | None], views: Sequence[int]
    ) -> Iterator[tuple[Patch, tuple[int, ...], Floats, Floats]]:
        """What was shown of each view, its picture's size, and the likely boxes with scores."""
        if not views:
            return
        sizes = [cast(Image, images[view]).shape[:2] for view in views]
        patches = [
            Patch(view, letterbox_region(height, width, self._height, self._width))
            for view, (height, width) in zip(views, sizes, strict=True)
        ]
        boxes, scores = self._operations.detect(self._backend, patches)
        for patch, size, rows, row_scores in zip(patches, sizes, boxes, scores, strict=True):
            likely = row_scores >= self._score
            yield patch, size, rows[likely], row_scores[likely]

    def _people(
        self, patch: Patch, size: tuple[int, ...], rows: Floats, scores: Floats
    ) -> list[Candidate[Floats]]:
        placed = self._placed(patch, size, rows)
        kept = suppress(placed, scores, self._overlap)
        return [
            Candidate(placed[index], placed[index], float(scores[index]))
            for index in kept[are_plausible(placed[kept], *size)]
        ]

    def _surest(
        self, patch: Patch, size: tuple[int, ...], rows: Floats, scores: Floats
    ) -> Candidate[Floats] | None:
        if not len(scores):
            return None
        # Nothing suppresses the surest box: unless it cannot be a person's, it is the answer.
        first = int(scores.argmax())
        box = self._placed(patch, size, rows[first : first + 1])
        if are_plausible(box, *size)[0]:
            return Candidate(box[0], box[0], float(scores[first]))
        people = self._people(patch, size, rows, scores)
        return people[0] if people else None

    def _placed(self, patch: Patch, size: tuple[int, ...], rows: Floats) -> Floats:
        """Boxes of the input, (N, 4) as centre and size, as x0, y0, x1, y1 within the picture."""
        height, width = size
        centre, extent = rows[:, :2], rows[:, 2:]
        corners = np.stack((centre - extent / 2, centre + extent / 2), 1).astype(np.float32)
        placed = patch.region.to_picture(corners, self._height, self._width).reshape(-1, 4)
        return np.clip(placed, 0, np.array((width, height, width, height), np.float32))
