"""``python -m tools.train detector`` and ``pose2d``: train, ship and measure the 2D networks."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import torch
import typer
from torch import nn

from engines.errors import UserError
from engines.networks.catalog import build, fill
from engines.networks.engine_network import EngineNetwork
from engines.networks.light_cpn import LightCpnConfig
from engines.shipping import ship_network
from tools.outputs import check_outputs, write_text
from tools.training import parallel
from tools.training.checkpoints import load_checkpoint
from tools.training.detector_evaluation import evaluate_detector
from tools.training.detector_task import DetectorPreset, DetectorTask, fresh_detector
from tools.training.finding_evaluation import evaluate_finding
from tools.training.loop import Task, Trainer, already_begun
from tools.training.loop_config import LoopConfig
from tools.training.metrics_log import last_validation
from tools.training.plots import plot_metrics
from tools.training.pose2d_evaluation import evaluate_pose2d
from tools.training.pose2d_task import Pose2dPreset, Pose2dTask
from tools.training.presets import load_preset

_NOT_VALIDATION: Final = ("step", "minutes", "rate", "loss", "score")

Data = Annotated[
    Path | None,
    typer.Option(envvar="DSVT_SCENES", help="Folder of scenes made with tools.studio data."),
]
Preset = Annotated[Path, typer.Option(help="Sizes, batch, schedule; YAML.")]
Folder = Annotated[Path, typer.Option(help="Checkpoints and the log; a run found there goes on.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of this process.")]
Start = Annotated[
    Path | None,
    # torchrun would take --start for an option of its own.
    typer.Option(
        "--from",
        help="A new run starts from these averaged weights (best.pt); with --export, their mean "
        "with the run's is written.",
    ),
]
Export = Annotated[
    Path | None,
    typer.Option(help="Do not train: write the run's averaged weights to this folder."),
]
Evaluate = Annotated[
    Path | None,
    typer.Option("--evaluate", help="Do not train: measure these weights (.onnx) on the test."),
]
Report = Annotated[Path | None, typer.Option(help="Also write the evaluation to this JSON file.")]


def detector(
    data: Data = None,
    preset: Preset = Path("configs/train/detector.yaml"),
    folder: Folder = Path("runs/detector"),
    threads: Threads = 2,
    start: Start = None,
    export: Export = None,
    evaluate: Evaluate = None,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of the test.")] = 4000,
    with_pose: Annotated[
        Path | None,
        typer.Option(help="With --evaluate: also whom the front end finds with this pose network."),
    ] = None,
    report: Report = None,
) -> None:
    """Train the light person detector on rendered pictures.

    With torchrun, several processes train it together: on two CPU cores
    ``torchrun --nproc-per-node 2 -m tools.train detector --threads 1``.
    """
    with _one_line_errors(threads):
        settings = load_preset(preset, DetectorPreset)
        task = settings.task
        _only_one(export, evaluate)
        if export is not None:
            network = fresh_detector(task.height, task.width)
            _ship(network, folder, start, export, "detector", "light detector")
        elif evaluate is not None:
            check_outputs(report)
            _write(evaluate_detector(evaluate, _given(data), pictures, threads), report)
            if with_pose is not None:
                evaluate_finding(evaluate, with_pose, _given(data), threads)
        else:
            scenes = _given(data)
            _train(lambda device: DetectorTask(task, scenes, device), settings.loop, folder, start)


def pose2d(
    data: Data = None,
    preset: Preset = Path("configs/train/pose2d.yaml"),
    folder: Folder = Path("runs/pose2d"),
    threads: Threads = 2,
    start: Start = None,
    export: Export = None,
    evaluate: Evaluate = None,
    crops: Annotated[int, typer.Option(min=1, help="Crops of the test.")] = 4000,
    boards: Annotated[
        bool, typer.Option("--boards", help="With --evaluate: of people behind boards.")
    ] = False,
    report: Report = None,
) -> None:
    """Train the light CPN on rendered crops of people.

    With torchrun, several processes train it together: on two CPU cores
    ``torchrun --nproc-per-node 2 -m tools.train pose2d --threads 1``.
    """
    with _one_line_errors(threads):
        settings = load_preset(preset, Pose2dPreset)
        task = settings.task
        _only_one(export, evaluate)
        if export is not None:
            network = build("light_cpn", _options(task.network))
            _ship(network, folder, start, export, "pose2d", "light CPN")
        elif evaluate is not None:
            check_outputs(report)
            _write(evaluate_pose2d(evaluate, _given(data), crops, threads, boards), report)
        else:
            scenes = _given(data)
            _train(lambda device: Pose2dTask(task, scenes, device), settings.loop, folder, start)


class _one_line_errors:  # noqa: N801
    """Sets up the process; a mistake of the person who called ends it with one line."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(1)

    def __enter__(self) -> None:
        """Nothing more to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turns a `UserError` into a line and an exit status."""
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from error


def _options(network: LightCpnConfig) -> dict[str, object]:
    """The network's sizes, and what else is not as usual."""
    usual = dataclasses.asdict(LightCpnConfig())
    sizes = ("height", "width")
    return {
        name: value
        for name, value in dataclasses.asdict(network).items()
        if name in sizes or value != usual[name]
    }


def _given(data: Path | None) -> Path:
    if data is None:
        raise UserError("data: no folder given; give --data FOLDER or set DSVT_SCENES")
    return data


def _only_one(export: Path | None, evaluate: Path | None) -> None:
    if export is not None and evaluate is not None:
        raise UserError("--export and --evaluate exclude each other; give one of them")


def _train(
    make: Callable[[torch.device], Task], loop: LoopConfig, folder: Path, start: Path | None
) -> None:
    parallel.join()
    try:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True  # every batch is as large as the one before
        trainer = Trainer(make(device), loop, folder, device)
        resumed = trainer.resume()
        if parallel.rank() == 0 and resumed:
            print(f"going on at step {trainer.state.step} of {folder}", flush=True)
        if start is not None and resumed:
            raise already_begun("--from", folder)
        if start is not None:
            content = load_checkpoint(start)
            fresh = _load(trainer.network, content, start)
            _load(trainer.average, content, start)
            if parallel.rank() == 0 and fresh:
                print(
                    f"{start} lacks {len(fresh)} tensors of this preset; they begin fresh",
                    flush=True,
                )
        trainer.run()
        table = folder / "metrics.csv"
        if parallel.rank() == 0 and table.exists():
            plot_metrics(table, folder / "metrics.png")
    finally:
        parallel.leave()


def _load(network: nn.Module, content: Mapping[str, Any], path: Path) -> list[str]:
    """Takes over averaged weights; names of what they lack and the network keeps fresh."""
    try:
        missing, unknown = network.load_state_dict(content["average"], strict=False)
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise _foreign(path) from error
    if unknown or len(missing) > len(network.state_dict()) / 2:
        raise _foreign(path)
    return list(missing)


def _foreign(path: Path) -> UserError:
    return UserError(f"weights: {path} holds none of the preset's network; give its own --preset")


def _inner(average: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The network proper: detectors train as engines see them, pose networks by themselves."""
    return {name.removeprefix("inner."): value for name, value in average.items()}


def _ship(
    network: EngineNetwork, folder: Path, other: Path | None, target: Path, stem: str, name: str
) -> None:
    """Writes a run's averaged weights, or their mean with other ones.

    The mean of the weights before and after a fine-tuning can do better than either (WiSE-FT:
    Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise UserError(f"run: {path} not found; train first, or give the run with --folder")
    content = load_checkpoint(path)
    average = content.get("average")
    if not isinstance(average, dict):
        raise UserError(f"run: {path} is no checkpoint of this trainer; give another --folder")
    step = int(content["step"])
    training: dict[str, object] = {
        "steps": step,
        "minutes": round(float(content["seconds"]) / 60, 1),
    }
    if other is None:
        training["validation"] = last_validation(
            folder / "metrics.csv", step, lambda name: name not in _NOT_VALIDATION, digits=3
        )
    else:
        average = _mean(average, other)
        # A mean of two was never validated by the run.
        training |= {"validation": {}, "mean_with_start": True}
    fill(network, _inner(average), path)
    written = ship_network(network, target, stem, name=name, training=training)
    print(f"wrote {written} and the weights beside it (step {step})")
    if stem == "pose2d" and (target / "lifter.json").is_file():
        print("the lifter reads its context once told to: python -m tools.train adopt")


def _mean(average: Mapping[str, torch.Tensor], other: Path) -> dict[str, torch.Tensor]:
    second = load_checkpoint(other).get("average")
    sizes = {name: value.shape for name, value in average.items()}
    if not isinstance(second, dict) or sizes != {
        name: getattr(value, "shape", None) for name, value in second.items()
    }:
        raise _foreign(other)
    return {
        name: (value + second[name]) / 2 if value.is_floating_point() else value
        for name, value in average.items()
    }


def _write(result: Any, report: Path | None) -> None:
    if report is not None:
        text = json.dumps(dataclasses.asdict(result), indent=2)
        write_text(report, text + "\n")
