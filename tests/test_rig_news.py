"""Refining without end costs nothing while there is nothing new to learn."""

from __future__ import annotations

from dataclasses import replace

from engines.rig.estimator import RigEstimator
from engines.rig.types import Observation
from tests.rig_scenes import STATURE_M, UNIT_M, SceneOptions, make_scene


def _later(observations: list[Observation], seconds: float) -> list[Observation]:
    return [
        replace(o, time_s=o.time_s + seconds, view_times_s=o.view_times_s + seconds)
        for o in observations
    ]


def test_somebody_who_stands_still_is_no_news() -> None:
    scene = make_scene(SceneOptions(seed=5, seconds=7))
    estimator = RigEstimator(scene.ids, scene.sizes, UNIT_M, STATURE_M)
    assert estimator.has_news
    sets = scene.observations()
    for observation in sets:
        estimator.add(observation)
    for _ in range(3):
        result = estimator.estimate()
    assert result.rig is not None and result.rig.quality == "good"
    assert not estimator.has_news
    for n in range(100):  # they stand still for ten seconds
        estimator.add(_later(sets[-1:], 0.1 * (n + 1))[0])
    assert not estimator.has_news
    # The same room, but the person does something else.
    other = make_scene(SceneOptions(seed=6, seconds=7)).observations()
    for observation in _later(other, 20.0):
        estimator.add(observation)
    assert estimator.has_news


def test_a_camera_that_is_forgotten_is_news() -> None:
    scene = make_scene(SceneOptions(seed=5, seconds=12))
    estimator = RigEstimator(scene.ids, scene.sizes, UNIT_M, STATURE_M)
    for observation in scene.observations():
        estimator.add(observation)
    for _ in range(3):
        estimator.estimate()
    assert not estimator.has_news
    estimator.forget_view(1, -1e9)
    assert estimator.has_news
