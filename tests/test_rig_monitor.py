"""Whether a rig still fits: bumped cameras, cameras exchanged, no false alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engines.rig.exchanged import exchanged_cameras
from engines.rig.monitor import RigCheck, RigMonitor, judge
from engines.rig.rotations import exponential
from engines.rig.triangulation import cameras_of
from tests.rig_scenes import Scene, SceneOptions, make_scene, see, walk

_ASPECTS = np.full(4, 0.75)


def _bumped(scene: Scene, view: int, at_s: float, turn_deg: float) -> Scene:
    """The scene with one camera turned and shifted from some moment on."""
    rng = np.random.default_rng(view)
    axis = rng.normal(size=3)
    rotation = exponential(np.radians(turn_deg) * axis / np.linalg.norm(axis))
    options = SceneOptions()
    after = see(
        walk(0.5 + scene.times + scene.offsets[view], options.walk_m),
        rotation @ scene.rotations[view],
        scene.positions[view] + [0.03, -0.02, 0.01],
        float(scene.focal[view]),
        float(scene.k1[view]),
        options,
        rng,
    )
    keypoints = scene.keypoints.copy()
    keypoints[scene.times >= at_s, view] = after[scene.times >= at_s]
    return replace(scene, keypoints=keypoints)


def _watch(scene: Scene, monitor: RigMonitor) -> list[tuple[float, RigCheck]]:
    return [(o.time_s, monitor.observe(o)) for o in scene.observations()[::3]]


@pytest.mark.parametrize("view", [0, 1, 2, 3])
def test_a_bumped_camera_is_noticed_within_three_seconds(view: int) -> None:
    scene = _bumped(make_scene(SceneOptions(seed=view, seconds=9)), view, 5.0, 3.0)
    seen = _watch(scene, RigMonitor(cameras_of(scene.rig()), _ASPECTS))
    assert not any(check.moved or check.lost for time, check in seen if time < 5.0)
    alarms = [(time, check.moved) for time, check in seen if time >= 5.0 and check.moved]
    assert alarms and alarms[0][0] < 8.0
    assert all(moved == (view,) for _, moved in alarms)


def test_a_fitting_rig_raises_no_alarm_for_a_minute() -> None:
    scene = make_scene(SceneOptions(seed=5, seconds=60, noise=0.015))
    seen = _watch(scene, RigMonitor(cameras_of(scene.rig()), _ASPECTS))
    assert not any(check.moved or check.lost for _, check in seen)
    assert all(word == "fits" for word in seen[-1][1].verdicts)


def test_without_a_person_nothing_is_said() -> None:
    scene = make_scene(SceneOptions(seed=5, seconds=3))
    empty = replace(scene, keypoints=np.zeros_like(scene.keypoints))
    seen = _watch(empty, RigMonitor(cameras_of(scene.rig()), _ASPECTS))
    assert seen[-1][1].verdicts == ("unseen",) * 4
    assert not any(check.lost or check.moved for _, check in seen)


def test_two_of_two_cameras_that_no_longer_fit_are_lost() -> None:
    scene = make_scene(SceneOptions(seed=6, seconds=6, views=2, fan_deg=90))
    scene = _bumped(scene, 1, 3.0, 5.0)
    seen = _watch(scene, RigMonitor(cameras_of(scene.rig()), _ASPECTS[:2]))
    assert not any(check.lost for time, check in seen if time < 3.0)
    assert seen[-1][1].lost and seen[-1][1].moved == ()


def test_a_rig_of_another_room_is_lost() -> None:
    scene = make_scene(SceneOptions(seed=7, seconds=4))
    other = make_scene(SceneOptions(seed=8, seconds=4))
    seen = _watch(scene, RigMonitor(cameras_of(other.rig()), _ASPECTS))
    check = seen[-1][1]
    assert check.lost or len(check.moved) >= 2


def test_exchanged_cameras_are_named() -> None:
    scene = make_scene(SceneOptions(seed=9, seconds=4, offset_s=0.0))
    rig = scene.rig()
    sets = scene.keypoints[::6]
    assert exchanged_cameras(cameras_of(rig), sets, _ASPECTS) is None
    order = (2, 1, 0, 3)
    mixed = replace(rig, cameras=tuple(rig.cameras[i] for i in order))
    assert exchanged_cameras(cameras_of(mixed), sets, _ASPECTS) == order


def test_judging_pairs() -> None:
    good, bad = 1.0, 9.0
    ratio = np.full((4, 4), good)
    ratio[2] = ratio[:, 2] = bad
    check = judge(ratio, np.ones(4, bool))
    assert check.verdicts == ("fits", "fits", "moved", "fits") and not check.lost
    # Two pairs that each fit within themselves: nobody knows who moved.
    ratio = np.full((4, 4), bad)
    ratio[0, 1] = ratio[1, 0] = ratio[2, 3] = ratio[3, 2] = good
    assert judge(ratio, np.ones(4, bool)).lost
    # A camera that shares no joints with the others cannot be judged.
    ratio = np.full((3, 3), good)
    ratio[2] = ratio[:, 2] = np.nan
    assert judge(ratio, np.ones(3, bool)).verdicts == ("fits", "fits", "unseen")


def _ratios(pairs: dict[tuple[int, int], float]) -> np.ndarray:
    ratio = np.full((4, 4), 1.0)
    np.fill_diagonal(ratio, np.nan)
    for (a, b), value in pairs.items():
        ratio[a, b] = ratio[b, a] = value
    return ratio


def test_one_poor_pair_tells_nothing_and_most_of_a_cameras_do() -> None:
    known = np.ones(4, bool)
    habit = np.full((4, 4), 0.5)
    assert judge(_ratios({(0, 2): 4.0}), known, habit).moved == ()
    assert judge(_ratios({(0, 2): 1.8, (1, 2): 1.8}), known, habit).moved == (2,)
    assert judge(_ratios({}), known, habit).moved == ()
