"""Trains, exports and evaluates the networks: ``python -m tools.train lifter``."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from engines.errors import UserError
from engines.networks.rig_lifter import RigLifter
from tools.training import parallel
from tools.training.checkpoints import load_checkpoint
from tools.training.lifter_evaluation import evaluate, load_lifter, load_pose_stream, show
from tools.training.lifter_export import export_lifter, stature_in_body_units
from tools.training.lifter_task import LifterPreset, LifterTask
from tools.training.loop import Trainer
from tools.training.mocap import load_mocap
from tools.training.plots import plot_metrics
from tools.training.presets import load_preset

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Train, export and evaluate the networks."""


@app.command()
def lifter(
    mocap: Annotated[
        Path | None,
        typer.Option(envvar="DSVT_MOCAP", help="Motion capture of H36M-17 joints (.npz)."),
    ] = None,
    preset: Annotated[Path, typer.Option(help="Sizes, batch, schedule; YAML.")] = Path(
        "configs/train/lifter.yaml"
    ),
    folder: Annotated[
        Path, typer.Option(help="Checkpoints and the log; a run found there goes on.")
    ] = Path("runs/lifter"),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of this process.")] = 2,
    export: Annotated[
        Path | None,
        typer.Option(help="Do not train: write the run's averaged weights to this folder."),
    ] = None,
    evaluate_weights: Annotated[
        Path | None,
        typer.Option("--evaluate", help="Do not train: measure these weights (.onnx, ...)."),
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Windows of each test.")] = 512,
    report: Annotated[
        Path | None, typer.Option(help="Also write the evaluation to this JSON file.")
    ] = None,
) -> None:
    """Train the rig-agnostic lifter on motion capture seen by random camera rigs.

    With torchrun, several processes train it together: on two CPU cores
    ``torchrun --nproc-per-node 2 -m tools.train lifter --threads 1`` is the fastest.
    """
    try:
        torch.set_num_threads(threads)
        settings = load_preset(preset, LifterPreset)
        if mocap is None:
            raise UserError("mocap: no file given; give --mocap FILE or set DSVT_MOCAP")
        if export is not None and evaluate_weights is not None:
            raise UserError("--export and --evaluate exclude each other; give one of them")
        if export is not None:
            _export_lifter(settings, mocap, folder, export)
        elif evaluate_weights is not None:
            _evaluate_lifter(settings, mocap, evaluate_weights, windows, report)
        else:
            _train_lifter(settings, mocap, folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def _train_lifter(settings: LifterPreset, mocap: Path, folder: Path) -> None:
    parallel.join()
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        trainer = Trainer(LifterTask(settings.task, mocap, device), settings.loop, folder, device)
        if trainer.resume() and parallel.rank() == 0:
            print(f"going on at step {trainer.state.step} of {folder}")
        trainer.run()
        table = folder / "metrics.csv"
        if parallel.rank() == 0 and table.exists():
            plot_metrics(table, folder / "metrics.png")
    finally:
        parallel.leave()


def _export_lifter(settings: LifterPreset, mocap: Path, folder: Path, target: Path) -> None:
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise UserError(f"run: {path} not found; train first, or give the run with --folder")
    content = load_checkpoint(path)
    network = RigLifter(settings.task.network)
    try:
        load_pose_stream(network, content["average"])
        step, seconds = int(content["step"]), float(content["seconds"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"run: {path} is no checkpoint of the preset's network; give its own --preset"
        ) from error
    written = export_lifter(
        network,
        target,
        stature_units=stature_in_body_units(load_mocap(mocap, "train")),
        training={
            "steps": step,
            "minutes": round(seconds / 60, 1),
            "validation_mm": _last_validation(folder / "metrics.csv", step),
        },
    )
    print(f"wrote {written} and the weights beside it (step {step})")


def _last_validation(table: Path, step: int) -> dict[str, float]:
    """The newest validation up to a step: errors in thousandths of a body unit by test."""
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    if not rows:
        return {}
    names = [name for name in rows[-1] if name.endswith(("_mpjpe", "_pa", "_last"))]
    return {name: round(float(rows[-1][name]), 1) for name in names}


def _evaluate_lifter(
    settings: LifterPreset, mocap: Path, weights: Path, windows: int, report: Path | None
) -> None:
    network = load_lifter(weights, settings.task.network)
    held_back = load_mocap(mocap, "test")
    result = evaluate(network, held_back, settings.task.network.frames, windows)
    show(result, Console())
    if report is not None:
        report.write_text(json.dumps(dataclasses.asdict(result), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
