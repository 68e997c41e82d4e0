"""The bundle adjustment: its derivatives, and what it finds from a start that is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.rig.bundle import cost_of, linearise, reprojection
from engines.rig.levenberg import covariance, solve
from engines.rig.priors import Knowledge, make_priors
from engines.rig.projection import project
from engines.rig.rotations import angle_deg, exponential
from engines.rig.types import KnownCamera
from engines.rig.unknowns import Measurements, Priors, State
from engines.skeleton import BONES
from tests.rig_scenes import STATURE_M, UNIT_M, Scene, SceneOptions, make_scene


def _problem(noise: float, seed: int = 0) -> tuple[Scene, State, Measurements, Priors]:
    """A scene's true state, exact or noisy measurements of it, and priors."""
    scene = make_scene(SceneOptions(seconds=6, seed=seed))
    rng = np.random.default_rng(seed)
    picks = np.arange(5, 175, 9)
    points = scene.joints[picks]
    # The adjustment's axes are those of the first camera.
    rotations = scene.rotations @ scene.rotations[0].T
    points = (points - scene.positions[0]) @ scene.rotations[0].T
    places = (scene.positions - scene.positions[0]) @ scene.rotations[0].T
    bones = np.median([np.linalg.norm(points[:, b] - points[:, a], axis=-1) for a, b in BONES], 1)
    state = State(
        rotations=rotations,
        translations=-np.einsum("vij,vj->vi", rotations, places),
        log_focal=np.log(scene.focal),
        k1=scene.k1,
        offsets=scene.offsets - scene.offsets[0],
        points=points,
        bones=bones,
    )
    in_camera = np.einsum("vij,kpj->kvpi", rotations, points) + state.translations[:, None]
    xy = project(in_camera, scene.focal[:, None], scene.k1[:, None])
    speed = rng.normal(0, 0.5, xy.shape)
    late = state.offsets[None, :, None, None]
    xy = xy + late * speed + rng.normal(0, 1, xy.shape) * noise
    sigma = np.full(xy.shape[:3], max(noise, 1e-3))
    sigma[rng.random(sigma.shape) < 0.1] = np.inf
    seen = Measurements(xy, speed, sigma, np.zeros(4))
    knowledge = Knowledge((KnownCamera(),) * 4, np.full(4, 0.75), STATURE_M, UNIT_M)
    priors = make_priors(knowledge, (0, 1, 2, 3), 0)
    return scene, state, seen, replace(priors, bone_sum=float(bones.sum()))


def test_the_true_state_explains_exact_measurements() -> None:
    _, state, seen, _ = _problem(0.0)
    assert np.abs(reprojection(state, seen)).max() < 1e-9


def test_gradient_is_that_of_the_cost() -> None:
    _, state, seen, priors = _problem(0.004)
    rng = np.random.default_rng(5)
    state = state.moved(
        rng.normal(0, 0.01, (4, 9)),
        rng.normal(0, 0.01, 16),
        rng.normal(0, 0.02, state.points.shape),
    )
    normal = linearise(state, seen, priors)
    assert np.isclose(normal.cost, cost_of(state, seen, priors))
    small = 1e-6
    zero_bones, zero_points = np.zeros(16), np.zeros_like(state.points)
    for index in range(36):
        step = np.zeros(36)
        step[index] = small
        ahead = state.moved(step.reshape(4, 9), zero_bones, zero_points)
        back = state.moved(-step.reshape(4, 9), zero_bones, zero_points)
        slope = (cost_of(ahead, seen, priors) - cost_of(back, seen, priors)) / (2 * small)
        scale = max(abs(slope), 1.0)
        assert abs(normal.shared_gradient[index] - slope) < 2e-4 * scale, index
    for k, joint, axis in ((0, 3, 1), (4, 16, 2), (10, 8, 0)):
        points = zero_points.copy()
        points[k, joint, axis] = small
        ahead = state.moved(np.zeros((4, 9)), zero_bones, points)
        back = state.moved(np.zeros((4, 9)), zero_bones, -points)
        slope = (cost_of(ahead, seen, priors) - cost_of(back, seen, priors)) / (2 * small)
        got = normal.point_gradient[k, 3 * joint + axis]
        assert abs(got - slope) < 2e-4 * max(abs(slope), 1.0)
    bones = np.zeros(16)
    bones[5] = small
    ahead = state.moved(np.zeros((4, 9)), bones, zero_points)
    back = state.moved(np.zeros((4, 9)), -bones, zero_points)
    slope = (cost_of(ahead, seen, priors) - cost_of(back, seen, priors)) / (2 * small)
    assert abs(normal.shared_gradient[36 + 5] - slope) < 2e-4 * max(abs(slope), 1.0)


def _disturbed(state: State, priors: Priors, seed: int) -> State:
    """The state with cameras 3 degrees, 10 cm and 15 % of focal length off, joints 5 cm."""
    rng = np.random.default_rng(seed)
    step = np.zeros((4, 9))
    step[:, :3] = rng.normal(0, np.radians(2), (4, 3))
    step[:, 3:6] = rng.normal(0, 0.07, (4, 3))
    step[:, 6] = rng.normal(0, 0.1, 4)
    step = np.where(priors.free, step, 0.0)
    off = state.moved(step, np.zeros(16), rng.normal(0, 0.03, state.points.shape))
    return replace(off, k1=np.zeros(4), offsets=np.zeros(4))


def test_adjustment_finds_cameras_from_noisy_joints() -> None:
    for seed in range(2):
        _, state, seen, priors = _problem(0.003, seed)
        found = solve(_disturbed(state, priors, seed), seen, priors, 60, 1e-7).state
        turn = found.rotations @ np.swapaxes(state.rotations, 1, 2)
        assert angle_deg(turn).max() < 0.7
        assert np.abs(found.log_focal - state.log_focal).max() < 0.05
        assert np.abs(found.positions - state.positions).max() < 0.2
        assert np.abs(found.offsets - state.offsets).max() < 0.004


def test_stray_measurements_do_little_harm() -> None:
    _, state, seen, priors = _problem(0.003)
    rng = np.random.default_rng(9)
    wild = rng.random(seen.sigma.shape) < 0.08
    xy = np.where(wild[..., None], rng.normal(0, 0.4, seen.xy.shape), seen.xy)
    found = solve(_disturbed(state, priors, 0), replace(seen, xy=xy), priors, 60, 1e-7).state
    assert angle_deg(found.rotations @ np.swapaxes(state.rotations, 1, 2)).max() < 0.7


def test_what_is_not_free_stays() -> None:
    _, state, seen, priors = _problem(0.003)
    free = priors.free.copy()
    free[2, :6] = False
    start = _disturbed(state, replace(priors, free=free), 1)
    found = solve(start, seen, replace(priors, free=free), 20).state
    np.testing.assert_array_equal(found.rotations[2], start.rotations[2])
    np.testing.assert_array_equal(found.translations[2], start.translations[2])
    np.testing.assert_allclose(found.rotations[0], np.eye(3), atol=1e-12)


def test_covariance_covers_the_errors() -> None:
    """Errors over repeated noise, in their expected units, are about one."""
    squares = []
    for seed in range(6):
        _, state, seen, priors = _problem(0.003, 0)
        rng = np.random.default_rng(100 + seed)
        noisy = replace(seen, xy=seen.xy + rng.normal(0, 0.003, seen.xy.shape))
        noisy = replace(noisy, sigma=seen.sigma * np.sqrt(2))
        found = solve(state, noisy, priors, 40, 1e-7).state
        sigma = np.sqrt(np.diag(covariance(found, noisy, priors).shared))[:36].reshape(4, 9)
        turn = found.rotations @ np.swapaxes(state.rotations, 1, 2)
        error = np.array([(t - t.T)[[2, 0, 1], [1, 2, 0]] / 2 for t in turn])
        squares.append((error[1:] / sigma[1:, :3]) ** 2)
        squares.append(((found.log_focal - state.log_focal) / sigma[:, 6])[:, None] ** 2)
    mean = np.concatenate([s.ravel() for s in squares]).mean()
    assert 0.3 < mean < 2.5


def test_a_joint_that_nobody_sees_stays_harmless() -> None:
    _, state, seen, priors = _problem(0.003)
    sigma = seen.sigma.copy()
    sigma[:, :, 10] = np.inf
    sigma[3] = np.inf
    found = solve(_disturbed(state, priors, 0), replace(seen, sigma=sigma), priors, 40).state
    assert np.isfinite(found.points).all()
    assert angle_deg(found.rotations @ np.swapaxes(state.rotations, 1, 2)).max() < 1.0


def test_moving_a_state_turns_cameras_from_the_left() -> None:
    _, state, _, _ = _problem(0.0)
    step = np.zeros((4, 9))
    step[1, :3] = [0.0, 0.1, 0.0]
    moved = state.moved(step, np.zeros(16), np.zeros_like(state.points))
    np.testing.assert_allclose(moved.rotations[1], exponential(step[1, :3]) @ state.rotations[1])
    # A camera that turns stays where it is.
    np.testing.assert_allclose(moved.positions, state.positions, atol=1e-12)
