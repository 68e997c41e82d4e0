"""Which rig a run uses: finding, files that fit or do not, moved cameras, the world's axes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.config import AppConfig, CalibrationConfig, CameraConfig, FrontEndConfig, SyntheticSource
from app.messages import Evidence, RigUpdate, ViewEvidence
from app.rig_evidence import PictureSizes
from app.rig_finder import RigFinder
from engines.errors import UserError
from engines.rig.exchange import load_rig, save_rig
from engines.rig.rig_file import rig_from_json
from engines.rig.rotations import angle_deg, exponential
from engines.rig.types import Observation, Rig
from tests.rig_scenes import STATURE_M, UNIT_M, Scene, SceneOptions, make_scene

START_NS = 10_000_000_000


class Run:
    """A finder fed with a scene, ten sets a second, on the scene's own clock."""

    def __init__(
        self,
        scene: Scene,
        calibration: CalibrationConfig,
        rig: Path | None,
        save_to: Path | None = None,
    ) -> None:
        self.now_ns = START_NS
        self.sizes = scene.sizes
        self.config = AppConfig(
            cameras=[
                CameraConfig(id=name, source=SyntheticSource(kind="synthetic"))
                for name in scene.ids
            ],
            calibration=calibration,
            body_height_m=STATURE_M,
            front_end=FrontEndConfig(kind="yolo_cpn"),
        )
        self.worked_ns = 0
        self.finder = RigFinder(
            self.config, rig, save_to, lambda: self.now_ns, lambda: self.worked_ns
        )
        self.said: list[RigUpdate] = []

    def feed(self, observations: list[Observation], step: int = 3) -> None:
        """Shows it some sets and lets it work whenever it wants to."""
        for observation in observations[::step]:
            self.now_ns = START_NS + round(observation.time_s * 1e9)
            self.finder.add(evidence_of(observation, self.sizes, self.now_ns))
            self.finder.work()
            if not self.said or self.said[-1] is not self.finder.update:
                self.said.append(self.finder.update)

    @property
    def rig(self) -> Rig:
        """The rig in use."""
        return rig_from_json(self.finder.update.rig.encode(), "rig")


def evidence_of(observation: Observation, sizes: list[tuple[int, int]], time_ns: int) -> Evidence:
    """The message that the pipeline would have sent."""
    assert observation.lifted is not None and observation.lifted_sigma is not None
    views: list[ViewEvidence | None] = []
    for v, (width, height) in enumerate(sizes):
        if not (observation.keypoints[v, :, 2] > 0).any():
            views.append(None)
            continue
        views.append(
            ViewEvidence(
                capture_ns=time_ns,
                width=width,
                height=height,
                keypoints=tuple((x, y, c) for x, y, c in observation.keypoints[v].tolist()),
                lifted=tuple((x, y, z) for x, y, z in observation.lifted[v].tolist()),
                sigma=tuple(observation.lifted_sigma[v].tolist()),
            )
        )
    return Evidence(index=0, time_ns=time_ns, body_unit_m=UNIT_M, views=tuple(views))


def start(
    scene: Scene,
    rig: Path | None = None,
    calibration: CalibrationConfig | None = None,
    save_to: Path | None = None,
) -> Run:
    """A run of a scene that has not begun yet."""
    return Run(scene, calibration or CalibrationConfig(every_s=3), rig, save_to)


def bumped(scene: Scene, view: int, from_s: float, turn_deg: float = 6.0) -> Scene:
    """The scene with one camera turned from some moment on."""
    other = make_scene(SceneOptions(seed=3, seconds=float(scene.times[-1]) + 1))
    assert np.array_equal(other.rotations, scene.rotations)
    turn = exponential(np.radians(turn_deg) * np.array([0.5, 0.7, 0.5]))
    rotations = scene.rotations.copy()
    rotations[view] = turn @ rotations[view]
    # A turned camera sees every ray turned: distortion is small enough to be left out here.
    keypoints = scene.keypoints.copy()
    later = scene.times >= from_s
    rays = np.concatenate(
        [keypoints[later, view, :, :2] / scene.focal[view], np.ones((later.sum(), 17, 1))], -1
    )
    rays = rays @ turn.T
    keypoints[later, view, :, :2] = scene.focal[view] * rays[..., :2] / rays[..., 2:]
    return replace(scene, keypoints=keypoints, rotations=rotations)


def scene_of(seconds: float) -> Scene:
    """A scene without distortion or wrong clocks."""
    return make_scene(SceneOptions(seed=3, seconds=seconds, k1=0.0, offset_s=0.0))


def saved(scene: Scene, path: Path, rig: Rig | None = None) -> Path:
    """The scene's true rig as a file."""
    save_rig(rig or scene.rig(), path)
    return path


def turn_between(rig: Rig, scene: Scene, a: int, b: int) -> float:
    """Error of the rotation between two cameras, degrees."""
    first, second = rig.cameras[a], rig.cameras[b]
    assert first is not None and second is not None
    found = first.rotation @ second.rotation.T
    return float(angle_deg(found @ (scene.rotations[a] @ scene.rotations[b].T).T))


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


def test_front_and_level_hold_from_the_first_rig_on() -> None:
    scene = scene_of(14)
    run = start(scene)
    observations = scene.observations()
    run.feed(observations[:30])
    run.finder.set_world("front", run.now_ns)  # before there is a rig
    wished = scene.joints[27]
    run.feed(observations[30:240])
    before = run.rig
    front = _facing(before, scene, wished)
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
    assert _facing(run.rig, scene, scene.joints[297])[1] < -0.97


def test_what_a_person_did_counts_and_not_where_they_walked_meanwhile() -> None:
    """The key is heard after an estimation, which may take seconds on a busy machine."""
    scene = scene_of(10)
    run = start(scene)
    run.feed(scene.observations()[:240])
    pressed_ns = run.now_ns
    run.feed(scene.observations()[240:])
    run.finder.set_world("front", pressed_ns)
    assert _facing(run.rig, scene, scene.joints[237])[1] < -0.97


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
    dead = [_without(o, 3) for o in scene.observations()]
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


def _without(observation: Observation, view: int) -> Observation:
    keypoints = observation.keypoints.copy()
    keypoints[view] = 0.0
    return replace(observation, keypoints=keypoints)


@pytest.mark.parametrize("step", [3, 10, 15])
def test_a_rig_file_is_taken_however_slow_the_machine(tmp_path: Path, step: int) -> None:
    """Ten, three and two sets a second."""
    scene = scene_of(20)
    run = start(scene, saved(scene, tmp_path / "rig.json"))
    run.feed(scene.observations(), step)
    taken = next((u for u in run.said if u.rig), None)
    assert taken is not None
    assert (taken.at_ns - START_NS) * 1e-9 < 12


def _facing(rig: Rig, scene: Scene, joints: np.ndarray) -> np.ndarray:
    """Where the person of the true world faces, in the rig's world."""
    camera = rig.cameras[0]
    assert camera is not None
    turn = camera.rotation.T @ scene.rotations[0]
    left = turn @ (joints[4] - joints[1] + joints[11] - joints[14])
    front = np.cross(left, [0.0, 0, 1.0])
    return np.asarray(front / np.linalg.norm(front))


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
    run.feed([_without(o, 3) for o in observations[:240]])
    assert run.rig.known == (0, 1, 2)
    # Its pictures turn out to be twice as large: half-width units are the same.
    run.sizes[3] = (1280, 960)
    run.feed(observations[240:])
    late = dict(enumerate(run.rig.cameras))[3]
    assert late is not None
    assert (late.model.width, late.model.height) == (1280, 960)
    assert turn_between(run.rig, scene, 0, 3) < 2.0


def _without(observation: Observation, view: int) -> Observation:
    keypoints = observation.keypoints.copy()
    keypoints[view] = 0.0
    return replace(observation, keypoints=keypoints)


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
