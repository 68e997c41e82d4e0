"""The person's way, level from feet that stand still, and passing from one source to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.rig_use import RigUse, StagedPose
from app.tracks import JointTrack
from engines.rig.bundle import joint_speeds, to_camera
from engines.rig.change_over import ChangeOver, Placed
from engines.rig.projection import project
from engines.rig.trail import Trail
from engines.rig.triangulation import cameras_of
from engines.rig.types import Rig
from engines.rig.unknowns import Measurements, State
from engines.rig.world import find_floor, move_rig
from tests.rig_scenes import STATURE_M, Scene, SceneOptions, make_scene

_NS = 1_000_000_000


def _trail(scene: Scene) -> Trail:
    trail = Trail()
    for observation in scene.observations()[::2]:
        trail.add(observation)
    return trail


def test_the_trail_is_where_the_person_was() -> None:
    scene = make_scene(SceneOptions(seed=4, seconds=6))
    points, speeds = _trail(scene).skeletons(cameras_of(scene.rig()))
    assert len(points) > 60
    # Offsets count from the first camera's clock, as the rig's do.
    nearest = np.linalg.norm(points[:, None, 0] - scene.joints[None, :, 0], axis=-1).min(1)
    assert np.median(nearest) < 0.03
    ankles = np.linalg.norm(speeds[:, [3, 6]], axis=-1)
    true = np.linalg.norm(np.diff(scene.joints[:, [3, 6]], axis=0) * 30, axis=-1)
    assert np.median(ankles) == np.clip(
        np.median(ankles), 0.5 * np.median(true), 1.6 * np.median(true)
    )


def test_an_empty_or_interrupted_trail_has_no_points() -> None:
    scene = make_scene(SceneOptions(seed=4, seconds=3))
    cameras = cameras_of(scene.rig())
    assert len(Trail().skeletons(cameras)[0]) == 0
    trail = Trail()
    for observation in scene.observations()[::20]:
        trail.add(observation)
    assert len(trail.skeletons(cameras)[0]) == 0


def test_speeds_in_the_pictures_give_speeds_in_space() -> None:
    scene = make_scene(SceneOptions(seed=1, seconds=2, k1=0.02))
    now = scene.joints[10:40:5]
    true = (scene.joints[11:41:5] - now) * 30
    later = now + 1e-4 * true
    translations = -np.einsum("vij,vj->vi", scene.rotations, scene.positions)
    state = State(
        scene.rotations,
        translations,
        np.log(scene.focal),
        scene.k1,
        np.zeros(4),
        now,
        np.full(16, 0.26),
    )
    focal, k1 = scene.focal[None, :, None], scene.k1[None, :, None]
    xy = project(to_camera(state), focal, k1)
    speed = (project(to_camera(state.with_points(later)), focal, k1) - xy) / 1e-4
    sigma = np.full(xy.shape[:3], 0.01)
    sigma[:, 0] = np.inf
    found = joint_speeds(state, Measurements(xy, speed, sigma, np.zeros(4)))
    np.testing.assert_allclose(found, true, rtol=0.05, atol=0.06)


def test_feet_that_stand_still_level_the_world_of_someone_who_leans() -> None:
    """Half of the sets show the feet in the air, where they are no floor."""
    rng = np.random.default_rng(0)
    count = 80
    points = np.zeros((count, 17, 3))
    place = np.stack([rng.uniform(-1, 1, count), rng.uniform(-1, 1, count)], -1)
    points[..., :2] = place[:, None]
    lean = 0.14  # metres forward at the head: 5 degrees
    points[:, [0, 1, 4], 2] = 0.95
    points[:, [2, 5], 2] = 0.5
    points[:, [3, 6], 2] = 0.08
    points[:, 8, 2], points[:, 10, 2] = 1.45, 1.7
    points[:, 8, 0] += lean * 0.8
    points[:, 10, 0] += lean
    speeds = np.zeros_like(points)
    swinging = rng.random(count) < 0.5
    points[swinging, 3, 2] += 0.05 + 0.05 * points[swinging, 3, 0]
    speeds[swinging, 3, 0] = 1.5
    up = np.array([0.05, 0.0, 1.0])
    told = find_floor(points, up, STATURE_M, speeds)
    untold = find_floor(points, up, STATURE_M)
    tilt = [np.degrees(np.arccos(floor.up[2])) for floor in (told, untold)]
    assert told.known and tilt[0] < 1.0 and tilt[0] < tilt[1]


def test_motion_is_not_taken_for_a_difference_between_sources() -> None:
    """Two sources that agree: nothing is seen of the change, however fast the person moves."""
    change = ChangeOver()
    for step in range(20):
        time = step / 10
        joints = np.full((17, 3), 1.5 * time)
        pose, before = Placed(joints, None), Placed(np.full((17, 3), 1.5 * (time - 0.1)), None)
        source = "lifter" if step < 10 else "rig"
        shown = change.update(time, source, pose, before if step == 10 else None)
        np.testing.assert_allclose(shown.joints, joints, atol=1e-9)


def _use(scene: Scene, rig: Rig, at: int, turn: float) -> list[float]:
    """Errors of each pose while a rig is taken up: the lifter's answers are turned."""
    use = RigUse()
    tracks = [JointTrack() for _ in scene.focal]
    wrong = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    errors = []
    for row in range(0, len(scene.times), 6):
        time_ns = 10 * _NS + round(float(scene.times[row]) * _NS)
        for v, track in enumerate(tracks):
            track.add(time_ns, scene.keypoints[row, v].astype(np.float32))
        relative = scene.joints[row] - scene.joints[row, 0]
        if row == at:
            use.set_rig(1, 0, rig)
        lifted = np.einsum("vij,pj->vpi", scene.rotations, relative @ wrong.T)
        alone = StagedPose(relative @ wrong.T, np.full(17, 0.05), None, "lifter")
        pose = use.pose(time_ns, alone, tracks, np.full(4, 0.75), lifted, np.full((4, 17), 0.05))
        errors.append(float(np.linalg.norm(pose.joints - relative, axis=-1).mean()))
        assert (pose.root is not None) == (row >= at)
    return errors


def test_taking_up_a_rig_only_makes_poses_better() -> None:
    options = SceneOptions(seed=2, seconds=6, offset_s=0.0, missing=0.0, astray=0.0)
    scene = make_scene(options)
    errors = _use(scene, scene.rig(), at=60, turn=0.12)
    before, during, after = errors[:10], errors[10:15], errors[16:]
    assert max(during) < 1.2 * max(before)
    assert np.mean(after) < 0.6 * np.mean(before)


def test_the_rigs_own_error_is_what_the_fusion_is_told() -> None:
    """A rig that is sure of itself, seen by noisy joints, still prefers what is seen."""
    options = SceneOptions(seed=2, seconds=6, offset_s=0.0, missing=0.0, astray=0.0)
    scene = make_scene(options)
    noisy = replace(scene.rig(), expected_error_mm=60.0, rig_error_mm=3.0)
    sure = replace(scene.rig(), expected_error_mm=20.0, rig_error_mm=3.0)
    a = _use(scene, noisy, at=0, turn=0.12)
    b = _use(scene, sure, at=0, turn=0.12)
    np.testing.assert_allclose(a, b)


def test_a_view_without_a_place_is_turned_as_one_that_has_one() -> None:
    scene = make_scene(SceneOptions(seed=2, seconds=1))
    rig = scene.rig()
    without = replace(rig, cameras=(None, *rig.cameras[1:]))
    to_first = np.einsum("ij,vkj->vik", scene.rotations[0], scene.rotations)
    use = RigUse()
    assert use.to_world(0, to_first) is None
    for known in (rig, without):
        use.set_rig(1, 0, known)
        turn = use.to_world(0, to_first)
        assert turn is not None
        np.testing.assert_allclose(turn, scene.rotations[0].T, atol=1e-9)
    to_first[1:] = np.nan
    assert use.to_world(0, to_first) is None


def test_a_world_that_somebody_turned_is_taken_at_once() -> None:
    scene = make_scene(SceneOptions(seed=2, seconds=2, offset_s=0.0))
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    use = RigUse()
    tracks = [JointTrack() for _ in scene.focal]
    roots = []
    for row in range(0, len(scene.times), 3):
        time_ns = 10 * _NS + round(float(scene.times[row]) * _NS)
        for v, track in enumerate(tracks):
            track.add(time_ns, scene.keypoints[row, v].astype(np.float32))
        world = int(row >= 30)
        rig = move_rig(scene.rig(), quarter, np.zeros(3)) if world else scene.rig()
        use.set_rig(1 + world, world, rig)
        relative = scene.joints[row] - scene.joints[row, 0]
        lifted = np.einsum("vij,pj->vpi", scene.rotations, relative)
        alone = StagedPose(relative, np.full(17, 0.05), None, "lifter")
        pose = use.pose(time_ns, alone, tracks, np.full(4, 0.75), lifted, np.full((4, 17), 0.05))
        assert pose.root is not None
        wanted = scene.joints[row, 0] @ (quarter.T if world else np.eye(3))
        roots.append(np.linalg.norm(pose.root - wanted))
    assert max(roots[2:]) < 0.08
