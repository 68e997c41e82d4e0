"""Stage 1: the detector on whole pictures."""

from __future__ import annotations

from collections.abc import Sequence
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
        if not views:
            return []
        sizes = [cast(Image, images[view]).shape[:2] for view in views]
        patches = [
            Patch(view, letterbox_region(height, width, self._height, self._width))
            for view, (height, width) in zip(views, sizes, strict=True)
        ]
        boxes, scores = self._operations.detect(self._backend, patches)
        return [
            self._people(patch, size, rows, row_scores)
            for patch, size, rows, row_scores in zip(patches, sizes, boxes, scores, strict=True)
        ]

    def _people(
        self, patch: Patch, size: tuple[int, ...], rows: Floats, scores: Floats
    ) -> list[Candidate[Floats]]:
        height, width = size
        likely = scores >= self._score
        scores = scores[likely]
        centre, extent = rows[likely, :2], rows[likely, 2:]
        corners = np.stack((centre - extent / 2, centre + extent / 2), 1).astype(np.float32)
        placed = patch.region.to_picture(corners, self._height, self._width).reshape(-1, 4)
        placed = np.clip(placed, 0, np.array((width, height, width, height), np.float32))
        kept = suppress(placed, scores, self._overlap)
        return [
            Candidate(placed[index], placed[index], float(scores[index]))
            for index in kept[are_plausible(placed[kept], height, width)]
        ]
