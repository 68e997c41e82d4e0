"""The surest person of a view is the first of all that are found in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.backends.base import DescribedBackend
from engines.backends.torch_backend import TorchBackend
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.operations import Patch
from engines.front_ends.yolo_cpn.person_finder import PersonFinder
from marker_networks import blank_picture, draw_person, marker_detector

Floats = npt.NDArray[np.float32]
SIZES = ((480, 640), (360, 202))


class GivenBoxes(HostOperations):
    """Operations that give boxes in place of the detector's."""

    def __init__(self, boxes: Floats, scores: Floats) -> None:
        super().__init__()
        self.given = boxes, scores

    def detect(self, backend: DescribedBackend, patches: Sequence[Patch]) -> tuple[Floats, Floats]:
        return self.given


@cache
def detector() -> TorchBackend:
    return TorchBackend(marker_detector(), 1)


def assert_same(finder: PersonFinder, images: Sequence[npt.NDArray[np.uint8]]) -> list[int]:
    """Compares both ways; returns how many people are in each view."""
    views = range(len(images))
    everybody, surest = finder.find(images, views), finder.find_surest(images, views)
    for people, person in zip(everybody, surest, strict=True):
        if person is None:
            assert people == []
            continue
        assert person.score == people[0].score
        np.testing.assert_array_equal(person.box, people[0].box)
        np.testing.assert_array_equal(person.region, people[0].region)
    return [len(people) for people in everybody]


# Boxes that overlap, lie beside the picture, or are too small or no box at all; scores that often
# are the same, and also below what counts.
places = st.sampled_from([-200.0, -5.0, 0.0, 60.0, 64.0, 90.0, 200.0, 400.0, np.nan])
extents = st.sampled_from([0.0, 1.0, 3.0, 30.0, 100.0, 104.0, 300.0, np.inf])
boxes = st.tuples(places, places, extents, extents, st.sampled_from([0.1, 0.3, 0.5, 0.9]))


@pytest.mark.filterwarnings("ignore:invalid value")
@given(rows=st.lists(st.lists(boxes, min_size=1, max_size=6), min_size=1, max_size=1))
def test_the_surest_is_the_first_of_all(rows: list[list[tuple[float, ...]]]) -> None:
    given_boxes = np.array(rows * 2, np.float32)  # the same in pictures of two sizes
    operations = GivenBoxes(given_boxes[..., :4], given_boxes[..., 4])
    finder = PersonFinder(detector(), operations, 0.3, 0.45)
    assert_same(finder, [blank_picture(*size) for size in SIZES])


def test_a_surest_box_that_cannot_be_a_person_gives_way_to_the_next() -> None:
    rows = np.array(
        [[[100, 90, 1, 1], [100, 90, 1, 1], [60, 90, 60, 100], [61, 90, 60, 100]]], np.float32
    )
    scores = np.array([[0.9, 0.8, 0.5, 0.6]], np.float32)
    finder = PersonFinder(detector(), GivenBoxes(rows, scores), 0.3, 0.45)
    images = [blank_picture(480, 640)]
    assert assert_same(finder, images) == [1]
    (person,) = finder.find_surest(images, [0])
    assert person is not None and person.score == pytest.approx(0.6)
    nobody = PersonFinder(detector(), GivenBoxes(rows, scores), 0.95, 0.45)
    assert nobody.find_surest(images, [0]) == [None]
    assert finder.find_surest(images, []) == []


def test_the_same_is_found_in_pictures() -> None:
    images = [blank_picture(*size) for size in SIZES]
    draw_person(images[0], 150, 240, 300)
    draw_person(images[0], 450, 240, 300)
    operations = HostOperations()
    operations.take(images)
    counts = assert_same(PersonFinder(detector(), operations, 0.3, 0.45), images)
    assert counts[0] >= 2 and counts[1] == 0
