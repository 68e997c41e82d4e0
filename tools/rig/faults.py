"""What self-calibration does where it cannot work, and when a camera is knocked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from app.rig_trust import RigWatch
from engines.rig.estimator import RigEstimator
from engines.rig.exchanged import exchanged_cameras
from engines.rig.triangulation import cameras_of
from engines.rig.types import KnownCamera, Observation, Rig
from tools.rig.bench import Bench, calibrate, say
from tools.rig.lifting import resample_views
from tools.rig.measures import rig_errors
from tools.rig.simulation import Bump, Take, TakeOptions


def failures(bench: Bench, seeds: range) -> dict[str, float]:
    """What must not go wrong silently; counts of what happened."""
    cases: dict[str, Callable[[int], tuple[Take, list[KnownCamera] | None]]] = {
        "still person": lambda s: (bench.take(TakeOptions(still=True), s), None),
        "on one spot": lambda s: (bench.take(TakeOptions(spot=True), s), None),
        "two cameras": lambda s: (bench.take(TakeOptions(views=2), s), None),
        "all within 30 degrees": lambda s: (bench.take(TakeOptions(fan_deg=30), s), None),
        "all within 8 degrees": lambda s: (bench.take(TakeOptions(fan_deg=8), s), None),
        "one focal length given 35 % too long": lambda s: _wrong_focal(bench, s, 1.35, 1),
        "all focal lengths given 30 % too long": lambda s: _wrong_focal(bench, s, 1.3, 4),
        "half the pictures lost": lambda s: (_half_lost(bench.take(TakeOptions(), s), s), None),
    }
    out: dict[str, float] = {}
    for name, make in cases.items():
        outcomes = []
        for seed in seeds:
            take, known = make(seed)
            outcomes.append(calibrate(bench, take, seed, known, False))
            say(outcomes[-1], name)
        rigs = [o.rig for o in outcomes if o.rig is not None]
        out[f"{name}: no rig, says why"] = len(outcomes) - len(rigs)
        out[f"{name}: rig"] = len(rigs)
        if rigs:
            out[f"{name}: rotation deg, median"] = float(
                np.median(np.concatenate([r.rotation_deg for r in rigs]))
            )
            out[f"{name}: focal, median"] = float(
                np.median(np.concatenate([r.focal for r in rigs]))
            )
        out[f"{name}: warned"] = sum(bool(o.result.warnings) for o in outcomes)
        out[f"{name}: confident and wrong"] = sum(o.confident_and_wrong for o in outcomes)
    return out


def _wrong_focal(
    bench: Bench, seed: int, factor: float, count: int
) -> tuple[Take, list[KnownCamera]]:
    take = bench.take(TakeOptions(), seed)
    return take, [
        KnownCamera(focal=c.focal * (factor if i < count else 1.0))
        for i, c in enumerate(take.cameras)
    ]


def _half_lost(take: Take, seed: int) -> Take:
    keypoints = take.keypoints.copy()
    keypoints[np.random.default_rng(seed).random(keypoints.shape[:2]) < 0.5] = 0.0
    return replace(take, keypoints=keypoints)


def bumps(bench: Bench, seeds: range) -> dict[str, float]:
    """A camera is knocked 12 s into a take of 30 s; and a rig file with its cameras exchanged."""
    noticed, wrong, back, exchanged, exchanged_of = [], 0, [], 0, 0
    for seed in seeds:
        bump = Bump(view=seed % 4, at_s=12.0)
        take = bench.take(TakeOptions(seconds=30.0, bump=bump), seed)
        lifted, sigma = bench.lift(take, seed)
        sets = take.observations(lifted, sigma)
        estimator = bench.estimator(take)
        before = [o for o in sets if o.time_s < 10.0]
        for observation in before:
            estimator.add(observation)
        result = estimator.estimate()
        if result.rig is None or result.rig.cameras[bump.view] is None:
            print(f"  seed {seed}: no rig before the bump ({result.reason})", flush=True)
            continue
        if _sees(take, bump.view):
            at, false = _watch(result.rig, take, sets, bump)
            noticed.append(at)
            wrong += false
            back.append(_found_again(estimator, sets, bump, at, take))
        if all(result.rig.cameras):
            exchanged_of += 1
            exchanged += _exchange_told(result.rig, take, before)
        last = f"noticed after {noticed[-1]:.1f} s, back: {back[-1]:.1f}°" if noticed else ""
        print(f"  seed {seed}: {last}", flush=True)
    inside = [n for n in noticed if n <= 3.0]
    return {
        "bumped cameras": len(noticed),
        "noticed within 3 s": len(inside),
        "noticed after s, median": float(np.median(noticed)),
        "sets wrongly called moved": wrong,
        "found again": int(np.isfinite(back).sum()),
        "found again, rotation error deg, median": float(np.median(back)),
        "exchanged cameras told": exchanged,
        "exchanged cameras tried": exchanged_of,
    }


def _sees(take: Take, view: int) -> bool:
    """Whether a camera sees the person for most of the three seconds after the bump."""
    rows = (take.times_s > 12.0) & (take.times_s < 15.0)
    return bool(((take.keypoints[rows, view, :, 2] > 0.3).sum(-1) >= 8).mean() > 0.5)


def _watch(rig: Rig, take: Take, sets: list[Observation], bump: Bump) -> tuple[float, int]:
    """Seconds until the bump is noticed (infinite: never), and false alarms before it."""
    aspects = np.array([c.aspect for c in take.cameras])
    before = [o for o in sets if o.time_s < bump.at_s - 2]
    watch = RigWatch(cameras_of(rig), aspects, before[-180::3])
    false = 0
    for observation in [o for o in sets if o.time_s >= bump.at_s - 2][::3]:
        moved = watch.look(observation)
        if moved is not None and observation.time_s < bump.at_s:
            false += 1
        elif moved is not None and bump.view in moved:
            return observation.time_s - bump.at_s, false
    return np.inf, false


def _found_again(
    estimator: RigEstimator, sets: list[Observation], bump: Bump, after: float, take: Take
) -> float:
    """Rotation error of the bumped camera at the end of the take; infinite if not found."""
    if not np.isfinite(after):
        return np.inf
    told = bump.at_s + after
    done = False
    for observation in sets:
        if observation.time_s < 10.0:
            continue
        estimator.add(observation)
        if not done and observation.time_s >= told:
            estimator.forget_view(bump.view, -np.inf, told)
            done = True
    result = estimator.estimate()
    if result.rig is None or result.rig.cameras[bump.view] is None:
        return np.inf
    errors = rig_errors(result.rig, take)
    return float(errors.rotation_deg[result.rig.known.index(bump.view)])


def _exchange_told(rig: Rig, take: Take, sets: list[Observation]) -> bool:
    """Whether a rig file with its first two cameras exchanged is told for what it is."""
    order = [1, 0, *range(2, len(rig.cameras))]
    swapped = replace(rig, cameras=tuple(rig.cameras[i] for i in order))
    aspects = np.array([c.aspect for c in take.cameras])
    times = np.array([o.time_s for o in sets[60::9]])
    seen = resample_views(take.view_times_s, take.keypoints, times)
    return exchanged_cameras(cameras_of(swapped), seen, aspects) == tuple(order)
