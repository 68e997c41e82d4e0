"""The estimation as a whole on a made-up walking person: what it finds, and what it says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from engines.errors import UserError
from engines.procrustes import nearest_rotation
from engines.rig.estimator import RigEstimator
from engines.rig.keyframes import KeyframeStore
from engines.rig.rotations import angle_deg
from engines.rig.types import Floats, KnownCamera, Observation, Rig, RigResult
from tests.rig_scenes import STATURE_M, UNIT_M, Scene, SceneOptions, make_scene


def _estimator(scene: Scene, known: list[KnownCamera] | None = None) -> RigEstimator:
    return RigEstimator(scene.ids, scene.sizes, UNIT_M, STATURE_M, known)


def _run(scene: Scene, known: list[KnownCamera] | None = None) -> RigResult:
    estimator = _estimator(scene, known)
    for observation in scene.observations():
        estimator.add(observation)
    return estimator.estimate()


def _errors(rig: Rig, scene: Scene) -> tuple[Floats, Floats, Floats, Floats]:
    """Rotation (degrees), focal (relative), position (m), offset (ms) of the known cameras."""
    index = list(rig.known)
    found = [rig.cameras[i] for i in index]
    rotations = np.stack([c.rotation for c in found if c])
    places = np.stack([c.position for c in found if c])
    true, true_places = scene.rotations[index], scene.positions[index]
    turn = nearest_rotation(np.einsum("vij,vik->jk", rotations, true))
    angles = angle_deg(rotations @ turn @ np.swapaxes(true, 1, 2))
    own, centred = places @ turn, true_places - true_places.mean(0)
    own = own - own.mean(0)
    focal = np.array([c.model.focal for c in found if c]) / scene.focal[index] - 1
    offsets = np.array([c.time_offset_s for c in found if c])
    true_offsets = scene.offsets[index] - scene.offsets[index[0]]
    return (
        angles,
        np.abs(focal),
        np.linalg.norm(own - centred, axis=-1),
        1e3 * np.abs(offsets - true_offsets),
    )


def _assert_right(rig: Rig | None, scene: Scene, cameras: int) -> None:
    assert rig is not None and len(rig.known) == cameras
    angles, focal, places, offsets = _errors(rig, scene)
    assert np.median(angles) < 1.0 and angles.max() < 3.0
    assert np.median(focal) < 0.05 and focal.max() < 0.15
    assert np.median(places) < 0.12 and places.max() < 0.4
    assert np.median(offsets) < 4.0


@pytest.mark.parametrize("seed", [0, 1])
def test_four_cameras_in_ten_seconds(seed: int) -> None:
    scene = make_scene(SceneOptions(seed=seed))
    result = _run(scene)
    _assert_right(result.rig, scene, 4)
    assert result.rig is not None
    assert result.rig.quality == "good" and result.reason == ""
    assert result.rig.expected_error_mm < 40
    assert result.rig.levelled


def test_cameras_and_scale_are_found_from_an_upper_body() -> None:
    """Bones that nobody sees once took up what the others were too short by."""
    scene = make_scene(SceneOptions(seed=1, seconds=12))
    scene.keypoints[:, :, [2, 3, 5, 6]] = 0
    rig = _run(scene).rig
    assert rig is not None and len(rig.known) == 4
    angles, focal, _, _ = _errors(rig, scene)
    assert np.median(angles) < 0.5 and np.median(focal) < 0.03
    apart = [np.linalg.norm(a.position - b.position) for a, b in pairwise(rig.cameras) if a and b]
    true = np.linalg.norm(np.diff(scene.positions, axis=0), axis=-1)
    assert np.mean(apart / true) == pytest.approx(1.0, abs=0.04)
    assert rig.rig_error_mm < 15
    assert not rig.levelled


def test_world_is_level_on_the_floor_and_headed_by_the_first_camera() -> None:
    scene = make_scene(SceneOptions(seed=2))
    rig = _run(scene).rig
    assert rig is not None
    heights = np.array([c.position[2] for c in rig.cameras if c])
    np.testing.assert_allclose(heights, scene.positions[:, 2], atol=0.2)
    first = rig.cameras[0]
    assert first is not None
    forward = first.rotation[2]
    assert abs(forward[0]) < 1e-6 and forward[1] > 0
    assert rig.bone_lengths.sum() == pytest.approx(4.2, abs=0.01)


def test_the_first_camera_heads_the_world_before_its_place_is_known() -> None:
    """Until then the person is shown in its axes, and must not turn when the others are found.

    The answers that tell how it is turned are themselves some degrees wrong.
    """
    scene = make_scene(SceneOptions(seed=2))
    blurred = scene.keypoints.copy()
    rng = np.random.default_rng(0)
    blurred[:, 0, :, :2] += rng.normal(0, 0.12, blurred[:, 0, :, :2].shape)
    answers = scene.observations()
    estimator = _estimator(scene)
    for observation in replace(scene, keypoints=blurred).observations():
        estimator.add(observation)
    rig = estimator.estimate().rig
    assert rig is not None and rig.known == (1, 2, 3)
    rotations = np.stack([c.rotation for c in rig.cameras if c])
    to_world = nearest_rotation(np.einsum("vji,vjk->ik", rotations, scene.rotations[1:]))
    forward = to_world @ scene.rotations[0, 2]
    assert abs(np.degrees(np.arctan2(forward[0], forward[1]))) < 12
    # Found at last, it is where it was thought to look.
    later = _estimator(scene)
    later.pin(rig, False)
    for observation in answers:
        later.add(observation)
    found = later.estimate().rig
    assert found is not None and found.cameras[0] is not None
    forward = found.cameras[0].rotation[2]
    assert abs(np.degrees(np.arctan2(forward[0], forward[1]))) < 12


def test_uncertainties_tell_the_size_of_the_errors() -> None:
    ratios = []
    for seed in (3, 4):
        scene = make_scene(SceneOptions(seed=seed))
        rig = _run(scene).rig
        assert rig is not None
        angles, focal, _, _ = _errors(rig, scene)
        ratios += list(angles / [c.rotation_sigma_deg for c in rig.cameras if c])
        ratios += list(focal / [c.focal_sigma for c in rig.cameras if c])
    assert 0.05 < np.median(ratios) < 2.0
    assert max(ratios) < 6.0


def test_refining_goes_on_and_keeps_the_axes() -> None:
    scene = make_scene(SceneOptions(seed=5, seconds=16))
    estimator = _estimator(scene)
    rigs: list[Rig] = []
    for observation in scene.observations():
        estimator.add(observation)
        if abs(observation.time_s % 4 - 3.9) < 0.02:
            result = estimator.estimate()
            if result.rig is not None:
                rigs.append(result.rig)
    assert len(rigs) >= 3
    _assert_right(rigs[-1], scene, 4)
    for before, after in pairwise(rigs[1:]):
        for a, b in zip(before.cameras, after.cameras, strict=True):
            assert a is not None and b is not None
            assert np.linalg.norm(a.position - b.position) < 0.25
    assert estimator.keyframes <= 80


def test_somebody_who_stands_still_gives_no_rig() -> None:
    result = _run(make_scene(SceneOptions(seed=6, still=True)))
    assert result.rig is None
    assert "stands still" in result.reason


def test_without_the_camera_that_links_them_two_others_are_no_rig() -> None:
    """The first and the last never see the person together, and the one between them rubbish."""
    scene = make_scene(SceneOptions(seed=6, seconds=12))
    rng = np.random.default_rng(0)
    keypoints = scene.keypoints.copy()
    keypoints[:, 3] = 0
    half = len(keypoints) // 2
    keypoints[:half, 2] = 0
    keypoints[half:, 0] = 0
    seen = keypoints[:, 1, :, 2] > 0
    keypoints[:, 1, :, :2] = np.where(seen[..., None], rng.uniform(-0.9, 0.9, (17, 2)), 0)
    result = _run(replace(scene, keypoints=keypoints))
    assert result.rig is None
    assert "often enough at the same time" in result.reason


def test_nobody_in_view() -> None:
    scene = make_scene(SceneOptions(seed=6, seconds=3))
    empty = replace(scene, keypoints=np.zeros_like(scene.keypoints))
    result = _run(empty)
    assert result.rig is None and "nobody was seen" in result.reason


def test_two_cameras_ask_for_more_and_work_with_known_lenses() -> None:
    scene = make_scene(SceneOptions(views=2, fan_deg=80, seed=7))
    result = _run(scene)
    assert result.rig is None
    assert "two cameras tell little" in result.reason
    known = [KnownCamera(focal=float(f)) for f in scene.focal]
    result = _run(scene, known)
    assert result.rig is not None
    angles, _, _, _ = _errors(result.rig, scene)
    assert angles.max() < 2.0


def test_one_camera_says_so() -> None:
    scene = make_scene(SceneOptions(views=1, seconds=6, seed=7))
    result = _run(scene)
    assert result.rig is None and "only one camera sees them" in result.reason


def test_a_wrong_field_of_view_is_noticed_and_corrected() -> None:
    scene = make_scene(SceneOptions(seed=8))
    known = [KnownCamera(focal=float(f)) for f in scene.focal]
    right = _run(scene, known)
    assert right.rig is not None and right.warnings == ()
    known[1] = KnownCamera(focal=float(scene.focal[1] * 1.35))
    wrong = _run(scene, known)
    assert any("cam1" in w and "field of view does not fit" in w for w in wrong.warnings)
    _assert_right(wrong.rig, scene, 4)


def test_fixed_cameras_stay_where_they_are_and_give_the_world() -> None:
    scene = make_scene(SceneOptions(seed=9))
    known = [
        KnownCamera(rotation=scene.rotations[v], position=scene.positions[v])
        if v in (1, 3)
        else KnownCamera()
        for v in range(4)
    ]
    rig = _run(scene, known).rig
    assert rig is not None
    for v, camera in enumerate(rig.cameras):
        assert camera is not None
        if v in (1, 3):
            np.testing.assert_allclose(camera.position, scene.positions[v], atol=1e-9)
            np.testing.assert_allclose(camera.rotation, scene.rotations[v], atol=1e-9)
        else:
            assert np.linalg.norm(camera.position - scene.positions[v]) < 0.25
            assert angle_deg(camera.rotation @ scene.rotations[v].T) < 2.0


def test_half_the_pictures_lost() -> None:
    scene = make_scene(SceneOptions(seed=10))
    lost = np.random.default_rng(0).random(scene.keypoints.shape[:2]) < 0.5
    keypoints = np.where(lost[..., None, None], 0.0, scene.keypoints)
    _assert_right(_run(replace(scene, keypoints=keypoints)).rig, scene, 4)


def test_swapped_sides_in_one_camera_do_no_harm() -> None:
    scene = make_scene(SceneOptions(seed=11))
    keypoints = scene.keypoints.copy()
    order = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
    keypoints[60:150, 2] = keypoints[60:150, 2][:, order]
    _assert_right(_run(replace(scene, keypoints=keypoints)).rig, scene, 4)


def _later(observation: Observation, view: int) -> Observation:
    """The set as if a camera had not been there yet."""
    assert observation.lifted_sigma is not None
    keypoints, sigma = observation.keypoints.copy(), observation.lifted_sigma.copy()
    keypoints[view] = 0.0
    sigma[view] = np.inf
    return replace(observation, keypoints=keypoints, lifted_sigma=sigma)


def test_a_camera_may_join_later() -> None:
    scene = make_scene(SceneOptions(seed=12, seconds=18))
    estimator = _estimator(scene)
    for observation in scene.observations():
        early = observation.time_s < 8
        estimator.add(_later(observation, 3) if early else observation)
        if abs(observation.time_s - 7.9) < 0.01:
            result = estimator.estimate()
            assert result.rig is not None and result.rig.known == (0, 1, 2)
            assert any("cam3" in warning for warning in result.warnings)
    _assert_right(estimator.estimate().rig, scene, 4)


def test_a_moved_camera_is_forgotten_and_found_again() -> None:
    before = make_scene(SceneOptions(seed=13, seconds=20))
    after = make_scene(SceneOptions(seed=14, seconds=20))
    moved = 2
    keypoints = before.keypoints.copy()
    # From half-time on, the camera sees what another one sees.
    other = replace(
        after,
        focal=np.where(np.arange(4) == moved, after.focal, before.focal),
    )
    keypoints[300:, moved] = other.keypoints[300:, moved]
    scene = replace(before, keypoints=keypoints)
    rotations, positions, focal = (
        before.rotations.copy(),
        before.positions.copy(),
        before.focal.copy(),
    )
    rotations[moved], positions[moved] = after.rotations[moved], after.positions[moved]
    focal[moved] = after.focal[moved]
    offsets = before.offsets.copy()
    offsets[moved] = after.offsets[moved]
    now = replace(scene, rotations=rotations, positions=positions, focal=focal, offsets=offsets)
    estimator = _estimator(scene)
    answers_before, answers_now = scene.observations(), now.observations()
    for observation in answers_before[:300]:
        estimator.add(observation)
    assert estimator.estimate().rig is not None
    estimator.forget_view(moved, -np.inf, answers_before[300].time_s)
    result = estimator.estimate()
    assert result.rig is not None and result.rig.known == (0, 1, 3)
    for observation in answers_now[301:]:
        estimator.add(observation)
    _assert_right(estimator.estimate().rig, now, 4)


def test_restart_forgets() -> None:
    scene = make_scene(SceneOptions(seed=0, seconds=6))
    estimator = _estimator(scene)
    for observation in scene.observations():
        estimator.add(observation)
    assert estimator.keyframes > 10
    estimator.restart()
    assert estimator.keyframes == 0 and estimator.estimate().rig is None


def test_kept_instants_are_bounded_and_varied() -> None:
    scene = make_scene(SceneOptions(seed=15, seconds=20))
    store = KeyframeStore(np.full(4, 0.75), capacity=30)
    for observation in scene.observations():
        store.add(observation)
    times = np.array([k.time_s for k in store.keyframes])
    assert len(times) == 30
    # Kept over all the time, not only from the end.
    assert (times < 7).sum() >= 5 and (times > 13).sum() >= 5
    standing = make_scene(SceneOptions(seed=15, seconds=20, still=True))
    store = KeyframeStore(np.full(4, 0.75), capacity=30)
    for observation in standing.observations():
        store.add(observation)
    assert len(store.keyframes) <= 3


def test_sets_out_of_order_are_ignored() -> None:
    scene = make_scene(SceneOptions(seed=16, seconds=4))
    sets = scene.observations()
    store = KeyframeStore(np.full(4, 0.75))
    for observation in sets:
        store.add(observation)
    count = len(store.keyframes)
    for observation in sets:
        assert not store.add(observation)
    assert len(store.keyframes) == count


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (KnownCamera(focal=0.01), "focal length"),
        (KnownCamera(rotation=np.eye(3)), "rotation and position together"),
        (KnownCamera(rotation=2 * np.eye(3), position=np.zeros(3)), "not a rotation matrix"),
    ],
)
def test_impossible_knowledge_is_refused(known: KnownCamera, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RigEstimator(["a"], [(640, 480)], UNIT_M, STATURE_M, [known])


def test_an_impossible_body_height_is_refused() -> None:
    with pytest.raises(UserError, match="body height 170 m"):
        RigEstimator(["a"], [(640, 480)], UNIT_M, 170.0)
