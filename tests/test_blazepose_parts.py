"""The parts of the BlazePose front end that need no network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import UserError
from engines.front_ends.blazepose.detector import anchor_centres, decode, merge_overlapping
from engines.front_ends.blazepose.front_end import BlazePoseFrontEnd
from engines.front_ends.blazepose.landmarks import refine
from engines.front_ends.blazepose.region import Region


def test_without_a_network_the_front_end_that_ships_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"could not be fetched.*kind: yolo_cpn") as refused:
        BlazePoseFrontEnd(1)
    assert "\n" not in str(refused.value)
    assert not list((cache / "weights").glob("*.tflite"))


def test_anchors_cover_the_picture_cell_by_cell() -> None:
    anchors = anchor_centres()
    assert anchors.shape == (2254, 2)
    np.testing.assert_allclose(anchors[:3], [[4 / 224] * 2, [4 / 224] * 2, [12 / 224, 4 / 224]])
    np.testing.assert_allclose(anchors[28 * 28 * 2], [8 / 224] * 2)
    np.testing.assert_allclose(anchors[-6:], [[208 / 224] * 2] * 6)


def test_decoding_places_boxes_and_points_about_their_anchor() -> None:
    raw = np.zeros((1, 12), np.float32)
    raw[0] = [22.4, 0, 44.8, 22.4, 0, 0, 11.2, 0, 0, 11.2, -11.2, -11.2]
    boxes, points = decode(raw, np.array([[0.5, 0.25]], np.float32))
    np.testing.assert_allclose(boxes, [[0.5, 0.2, 0.7, 0.3]], atol=1e-6)
    expected = [[[0.5, 0.25], [0.55, 0.25], [0.5, 0.3], [0.45, 0.2]]]
    np.testing.assert_allclose(points, expected, atol=1e-6)


def test_overlapping_detections_are_merged_by_score() -> None:
    boxes = np.array([[0, 0, 1, 1], [0.1, 0, 1.1, 1], [3, 3, 4, 4]], np.float32)
    points = boxes.reshape(3, 2, 2)
    merged = merge_overlapping(np.array([0.9, 0.3, 0.8]), boxes, points)
    assert [score for score, _, _ in merged] == [0.9, 0.8]
    np.testing.assert_allclose(merged[0][1], [0.025, 0, 1.025, 1], atol=1e-6)
    np.testing.assert_allclose(merged[1][2], points[2])
    assert merge_overlapping(np.zeros(0), boxes[:0], points[:0]) == []


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-100, 700),
    y=st.floats(-100, 700),
    size=st.floats(20, 2000),
    rotation=st.floats(-3.1, 3.1),
)
def test_a_region_maps_its_crop_to_the_picture(
    x: float, y: float, size: float, rotation: float
) -> None:
    region = Region(x, y, size, rotation)
    corners = np.array([[0.5, 0.5], [0.5, 0.0], [1.0, 0.5]])
    centre, top, side = region.to_picture(corners)
    np.testing.assert_allclose(centre, (x, y), atol=1e-2)
    up = np.array([np.sin(rotation), -np.cos(rotation)])
    np.testing.assert_allclose(top - centre, up * size / 2, atol=1e-2)
    assert np.linalg.norm(side - centre) == pytest.approx(size / 2, rel=1e-3)
    # The region of the circle through a point above the hips is the region itself.
    again = Region.around(np.array([x, y]), np.array([x, y]) + up * size / 2, margin=1.0)
    assert again.size == pytest.approx(size, rel=1e-5)
    assert np.cos(again.rotation - rotation) == pytest.approx(1.0, abs=1e-6)


def test_a_crop_shows_what_the_mapping_says() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(image, (230, 120), 6, (255, 255, 255), -1)
    region = Region(200.0, 150.0, 180.0, 0.7)
    crop = region.crop(image, 256)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    seen = np.array([[columns.mean() + 0.5, rows.mean() + 0.5]]) / 256
    np.testing.assert_allclose(region.to_picture(seen)[0], (230.5, 120.5), atol=0.3)


def test_regions_follow_large_changes_whole_and_small_ones_half() -> None:
    here = Region(100, 100, 200, 0.0)
    near = here.eased_to(Region(110, 90, 202, 0.01))
    assert (near.x, near.y) == (110, 90)
    assert 200.9 < near.size < 201.2
    assert 0.0049 < near.rotation < 0.006
    far = here.eased_to(Region(110, 90, 300, -1.0))
    assert far.size == pytest.approx(300)
    assert far.rotation == pytest.approx(-1.0)
    # Turns take the short way round.
    across = Region(0, 0, 100, 3.1).eased_to(Region(0, 0, 100, -3.1))
    assert abs(across.rotation) > 3.0


@pytest.mark.parametrize(
    "region",
    [
        Region(float("nan"), 0, 100, 0),
        Region(320, 240, 5, 0),
        Region(320, 240, 5000, 0),
        Region(-300, 240, 200, 0),
        Region(320, 900, 200, 0),
    ],
)
def test_impossible_regions_are_told(region: Region) -> None:
    assert not region.is_plausible(480, 640)
    assert Region(320, 240, 300, 1.0).is_plausible(480, 640)


def test_refinement_goes_to_the_heat_maps_peak_where_it_is_sure() -> None:
    heatmaps = np.full((64, 64, 2), -20, np.float32)
    heatmaps[30, 40, 0] = heatmaps[30, 41, 0] = 3.0
    heatmaps[30, 40, 1] = -1.0
    places = np.array([[39.2 / 64, 31.5 / 64], [39.2 / 64, 31.5 / 64]], np.float32)
    refined, peaks = refine(places, heatmaps)
    np.testing.assert_allclose(refined[0] * 64, (40.5, 30), atol=1e-3)
    np.testing.assert_array_equal(refined[1], places[1])
    np.testing.assert_allclose(peaks, [0.953, 0.269], atol=1e-3)


def test_refinement_works_at_and_beyond_the_edge() -> None:
    heatmaps = np.full((64, 64, 3), -20, np.float32)
    heatmaps[0, 0, 0] = heatmaps[63, 63, 1] = 5.0
    places = np.array([[0.01, 0.01], [0.99, 0.99], [1.7, -0.8]], np.float32)
    refined, peaks = refine(places, heatmaps)
    expected = np.array([[0, 0], [63, 63], [1.7 * 64, -0.8 * 64]])
    assert np.abs(refined * 64 - expected).max() < 1e-3
    assert peaks[2] < 0.5
