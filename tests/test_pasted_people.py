"""People laid over each other: pictures, whose pixels are whose, and boxes stay of one mind."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.training.pasted_people import Labelled, paste_person

HEIGHT, WIDTH = 120, 160
ROOM, BLUE, RED = (60, 60, 60), (0, 0, 200), (200, 0, 0)


def pictured(people: list[tuple[int, int, int, int]], colour: tuple[int, int, int]) -> Labelled:
    """Upright ellipses (x, y, half width, half height) in a grey room, the last one in front."""
    picture = np.full((HEIGHT, WIDTH, 3), ROOM, np.uint8)
    owner = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (x, y, wide, tall) in enumerate(people, 1):
        cv2.ellipse(owner, (x, y), (wide, tall), 0, 0, 360, number, -1)
    picture[owner > 0] = colour
    return Labelled(picture, owner)


ellipses = st.tuples(
    st.integers(30, WIDTH - 30),
    st.integers(45, HEIGHT - 45),
    st.integers(9, 20),
    st.integers(20, 40),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ellipses, max_size=3), ellipses, st.integers(0, 10_000))
def test_a_pasted_person_is_where_its_pixels_are(
    there: list[tuple[int, int, int, int]], new: tuple[int, int, int, int], seed: int
) -> None:
    into, source = pictured(there, BLUE), pictured([new], RED)
    before = Labelled(into.picture.copy(), into.owner.copy())
    pasted = paste_person(into, source, np.random.default_rng(seed))
    np.testing.assert_array_equal(into.picture, before.picture)
    np.testing.assert_array_equal(into.owner, before.owner)
    most = int(into.owner.max())
    fresh = pasted.owner == most + 1
    red = pasted.picture[..., 0].astype(int) - pasted.picture[..., 2]
    # Pixels at an edge may be half the room's or somebody else's.
    inner = cv2.erode(fresh.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (red[inner] > 0).all()
    untouched = pasted.owner == into.owner
    assert (untouched | fresh).all(), "nobody but the new one may take a pixel"
    boxes, counts = pasted.people()
    numbers = np.unique(pasted.owner[pasted.owner > 0])
    assert counts.tolist() == [(pasted.owner == number).sum() for number in numbers]
    for (x0, y0, x1, y1), number in zip(boxes.astype(int), numbers, strict=True):
        rows, columns = np.nonzero(pasted.owner == number)
        assert (x0, x1) == (columns.min(), columns.max() + 1)
        assert (y0, y1) == (rows.min(), rows.max() + 1)


def test_people_hide_each_other_from_both_sides() -> None:
    """Before somebody, behind somebody and beside: all of it happens, and often enough."""
    into, source = pictured([(80, 60, 20, 40)], BLUE), pictured([(80, 60, 15, 35)], RED)
    own = int((into.owner == 1).sum())
    before = behind = pasted = 0
    for seed in range(200):
        result = paste_person(into, source, np.random.default_rng(seed))
        counts = np.bincount(result.owner.ravel(), minlength=3)
        pasted += counts[2] > 0
        before += counts[1] < own
        touching = cv2.dilate((result.owner == 2).astype(np.uint8), np.ones((3, 3), np.uint8))
        behind += counts[1] == own and (touching[into.owner == 1] > 0).any()
    assert pasted > 150
    assert before > 30 and behind > 20


def test_half_a_person_is_not_laid_into_the_middle_of_a_room() -> None:
    cut_off = pictured([(5, 60, 20, 40)], RED)
    into = pictured([], BLUE)
    for seed in range(20):
        assert paste_person(into, cut_off, np.random.default_rng(seed)) is into
