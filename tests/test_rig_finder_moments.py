"""When a rig is looked for, and which moment a person meant by a key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.config import CalibrationConfig
from app.messages import Evidence, ViewEvidence
from app.rig_evidence import PictureSizes
from engines.rig.types import Observation
from tests.finder_runs import (
    START_NS,
    facing,
    saved,
    scene_of,
    start,
    without,
)


def test_what_a_person_did_counts_and_not_where_they_walked_meanwhile() -> None:
    """The key is heard after an estimation, which may take seconds on a busy machine."""
    scene = scene_of(10)
    run = start(scene)
    run.feed(scene.observations()[:240])
    pressed_ns = run.now_ns
    run.feed(scene.observations()[240:])
    run.finder.set_world("front", pressed_ns)
    assert facing(run.rig, scene, scene.joints[237])[1] < -0.97


def test_a_front_leaves_the_level_that_a_person_set() -> None:
    scene = scene_of(20)
    run = start(scene)
    run.feed(scene.observations()[:300])
    run.finder.set_world("level", run.now_ns)
    run.finder.set_world("front", run.now_ns)
    before = run.rig
    run.feed(scene.observations()[300:])
    assert run.finder.update.version > 3 and run.rig is not before
    for old, new in zip(before.cameras, run.rig.cameras, strict=True):
        assert old is not None and new is not None
        tilt = np.degrees(np.arccos(np.clip(old.rotation[:, 2] @ new.rotation[:, 2], -1, 1)))
        assert tilt < 1.0


def test_a_glimpse_and_a_long_pause_do_not_delay_the_first_rig() -> None:
    """Seen for a moment, away for a minute, back, standing about, and only then walking."""
    scene = scene_of(14)
    run = start(scene, calibration=CalibrationConfig())
    observations = scene.observations()
    run.feed(observations[:12])
    nobody = np.zeros_like(observations[0].keypoints)
    run.feed([replace(observations[0], time_s=s, keypoints=nobody) for s in range(1, 60)], 1)
    run.feed([_at(observations[12], 60 + 0.1 * n) for n in range(30)], 1)
    run.feed([_at(o, o.time_s + 63) for o in observations[12:]])
    with_rig = [u for u in run.said if u.rig]
    assert with_rig, run.finder.update.reason
    assert (with_rig[0].at_ns - START_NS) * 1e-9 < 63 + 6


def _at(observation: Observation, time_s: float) -> Observation:
    times = observation.view_times_s + time_s - observation.time_s
    return replace(observation, time_s=time_s, view_times_s=times)


def test_what_was_seen_while_a_camera_was_waited_for_is_used() -> None:
    scene = scene_of(6)
    run = start(scene)
    dead = [without(o, 3) for o in scene.observations()]
    run.feed(dead[:57])
    assert run.finder.keyframes == 0
    run.feed(dead[57:90])
    assert run.finder.keyframes > 12


def test_an_empty_room_costs_no_memory_and_hides_no_beginning() -> None:
    sizes = PictureSizes(2)
    view = ViewEvidence(capture_ns=0, width=640, height=480, keypoints=((0.0, 0.0, 0.9),) * 17)

    def at(second: float, *views: ViewEvidence | None) -> int:
        evidence = Evidence(index=0, time_ns=int(second * 1e9), body_unit_m=1.0, views=views)
        sizes.learn(evidence)
        return len(sizes.wait(evidence))

    assert not any(at(0.1 * n, None, None) for n in range(1000))
    assert not any(at(100 + 0.1 * n, view, None) for n in range(1000))
    assert at(200, view, view) == 101  # the last ten seconds


@pytest.mark.parametrize("step", [3, 10, 15])
def test_a_rig_file_is_taken_however_slow_the_machine(tmp_path: Path, step: int) -> None:
    """Ten, three and two sets a second."""
    scene = scene_of(20)
    run = start(scene, saved(scene, tmp_path / "rig.json"))
    run.feed(scene.observations(), step)
    taken = next((u for u in run.said if u.rig), None)
    assert taken is not None
    assert (taken.at_ns - START_NS) * 1e-9 < 12


def test_front_and_level_hold_from_the_first_rig_on() -> None:
    scene = scene_of(14)
    run = start(scene)
    observations = scene.observations()
    run.feed(observations[:30])
    run.finder.set_world("front", run.now_ns)  # before there is a rig
    wished = scene.joints[27]
    run.feed(observations[30:240])
    before = run.rig
    front = facing(before, scene, wished)
    assert front[1] < -0.97  # towards −y
    run.feed(observations[240:])
    assert run.finder.update.world == 1
    for old, new in zip(before.cameras, run.rig.cameras, strict=True):
        assert old is not None and new is not None
        assert np.linalg.norm(old.position - new.position) < 0.15


def test_a_new_front_turns_the_world_of_a_rig_in_use() -> None:
    scene = scene_of(10)
    run = start(scene)
    run.feed(scene.observations())
    version = run.finder.update.version
    run.finder.set_world("front", run.now_ns)
    assert run.finder.update.version == version + 1 and run.finder.update.world == 1
    assert facing(run.rig, scene, scene.joints[297])[1] < -0.97
