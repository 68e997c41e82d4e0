"""``python -m tools.train lifter``: trains, ships and measures the rig-agnostic lifter."""

from __future__ import annotations

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
from engines.shipping import ship_lifter
from engines.skeleton import STATURE_BODY_UNITS
from tools.outputs import check_outputs, write_text
from tools.training import parallel
from tools.training.checkpoints import load_checkpoint
from tools.training.feature_scenes import load_feature_scenes
from tools.training.lifter_config import LifterPreset
from tools.training.lifter_evaluation import LifterReport, evaluate, show
from tools.training.lifter_task import LifterTask
from tools.training.lifter_weights import load_lifter, load_pose_stream
from tools.training.loop import Trainer, already_begun
from tools.training.metrics_log import last_validation
from tools.training.mocap import load_mocap
from tools.training.plots import plot_metrics
from tools.training.presets import load_preset
from tools.training.rendered_evaluation import evaluate_rendered
from tools.training.rendered_windows import WindowBank


def lifter(
    mocap: Annotated[
        Path | None,
        typer.Option(envvar="DSVT_MOCAP", help="Motion capture of H36M-17 joints (.npz)."),
    ] = None,
    preset: Annotated[Path, typer.Option(help="Sizes, batch, schedule; YAML.")] = Path(
        "configs/train/lifter.yaml"
    ),
    features: Annotated[
        Path | None,
        typer.Option(
            help="Rendered sequences as the 2D front end saw them (tools.train features); "
            "for the image stream."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="A new run starts from these weights (.safetensors, .pt)."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Checkpoints and the log; a run found there goes on.")
    ] = Path("runs/lifter"),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of this process.")] = 2,
    export: Annotated[
        Path | None,
        typer.Option(help="Do not train: write the run's averaged weights to this folder."),
    ] = None,
    pose_only: Annotated[
        bool, typer.Option("--pose-only", help="With --export: leave the image stream out.")
    ] = False,
    evaluate_weights: Annotated[
        Path | None,
        typer.Option(
            "--evaluate",
            help="Do not train: measure these weights (.onnx, ...) on --mocap, --features or both.",
        ),
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Windows of each test.")] = 512,
    report: Annotated[
        Path | None, typer.Option(help="Also write the evaluation to this JSON file.")
    ] = None,
) -> None:
    """Train the rig-agnostic lifter on motion capture seen by random camera rigs.

    With --features, and a preset that gives them a share, it also trains on rendered sequences,
    with the image stream.

    With torchrun, several processes train it together: on two CPU cores
    ``torchrun --nproc-per-node 2 -m tools.train lifter --threads 1`` is the fastest.
    """
    try:
        torch.set_num_threads(threads)
        settings = load_preset(preset, LifterPreset)
        if export is not None and evaluate_weights is not None:
            raise UserError("--export and --evaluate exclude each other; give one of them")
        if evaluate_weights is not None:
            _evaluate(settings, mocap, features, evaluate_weights, windows, report)
            return
        if export is not None:
            stream = settings.task.rendered.share > 0 and not pose_only
            _export(settings, features, folder, export, stream=stream)
            return
        if mocap is None:
            raise UserError("mocap: no file given; give --mocap FILE or set DSVT_MOCAP")
        _train(settings, mocap, features, start, folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def _train(
    settings: LifterPreset, mocap: Path, features: Path | None, start: Path | None, folder: Path
) -> None:
    parallel.join()
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        task = LifterTask(settings.task, mocap, device, features, start)
        trainer = Trainer(task, settings.loop, folder, device)
        resumed = trainer.resume()
        if resumed and start is not None:
            raise already_begun("--start", folder)
        if resumed and parallel.rank() == 0:
            print(f"going on at step {trainer.state.step} of {folder}")
        trainer.run()
        table = folder / "metrics.csv"
        if parallel.rank() == 0 and table.exists():
            plot_metrics(table, folder / "metrics.png")
    finally:
        parallel.leave()


def _export(
    settings: LifterPreset,
    features: Path | None,
    folder: Path,
    target: Path,
    *,
    stream: bool,
) -> None:
    context_of = None
    if stream:
        if features is None:
            raise UserError("features: give the --features that the run was trained on")
        context_of = load_feature_scenes(features, "validation")[0].digest
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
    written = ship_lifter(
        network,
        target,
        stature_body_units=STATURE_BODY_UNITS,
        training={
            "steps": step,
            "minutes": round(seconds / 60, 1),
            "validation_mm": last_validation(
                folder / "metrics.csv",
                step,
                lambda name: name.endswith(("_mpjpe", "_pa", "_last")),
                digits=1,
            ),
        },
        context_of=context_of,
    )
    print(f"wrote {written} and the weights beside it (step {step})")


def _evaluate(
    settings: LifterPreset,
    mocap: Path | None,
    features: Path | None,
    weights: Path,
    windows: int,
    report: Path | None,
) -> None:
    if mocap is None and features is None:
        raise UserError("nothing to measure on: give --mocap FILE, --features FOLDER or both")
    check_outputs(report)
    frames = settings.task.network.frames
    network = load_lifter(weights, settings.task.network)
    result = LifterReport()
    if mocap is not None:
        result = evaluate(network, load_mocap(mocap, "test"), frames, windows)
    if features is not None:
        bank = WindowBank(load_feature_scenes(features, "test"), frames, torch.device("cpu"))
        rendered = evaluate_rendered(network, bank, windows)
        result = dataclasses.replace(result, rendered=rendered)
    show(result, Console())
    if report is not None:
        write_text(report, json.dumps(dataclasses.asdict(result), indent=2) + "\n")
