"""Reading a view's joints at any instant."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tracks import JointTrack, read_window, to_half_widths, to_pixels, window_times

MS = 1_000_000


def _linear(time_ns: int, speed: np.ndarray) -> np.ndarray:
    joints = np.ones((17, 3), np.float32)
    joints[:, :2] = speed * (time_ns * 1e-9)
    joints[:, 2] = 0.8
    return joints


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(10, 120), min_size=4, max_size=30),
    st.integers(0, 1000),
)
def test_a_joint_in_straight_motion_is_read_exactly(gaps_ms: list[int], seed: int) -> None:
    speed = np.random.default_rng(seed).normal(0, 0.5, (17, 2))
    track = JointTrack(span_s=10)
    times = np.cumsum([0, *gaps_ms]) * MS
    for t in times:
        track.add(int(t), _linear(int(t), speed))
    wanted = np.linspace(times[0], times[-1] + 30 * MS, 27).astype(np.int64)
    out = track.sample(wanted)
    assert (out[..., 2] == np.float32(0.8)).all()
    expected = speed[None] * (wanted * 1e-9)[:, None, None]
    np.testing.assert_allclose(out[..., :2], expected, atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=3, max_size=3), st.integers(0, 2**16))
def test_a_window_read_with_one_more_instant_is_the_same(ahead_ms: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracks = [JointTrack(), JointTrack(), JointTrack()]
    for track in tracks:
        for number in range(20):
            # Not on whole milliseconds: one exactly at a limit may fall on either side of it.
            time = number * 66 * MS + int(rng.integers(-15 * MS, 15 * MS))
            joints = rng.normal(size=(17, 3)).astype(np.float32)
            joints[:, 2] = rng.random(17) > 0.2
            track.add(time, joints)
    times = window_times(1254 * MS, 27, 30.0)
    instants = times[20] + np.array(ahead_ms, np.int64) * MS
    alone, nothing = read_window(tracks, times, None)
    window, own = read_window(tracks, times, instants)
    assert nothing is None and own is not None
    # To float32: with another newest instant the seconds relative to it round otherwise.
    np.testing.assert_allclose(window, alone, atol=1e-4)
    for view, track in enumerate(tracks):
        np.testing.assert_allclose(own[view], track.sample(instants[[view]])[0], atol=1e-4)


def test_far_from_any_sighting_a_joint_is_missing() -> None:
    track = JointTrack()
    track.add(0, _linear(0, np.zeros((17, 2))))
    track.add(1000 * MS, _linear(0, np.zeros((17, 2))))
    out = track.sample(np.array([-100, -20, 20, 500, 980, 1000, 1020, 1100]) * MS)
    known = [False, True, True, False, True, True, True, False]
    assert (out[:, 0, 2] > 0).tolist() == known


def test_one_missing_joint_does_not_touch_the_others() -> None:
    track = JointTrack()
    for k in range(10):
        joints = _linear(k * 33 * MS, np.ones((17, 2)))
        if k == 5:
            joints[3] = 0
        track.add(k * 33 * MS, joints)
    out = track.sample(np.array([5 * 33 * MS]))
    np.testing.assert_allclose(out[0, 3], out[0, 4], atol=1e-5)


def test_an_older_picture_is_ignored() -> None:
    track = JointTrack()
    track.add(100, _linear(0, np.zeros((17, 2))))
    track.add(50, _linear(0, np.ones((17, 2))))
    assert track.newest_ns == 100


def test_window_times_end_at_the_newest() -> None:
    times = window_times(10**15 + 7, 27, 30.0)
    assert times[-1] == 10**15 + 7
    assert np.all(np.abs(np.diff(times) - 1e9 / 30) <= 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(16, 4000), st.integers(16, 4000), st.integers(0, 1000))
def test_units_go_there_and_back(width: int, height: int, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 1, (17, 3)).astype(np.float32)
    points[:, 0] *= width
    points[:, 1] *= height
    back = to_pixels(to_half_widths(points, width, height), width, height)
    np.testing.assert_allclose(back, points, atol=width * 1e-6 + 1e-3)


def test_context_is_that_of_the_nearest_picture() -> None:
    track = JointTrack()
    for k in range(6):
        joints = _linear(k, np.zeros((17, 2)))
        joints[4, 2] = 0.0 if k == 2 else 0.8
        context = None if k == 3 else np.full((17, 2), k + 1, np.float32)
        track.add(k * 100 * MS, joints, context)
    instants = np.array([-201, -199, 0, 49, 51, 199, 310, 500, 699, 701]) * MS
    features, mask = track.sample_context(instants, 2)
    assert mask.tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    # Nothing at 300 ms: 310 is nearer to 400 than to 200.
    assert features[:, 0, 0].tolist() == [0, 1, 1, 1, 2, 3, 5, 6, 6, 0]
    assert features[5, 4].tolist() == [0, 0]  # the joint was missing in that picture
    assert features[4, 4].tolist() == [2, 2]


def test_without_context_everything_is_masked() -> None:
    track = JointTrack()
    track.add(0, _linear(0, np.zeros((17, 2))))
    features, mask = track.sample_context(np.array([0, 10]) * MS, 64)
    assert features.shape == (2, 17, 64)
    assert not features.any() and not mask.any()
    assert not JointTrack().sample_context(np.array([0]), 64)[1].any()
