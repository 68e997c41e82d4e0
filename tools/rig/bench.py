"""One calibration of one simulated take, measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.errors import UserError
from engines.lifter import Lifter
from engines.rig.estimator import RigEstimator
from engines.rig.types import Floats, KnownCamera, RigResult
from tools.rig.lifting import lift_take
from tools.rig.measures import JointErrors, RigErrors, joint_errors, rig_errors
from tools.rig.simulation import Take, TakeOptions, simulate, simulated_lifter
from tools.training.mocap import Mocap

STATURE_M: Final = 1.70
_SIMULATED_STATURE_UNITS: Final = 1.83


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What all measurements share."""

    mocap: Mocap
    lifter: Lifter | None

    @property
    def body_unit_m(self) -> float:
        """Metres of one body unit for a person of 1.70 m."""
        units = self.lifter.card.stature_body_units if self.lifter else _SIMULATED_STATURE_UNITS
        return STATURE_M / units

    def take(self, options: TakeOptions, seed: int) -> Take:
        """One simulated take."""
        return simulate(self.mocap, options, seed)

    def lift(self, take: Take, seed: int) -> tuple[Floats, Floats]:
        """The lifter's answers for a take."""
        if self.lifter is None:
            return simulated_lifter(take, seed)
        return lift_take(self.lifter, take.times_s, take.view_times_s, take.keypoints)

    def estimator(self, take: Take, known: list[KnownCamera] | None = None) -> RigEstimator:
        """A new estimator for a take's cameras."""
        count = len(take.cameras)
        sizes = [(640, round(640 * camera.aspect)) for camera in take.cameras]
        return RigEstimator(
            [f"c{i + 1}" for i in range(count)], sizes, self.body_unit_m, STATURE_M, known
        )


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One estimation, measured. Errors are None where there was no rig."""

    seed: int
    result: RigResult
    rig: RigErrors | None
    joints: JointErrors | None
    seconds: float

    @property
    def confident_and_wrong(self) -> bool:
        """A rig that is called good or fair and is far off."""
        if self.rig is None or self.result.rig is None or self.result.rig.quality == "poor":
            return False
        return bool(np.median(self.rig.rotation_deg) > 3 or np.median(self.rig.focal) > 0.15)


def calibrate(
    bench: Bench, take: Take, seed: int, known: list[KnownCamera] | None, joints: bool
) -> Outcome:
    """Estimates once on a whole take."""
    lifted, sigma = bench.lift(take, seed)
    estimator = bench.estimator(take, known)
    for observation in take.observations(lifted, sigma):
        estimator.add(observation)
    began = time.process_time()
    result = estimator.estimate()
    spent = time.process_time() - began
    if result.rig is None:
        return Outcome(seed, result, None, None, spent)
    measured = None
    if joints:
        measured = joint_errors(result.rig, take, lifted, sigma, bench.body_unit_m)
    return Outcome(seed, result, rig_errors(result.rig, take), measured, spent)


def accuracy(bench: Bench, seeds: range) -> dict[str, float]:
    """The first rows of the table: random rigs of four, ten seconds."""
    outcomes = []
    for seed in seeds:
        outcome = calibrate(bench, bench.take(TakeOptions(), seed), seed, None, True)
        outcomes.append(outcome)
        say(outcome)
    found = [o for o in outcomes if o.rig is not None and o.joints is not None]
    if not found:
        raise UserError("no rig was found at all; give more seeds or better weights")
    return summarise(outcomes)


def summarise(outcomes: list[Outcome]) -> dict[str, float]:
    """Medians over cameras, and 90th percentiles over rigs of a rig's own median."""
    rigs = [o.rig for o in outcomes if o.rig is not None]
    joints = [o.joints for o in outcomes if o.joints is not None]
    out: dict[str, float] = {"rigs": len(outcomes), "found": len(rigs)}
    for name in ("rotation_deg", "focal", "position", "offset_ms"):
        values = [getattr(rig, name) for rig in rigs]
        out[f"{name} median"] = float(np.median(np.concatenate(values)))
        per_rig = [float(np.median(v)) for v in values] + [np.inf] * (len(outcomes) - len(rigs))
        out[f"{name} p90 of rigs"] = float(np.sort(per_rig)[int(0.9 * (len(per_rig) - 1))])
    out["tilt_deg median"] = float(np.median([rig.tilt_deg for rig in rigs]))
    if joints:
        ratio = np.array([j.fused_pa / j.true_dlt_pa for j in joints])
        alone = np.array([j.triangulated_pa / j.true_dlt_pa for j in joints])
        out["PA fused mm"] = float(np.median([j.fused_pa for j in joints]))
        out["PA rig alone mm"] = float(np.median([j.triangulated_pa for j in joints]))
        out["PA true DLT mm"] = float(np.median([j.true_dlt_pa for j in joints]))
        out["PA lifter mm"] = float(np.median([j.lifter_pa for j in joints]))
        out["PA ratio fused to true DLT, median"] = float(np.median(ratio))
        out["PA ratio fused to true DLT, largest"] = float(ratio.max())
        out["PA ratio rig alone to true DLT, median"] = float(np.median(alone))
        worse = np.mean([j.fused_pa > j.lifter_pa for j in joints])
        out["share of rigs where fused is worse than the lifter"] = float(worse)
        out["one similarity mm, median"] = float(np.median([j.fused_take for j in joints]))
        out["one similarity mm, p90"] = float(np.percentile([j.fused_take for j in joints], 90))
        out["expected by the system mm, median"] = float(np.median([j.expected for j in joints]))
    out["estimate CPU s, median"] = float(np.median([o.seconds for o in outcomes]))
    out["estimate CPU s, most"] = max(o.seconds for o in outcomes)
    out["confident and wrong"] = sum(o.confident_and_wrong for o in outcomes)
    return out


def say(outcome: Outcome, case: str = "") -> None:
    """Prints one line."""
    head = f"  {case + ', ' if case else ''}seed {outcome.seed}:"
    if outcome.rig is None or outcome.result.rig is None:
        print(f"{head} no rig: {outcome.result.reason}", flush=True)
        return
    e, joints = outcome.rig, outcome.joints
    line = (
        f"{head} {outcome.result.rig.quality}, rotation {np.median(e.rotation_deg):.2f}°, "
        f"focal {100 * np.median(e.focal):.1f} %, position {100 * np.median(e.position):.1f} %, "
        f"tilt {e.tilt_deg:.1f}°"
    )
    if joints is not None:
        line += (
            f", PA {joints.fused_pa:.0f} (rig alone {joints.triangulated_pa:.0f}, true DLT "
            f"{joints.true_dlt_pa:.0f}, lifter {joints.lifter_pa:.0f}), "
            f"take {joints.fused_take:.0f} mm"
        )
    print(line + ("" if not outcome.result.warnings else f" ({outcome.result.warnings[0]})"))
