"""Which rig a run uses: finding, files that fit or do not, moved cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.config import CalibrationConfig
from engines.errors import UserError
from engines.rig.exchange import load_rig
from engines.rig.rig_file import rig_from_json
from engines.rig.rotations import exponential
from engines.rig.types import Observation
from tests.finder_runs import (
    START_NS,
    bumped,
    saved,
    scene_of,
    start,
    turn_between,
    without,
)
from tests.rig_scenes import SceneOptions, make_scene


def test_a_rig_is_found_within_ten_seconds_and_refined() -> None:
    scene = scene_of(14)
    run = start(scene)
    run.feed(scene.observations())
    with_rig = [u for u in run.said if u.rig]
    assert with_rig and (with_rig[0].at_ns - START_NS) * 1e-9 < 10
    assert len({u.version for u in with_rig}) >= 3
    assert run.finder.update.quality == "good" and run.finder.update.reason == ""
    assert max(turn_between(run.rig, scene, 0, v) for v in (1, 2, 3)) < 1.5
    assert not any(u.moved for u in run.said)


def test_a_saved_rig_that_fits_is_used_at_once_and_kept(tmp_path: Path) -> None:
    scene = scene_of(8)
    run = start(scene, saved(scene, tmp_path / "rig.json"))
    run.feed(scene.observations())
    first = next(u for u in run.said if u.rig)
    assert (first.at_ns - START_NS) * 1e-9 < 2.5
    for v, camera in enumerate(run.rig.cameras):
        assert camera is not None
        np.testing.assert_allclose(camera.position, scene.positions[v], atol=1e-6)
    assert run.finder.update.warnings == ()


def test_a_rig_of_another_room_is_never_used(tmp_path: Path) -> None:
    scene, other = scene_of(10), make_scene(SceneOptions(seed=8, seconds=1))
    run = start(scene, saved(other, tmp_path / "rig.json"))
    run.feed(scene.observations())
    told = next(u for u in run.said if u.warnings)
    assert "does not fit what is seen" in told.warnings[0]
    assert not any(u.rig for u in run.said[: run.said.index(told)])
    # It then finds the cameras by itself, and goes on saying what was wrong.
    assert "rig.json" in run.finder.update.warnings[0]
    assert max(turn_between(run.rig, scene, 0, v) for v in (1, 2, 3)) < 2.0


def test_a_rig_file_with_cameras_exchanged_is_told_and_used_in_the_right_order(
    tmp_path: Path,
) -> None:
    scene = scene_of(8)
    rig = scene.rig()
    cameras = list(rig.cameras)
    wrong = [
        replace(camera, id=name)
        for name, camera in zip(scene.ids, [cameras[i] for i in (1, 0, 2, 3)], strict=True)
        if camera is not None
    ]
    path = saved(scene, tmp_path / "rig.json", replace(rig, cameras=tuple(wrong)))
    run = start(scene, path)
    run.feed(scene.observations())
    assert any("exchanged" in w and "cam0 is its cam1" in w for w in run.finder.update.warnings)
    for v, camera in enumerate(run.rig.cameras):
        assert camera is not None
        np.testing.assert_allclose(camera.position, scene.positions[v], atol=1e-6)


def test_a_camera_that_is_not_where_the_file_says_is_left_out_and_found(tmp_path: Path) -> None:
    scene = scene_of(12)
    rig = scene.rig()
    cameras = list(rig.cameras)
    odd = cameras[2]
    assert odd is not None
    cameras[2] = replace(odd, rotation=exponential(np.array([0.1, 0.2, 0.0])) @ odd.rotation)
    path = saved(scene, tmp_path / "rig.json", replace(rig, cameras=tuple(cameras)))
    run = start(scene, path)
    run.feed(scene.observations())
    first = next(u for u in run.said if u.rig)
    assert first.moved == ("cam2",)
    assert rig_from_json(first.rig.encode(), "rig").known == (0, 1, 3)
    assert run.rig.known == (0, 1, 2, 3) and run.finder.update.moved == ()
    assert turn_between(run.rig, scene, 0, 2) < 1.5


def test_a_bumped_camera_is_noticed_left_out_and_found_again(tmp_path: Path) -> None:
    scene = bumped(scene_of(24), 1, 10.0)
    kept = tmp_path / "kept.json"
    run = start(scene, save_to=kept)
    observations = scene.observations()
    until = next(n for n, one in enumerate(observations) if one.time_s > 13.0)
    run.feed(observations[:until])
    assert run.rig.known == (0, 2, 3)
    # Who stops now has packed up, perhaps: the good rig stays in the file.
    run.finder.save()
    assert load_rig(kept)[0].known == (0, 1, 2, 3)
    run.feed(observations[until:])
    assert load_rig(kept)[0].known == (0, 1, 2, 3)
    alarm = next(u for u in run.said if u.moved)
    assert 10.0 < (alarm.at_ns - START_NS) * 1e-9 < 13.0
    assert alarm.moved == ("cam1",) and "left out until it is found again" in alarm.reason
    assert rig_from_json(alarm.rig.encode(), "rig").known == (0, 2, 3)
    assert run.rig.known == (0, 1, 2, 3) and run.finder.update.moved == ()
    assert turn_between(run.rig, scene, 0, 1) < 1.5
    assert {u.moved for u in run.said} == {(), ("cam1",)}


def test_a_rig_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    scene = scene_of(14)
    run = start(scene, save_to=tmp_path / "file" / "rig.json")
    run.feed(scene.observations())
    assert run.rig.known == (0, 1, 2, 3)
    assert any("cannot be written" in line for line in run.finder.update.warnings)
    run.finder.save()  # it is not tried again


def test_recalibrating_forgets_the_rig() -> None:
    scene = scene_of(20)
    run = start(scene)
    observations = scene.observations()
    run.feed(observations[:300])
    assert run.finder.update.rig
    run.finder.restart()
    assert not run.finder.update.rig and run.finder.update.quality == "searching"
    run.feed(observations[300:])
    assert max(turn_between(run.rig, scene, 0, v) for v in (1, 2, 3)) < 2.0


def test_a_camera_with_other_pictures_may_join_later() -> None:
    scene = scene_of(16)
    run = start(scene)
    observations = scene.observations()
    run.feed([without(o, 3) for o in observations[:240]])
    assert run.rig.known == (0, 1, 2)
    # Its pictures turn out to be twice as large: half-width units are the same.
    run.sizes[3] = (1280, 960)
    run.feed(observations[240:])
    late = dict(enumerate(run.rig.cameras))[3]
    assert late is not None
    assert (late.model.width, late.model.height) == (1280, 960)
    assert turn_between(run.rig, scene, 0, 3) < 2.0


def test_fixed_cameras_of_the_configuration_give_the_world(tmp_path: Path) -> None:
    scene = scene_of(10)
    rig = scene.rig()
    two = tuple(c if v < 2 else None for v, c in enumerate(rig.cameras))
    path = saved(scene, tmp_path / "fixed.json", replace(rig, cameras=two))
    run = start(scene, calibration=CalibrationConfig(every_s=3, fixed=path))
    run.feed(scene.observations())
    for v, camera in enumerate(run.rig.cameras):
        assert camera is not None
        atol = 1e-6 if v < 2 else 0.15
        np.testing.assert_allclose(camera.position, scene.positions[v], atol=atol)


def test_a_missing_lens_file_is_one_line(tmp_path: Path) -> None:
    scene = scene_of(1)
    with pytest.raises(UserError, match=r"lenses\.json: no such file"):
        start(scene, calibration=CalibrationConfig(lenses=tmp_path / "lenses.json"))


def _garbage(kind: str, index: int, rng: np.random.Generator) -> Observation:
    """A set in which there is nobody, or nobody whom the views agree on."""
    keypoints = np.full((4, 17, 3), 0.9)
    lifted = rng.normal(0, 0.3, (4, 17, 3))
    if kind == "noise":
        keypoints = rng.uniform(-1, 1, (4, 17, 3))
        keypoints[..., 2] = rng.random((4, 17))
    elif kind == "a point":
        keypoints[..., :2] = rng.normal(0, 1e-9, (4, 17, 2))
    elif kind == "the same view four times":
        keypoints[..., :2] = rng.normal(0, 0.2, (1, 17, 2))
    elif kind == "far outside":
        keypoints[..., :2] = rng.normal(0, 50, (4, 17, 2))
    elif kind == "a line that slides, unlifted":
        keypoints[..., 0] = np.linspace(-0.5, 0.5, 17)
        keypoints[..., 1] = 0.0
        keypoints[..., :2] += 0.4 * np.sin(index / 7)
        lifted[:] = 0.0
    lifted -= lifted[:, :1]
    return Observation(
        0.1 * index, np.full(4, 0.1 * index), keypoints, lifted, np.full((4, 17), 0.05)
    )


@pytest.mark.parametrize(
    "kind",
    ["noise", "a point", "the same view four times", "far outside", "a line that slides, unlifted"],
)
@pytest.mark.filterwarnings("error")
def test_garbage_gives_no_rig_and_says_why(kind: str) -> None:
    rng = np.random.default_rng(0)
    run = start(scene_of(1))
    run.feed([_garbage(kind, index, rng) for index in range(60)], step=1)
    assert not run.finder.update.rig and run.finder.update.quality == "searching"
    assert run.finder.update.reason
