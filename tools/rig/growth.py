"""Errors of self-calibration over seconds of motion and over the number of cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.rig.types import KnownCamera
from tools.rig.bench import Bench, calibrate
from tools.rig.measures import rig_errors
from tools.rig.plots import draw_curve
from tools.rig.simulation import TakeOptions


def over_seconds(bench: Bench, seeds: range, plots: Path | None) -> dict[str, float]:
    """Errors while one take goes on: the estimator keeps what it has and refines."""
    marks = [3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 45.0]
    rows: list[list[tuple[float, float, float]]] = [[] for _ in marks]
    first: list[float] = []
    for seed in seeds:
        take = bench.take(TakeOptions(seconds=marks[-1]), seed)
        lifted, sigma = bench.lift(take, seed)
        estimator = bench.estimator(take)
        usable, mark = np.inf, 0
        next_look = 2.0
        for observation in take.observations(lifted, sigma):
            estimator.add(observation)
            now = observation.time_s
            looking = not np.isfinite(usable) and now >= next_look
            marked = mark < len(marks) and now >= marks[mark] - 0.05
            if not looking and not marked:
                continue
            next_look = now + 1.0
            result = estimator.estimate()
            if result.rig is not None and not np.isfinite(usable):
                usable = now
            if marked:
                if result.rig is not None:
                    errors = rig_errors(result.rig, take)
                    rows[mark].append(
                        (
                            float(np.median(errors.rotation_deg)),
                            float(np.median(errors.focal)),
                            float(np.median(errors.position)),
                        )
                    )
                mark += 1
        first.append(usable)
        print(f"  seed {seed}: first rig after {usable:.0f} s", flush=True)
    out = {"first rig s, median": float(np.median(first)), "first rig s, latest": max(first)}
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for column, name in enumerate(("rotation, degrees", "focal length, %", "position, %")):
        scale = 1.0 if column == 0 else 100.0
        points = []
        for at, row in zip(marks, rows, strict=True):
            if row:
                values = np.array([r[column] for r in row]) * scale
                points.append((at, float(np.median(values)), float(np.percentile(values, 90))))
                out[f"{name} at {at:g} s"] = points[-1][1]
        curves[name] = points
    for at, row in zip(marks, rows, strict=True):
        out[f"rigs at {at:g} s"] = len(row)
    if plots is not None:
        draw_curve(plots / "rig_error_over_seconds.png", "seconds of motion", curves, True)
    return out


def over_cameras(bench: Bench, seeds: range, plots: Path | None) -> dict[str, float]:
    """Errors with three to eight cameras, and two whose fields of view are known."""
    out: dict[str, float] = {}
    curves: dict[str, list[tuple[float, float, float]]] = {
        "rotation, degrees": [],
        "focal length, %": [],
        "position, %": [],
        "joints, one similarity, mm": [],
    }
    for views in range(2, 9):
        outcomes = []
        for seed in seeds:
            take = bench.take(TakeOptions(views=views), seed)
            known = [KnownCamera(focal=c.focal) for c in take.cameras] if views == 2 else None
            outcomes.append(calibrate(bench, take, seed, known, True))
        rigs = [o.rig for o in outcomes if o.rig is not None]
        joints = [o.joints for o in outcomes if o.joints is not None]
        out[f"{views} cameras: rigs found of {len(seeds)}"] = len(rigs)
        if not rigs:
            continue
        table = {
            "rotation, degrees": [float(np.median(r.rotation_deg)) for r in rigs],
            "focal length, %": [100 * float(np.median(r.focal)) for r in rigs],
            "position, %": [100 * float(np.median(r.position)) for r in rigs],
            "joints, one similarity, mm": [j.fused_take for j in joints],
        }
        for name, values in table.items():
            middle, high = float(np.median(values)), float(np.percentile(values, 90))
            curves[name].append((views, middle, high))
            out[f"{views} cameras: {name}"] = middle
        out[f"{views} cameras: estimate CPU s"] = float(np.median([o.seconds for o in outcomes]))
        print(f"  {views} cameras done", flush=True)
    if plots is not None:
        draw_curve(plots / "rig_error_over_cameras.png", "cameras", curves, False)
    return out
