"""Measures self-calibration on held-back motion seen by random rigs.

``python -m tools.evaluate_rig --mocap FILE --seeds 40`` prints the table of
``docs/self_calibration.md``; ``--plots FOLDER`` draws error over seconds and over cameras.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from engines.errors import UserError
from tools.outputs import check_outputs, write_text
from tools.rig.bench import Bench, accuracy
from tools.rig.faults import bumps, failures
from tools.rig.growth import over_cameras, over_seconds
from tools.rig.lifting import open_lifter
from tools.training.mocap import load_mocap

PARTS = ("accuracy", "seconds", "cameras", "failures", "bump")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.evaluate_rig", description=__doc__)
    parser.add_argument("--mocap", type=Path, required=True, help="motion capture (.npz)")
    parser.add_argument("--weights", type=Path, default=Path("weights/lifter.onnx"))
    parser.add_argument(
        "--simulated-lifter", action="store_true", help="no network: truth with a lifter's errors"
    )
    parser.add_argument("--seeds", type=int, default=20, help="how many takes")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["accuracy"])
    parser.add_argument("--plots", type=Path, help="folder for pictures")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    try:
        figures = _run(args)
        if args.json is not None:
            write_text(args.json, json.dumps(figures, indent=1))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    if args.seeds < 1 or args.first_seed < 0:
        raise UserError("--seeds: give at least 1, and --first-seed at least 0")
    if args.plots is not None and not {"seconds", "cameras"} & set(args.parts):
        raise UserError("--plots: only seconds and cameras are drawn; add --parts seconds cameras")
    check_outputs(args.json, None if args.plots is None else args.plots / "plot.png")
    lifter = None if args.simulated_lifter else open_lifter(args.weights)
    bench = Bench(load_mocap(args.mocap, "test"), lifter)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    if args.plots is not None:
        args.plots.mkdir(parents=True, exist_ok=True)
    print(f"lifter: {lifter.description if lifter else 'simulated'}")
    figures: dict[str, dict[str, float]] = {}
    for part in args.parts:
        print(f"{part} (seeds {seeds.start} to {seeds.stop - 1})", flush=True)
        if part == "accuracy":
            figures[part] = accuracy(bench, seeds)
        elif part == "seconds":
            figures[part] = over_seconds(bench, seeds, args.plots)
        elif part == "cameras":
            figures[part] = over_cameras(bench, seeds, args.plots)
        elif part == "failures":
            figures[part] = failures(bench, seeds)
        else:
            figures[part] = bumps(bench, seeds)
        for name, value in figures[part].items():
            print(f"    {name:55s} {value:10.4g}")
    return figures


if __name__ == "__main__":
    sys.exit(main())
