"""Rotations, the lens, local fits of 2D joints: against numerical derivatives and inverses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.rig.local_fit import fit_local, person_size
from engines.rig.projection import project, project_with_derivatives, undistort
from engines.rig.rotations import angle_deg, between, exponential, skew
from engines.rig.side_swaps import find_swaps, mend_swaps
from engines.skeleton import MIRROR

finite = st.floats(-3, 3)
vectors = st.tuples(finite, finite, finite).map(np.array)


@given(vectors)
def test_exponential_is_the_rotation_that_opencv_makes(vector: np.ndarray) -> None:
    np.testing.assert_allclose(exponential(vector), cv2.Rodrigues(vector)[0], atol=1e-9)


@given(vectors, vectors)
def test_skew_is_the_cross_product(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(skew(a) @ b, np.cross(a, b), atol=1e-12)


@given(st.floats(0, np.pi), vectors)
def test_angle_is_the_length_of_the_rotation_vector(angle: float, axis: np.ndarray) -> None:
    axis = axis + np.array([4.0, 0, 0])
    rotation = exponential(angle * axis / np.linalg.norm(axis))
    assert float(angle_deg(rotation)) == pytest.approx(np.degrees(angle), abs=1e-5)


@given(vectors, vectors)
def test_between_turns_one_direction_into_the_other(a: np.ndarray, b: np.ndarray) -> None:
    a, b = a + np.array([0.0, 0, 4]), b + np.array([0.0, 4, 0])
    turned = between(a, b) @ a / np.linalg.norm(a)
    np.testing.assert_allclose(turned, b / np.linalg.norm(b), atol=1e-9)


def test_between_opposite_directions() -> None:
    np.testing.assert_allclose(between(np.array([1.0, 0, 0]), np.array([-2.0, 0, 0]))[0, 0], -1)


@settings(max_examples=50)
@given(st.floats(0.6, 4.0), st.floats(-0.12, 0.3), st.floats(-1, 1), st.floats(-0.75, 0.75))
def test_undistorting_undoes_the_lens(focal: float, k1: float, x: float, y: float) -> None:
    limit = 1.0 / focal
    xn = np.array([[x, y]]) * min(limit, 1.2)
    seen = project(np.concatenate([xn, np.ones((1, 1))], -1), focal, k1)
    np.testing.assert_allclose(undistort(seen, focal, k1), xn, atol=1e-8)


def test_the_lens_is_opencvs() -> None:
    points = np.random.default_rng(0).normal([0, 0, 3], [0.5, 0.5, 0.3], (20, 3))
    matrix = np.array([[400.0, 0, 320], [0, 400.0, 240], [0, 0, 1]])
    theirs = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array([-0.1, 0, 0, 0]))
    ours = project(points, 400 / 320, -0.1) * 320 + [320, 240]
    np.testing.assert_allclose(ours, theirs[0][:, 0], atol=1e-9)


def test_derivatives_of_the_projection() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal([0, 0, 3], 0.4, (6, 3))
    focal, k1 = np.full(6, 1.4), np.full(6, -0.07)
    got = project_with_derivatives(points, focal, k1)
    small = 1e-6
    for axis in range(3):
        moved = points.copy()
        moved[:, axis] += small
        slope = (project(moved, focal, k1) - got.xy) / small
        np.testing.assert_allclose(got.by_point[..., axis], slope, atol=1e-5)
    slope = (project(points, focal * np.exp(small), k1) - got.xy) / small
    np.testing.assert_allclose(got.by_log_focal, slope, atol=1e-5)
    slope = (project(points, focal, k1 + small) - got.xy) / small
    np.testing.assert_allclose(got.by_k1, slope, atol=1e-5)


def _track(times: np.ndarray) -> np.ndarray:
    """(W, 17, 3) joints on a parabola, all sure."""
    xy = np.stack([0.2 + 0.9 * times, -0.1 + 2.0 * times**2], -1)
    joints = np.concatenate([xy, np.ones((len(times), 1))], -1)
    return np.repeat(joints[:, None], 17, axis=1)


def test_local_fit_reads_place_and_speed_between_pictures() -> None:
    times = np.arange(-4, 5) / 30 + 0.007
    fit = fit_local(times, _track(times), np.array(1.0))
    np.testing.assert_allclose(fit.xy, np.tile([0.2, -0.1], (17, 1)), atol=2e-3)
    np.testing.assert_allclose(fit.speed, np.tile([0.9, 0.0], (17, 1)), atol=3e-2)
    assert (fit.variance < 0.6).all()


def test_local_fit_shrugs_off_a_stray_picture() -> None:
    times = np.arange(-4, 5) / 30
    track = _track(times)
    track[5, :, :2] += 0.3
    fit = fit_local(times, track, np.array(1.0))
    assert np.abs(fit.xy - [0.2, -0.1]).max() < 0.02


def test_local_fit_with_one_picture_is_that_picture_and_with_none_unknown() -> None:
    times = np.array([0.01, 9.0, 9.0])
    track = _track(np.zeros(3))
    fit = fit_local(times, track, np.array(1.0))
    np.testing.assert_allclose(fit.xy[0], [0.2, -0.1], atol=1e-3)
    track[..., 2] = 0
    fit = fit_local(times, track, np.array(1.0))
    assert np.isinf(fit.variance).all() and (fit.confidence == 0).all()


def test_person_size_needs_five_joints() -> None:
    joints = np.zeros((2, 17, 3))
    joints[:, :, 0] = np.linspace(-1, 1, 17)
    joints[0, :, 2] = 1
    joints[1, :4, 2] = 1
    size = person_size(joints)
    assert 1.7 < size[0] <= 2.0 and np.isnan(size[1])


def test_swapped_sides_are_found_by_group_and_mended() -> None:
    rng = np.random.default_rng(2)
    predicted = rng.normal(0, 0.3, (17, 2))
    seen = np.concatenate([predicted + rng.normal(0, 0.003, (17, 2)), np.ones((17, 1))], -1)
    mirrored = seen[list(MIRROR)]
    legs = seen.copy()
    legs[1:7] = mirrored[1:7]
    swaps = find_swaps(predicted, legs, np.array(0.01))
    assert swaps.tolist() == [True, False]
    np.testing.assert_array_equal(mend_swaps(legs, swaps), seen)
    assert not find_swaps(predicted, seen, np.array(0.01)).any()
