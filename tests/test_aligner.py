"""The aligner on any sequence of stamps."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.aligner import AlignedSet, Aligner, Stamp

MS = 1_000_000
SKEW = 25 * MS
LOST = 250 * MS


def _camera(seed: int, fps: float, seconds: float, jitter_ms: float, drop: float) -> list[Stamp]:
    rng = random.Random(seed)
    period = 1000 / fps
    phase = rng.uniform(0, period)
    times = [
        round((phase + k * period + rng.gauss(0, jitter_ms)) * MS)
        for k in range(int(seconds * fps))
    ]
    return [Stamp(k, t) for k, t in enumerate(sorted(set(times))) if rng.random() >= drop]


def _play(aligner: Aligner, cameras: list[list[Stamp]]) -> list[AlignedSet]:
    events = sorted((stamp.time_ns, v, stamp) for v, c in enumerate(cameras) for stamp in c)
    sets = []
    for _, view, stamp in events:
        aligner.push(view, stamp)
        made = aligner.pop_newest()
        if made is not None:
            sets.append(made)
    return sets


def _check(sets: list[AlignedSet]) -> None:
    for earlier, later in pairwise(sets):
        assert later.time_ns > earlier.time_ns
        assert later.index == earlier.index + 1
        for a, b in zip(earlier.views, later.views, strict=True):
            assert a is None or b is None or b.time_ns > a.time_ns
    for made in sets:
        assert all(s is None or abs(s) <= SKEW for s in made.skews_ns)
        assert any(stamp is not None for stamp in made.views)


rigs = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.sampled_from([3.0, 5.0, 7.5, 10.0, 15.0, 25.0, 30.0, 60.0]),
        st.floats(0, 15),
        st.floats(0, 0.6),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(rigs)
def test_sets_are_ordered_within_skew_and_never_repeat_a_picture(
    rig: list[tuple[int, float, float, float]],
) -> None:
    cameras = [_camera(seed, fps, 3.0, jitter, drop) for seed, fps, jitter, drop in rig]
    _check(_play(Aligner(len(rig), max_skew_ns=SKEW, lost_after_ns=LOST), cameras))


@settings(max_examples=60, deadline=None)
@given(rigs)
def test_offline_sets_hold_the_same_promises_and_end(
    rig: list[tuple[int, float, float, float]],
) -> None:
    cameras = [_camera(seed, fps, 2.0, jitter, drop) for seed, fps, jitter, drop in rig]
    aligner = Aligner(len(rig), max_skew_ns=SKEW, lost_after_ns=LOST, history=None)
    queues = [list(reversed(camera)) for camera in cameras]
    sets: list[AlignedSet] = []
    while not aligner.exhausted:
        view = aligner.starving
        if view is not None:
            if queues[view]:
                aligner.push(view, queues[view].pop())
            else:
                aligner.close(view)
        while (made := aligner.pop_next()) is not None:
            sets.append(made)
    _check(sets)
    if any(cameras):
        assert sets


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=8), st.floats(0, 4))
def test_free_running_cameras_give_full_sets_at_their_rate(
    seeds: list[int], jitter_ms: float
) -> None:
    cameras = [_camera(seed, 30.0, 4.0, jitter_ms, 0.0) for seed in seeds]
    sets = _play(Aligner(len(seeds), max_skew_ns=SKEW, lost_after_ns=LOST), cameras)
    assert len(sets) >= 0.9 * 120
    full = sum(all(stamp is not None for stamp in made.views) for made in sets)
    assert full >= 0.9 * len(sets)


@pytest.mark.parametrize("fps", [2.0, 3.0, 5.0, 6.0, 7.5, 10.0])
@pytest.mark.parametrize("apart", [0.0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("jitter_ms", [0.0, 5.0])
def test_two_slow_cameras_are_both_seen_however_their_clocks_stand(
    fps: float, apart: float, jitter_ms: float
) -> None:
    """Pictures that are too far apart for one set are sets of their own."""
    rng = random.Random(3)
    period = 1000 / fps
    cameras = [
        [
            Stamp(k, round((500 + (k + late) * period + rng.gauss(0, jitter_ms)) * MS))
            for k in range(60)
        ]
        for late in (0.0, apart)
    ]
    sets = _play(Aligner(2, max_skew_ns=40 * MS, lost_after_ns=1000 * MS), cameras)
    for view in range(2):
        seen = sum(made.views[view] is not None for made in sets)
        assert seen >= 50, (view, seen, len(sets))
    together = sum(None not in made.views for made in sets)
    gap_ms = min(apart, 1 - apart) * period
    assert (together >= 50) if gap_ms < 60 else (together <= 30 or gap_ms < 100)


def test_a_slow_camera_does_not_slow_the_others() -> None:
    cameras = [_camera(1, 30, 4, 1, 0), _camera(2, 30, 4, 1, 0), _camera(3, 10, 4, 1, 0)]
    sets = _play(Aligner(3, max_skew_ns=SKEW, lost_after_ns=LOST), cameras)
    assert len(sets) >= 0.9 * 120
    assert sum(made.views[2] is not None for made in sets) >= 0.8 * 40


def test_a_dead_camera_is_none_and_comes_back() -> None:
    cameras = [_camera(k, 30, 6, 2, 0) for k in range(4)]
    cameras[2] = [s for s in cameras[2] if not 2000 * MS <= s.time_ns < 4000 * MS]
    sets = _play(Aligner(4, max_skew_ns=SKEW, lost_after_ns=LOST), cameras)
    gap = [m for m in sets if 2400 * MS < m.time_ns < 3900 * MS]
    after = [m for m in sets if m.time_ns > 4200 * MS]
    assert len(gap) >= 0.9 * 45
    assert all(m.views[2] is None for m in gap)
    assert sum(m.views[2] is not None for m in after) >= 0.9 * len(after)


def test_offline_every_picture_of_the_pacing_view_gives_a_set_also_through_its_gap() -> None:
    cameras = [_camera(k, 30, 4, 0, 0) for k in range(3)]
    cameras[0] = [s for s in cameras[0] if not 1000 * MS <= s.time_ns < 2000 * MS]
    aligner = Aligner(3, max_skew_ns=SKEW, lost_after_ns=LOST, history=None)
    for view, camera in enumerate(cameras):
        for stamp in camera:
            aligner.push(view, stamp)
        aligner.close(view)
    sets = []
    while (made := aligner.pop_next()) is not None:
        sets.append(made)
    assert len(sets) == pytest.approx(120, abs=3)
    used = [made.views[0].key for made in sets if made.views[0] is not None]
    assert used == [stamp.key for stamp in cameras[0]]


def test_a_stamp_that_is_not_newer_is_rejected_and_counted() -> None:
    aligner = Aligner(1, max_skew_ns=SKEW, lost_after_ns=LOST)
    assert aligner.push(0, Stamp(0, 100))
    assert not aligner.push(0, Stamp(1, 100))
    assert not aligner.push(0, Stamp(2, 50))
    assert aligner.rejected == 2


def test_what_can_no_longer_be_used_is_not_kept() -> None:
    aligner = Aligner(2, max_skew_ns=SKEW, lost_after_ns=LOST, history=4)
    for k in range(100):
        aligner.push(0, Stamp(k, k * 33 * MS))
    assert aligner.kept(0) == {96, 97, 98, 99}


def test_a_restarted_view_may_begin_at_an_earlier_time_again() -> None:
    aligner = Aligner(1, max_skew_ns=SKEW, lost_after_ns=LOST)
    aligner.push(0, Stamp(5, 500 * MS))
    aligner.restart(0)
    assert aligner.push(0, Stamp(0, 400 * MS))
