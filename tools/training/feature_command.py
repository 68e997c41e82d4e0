"""``python -m tools.train features``: shows rendered sequences to the 2D pose network, once."""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.errors import UserError
from tools.studio.shards import list_scenes, read_scene, seed_of
from tools.training.feature_pass import FeaturePass
from tools.training.feature_scenes import SPLITS, Making, making_of, save_feature_scene


def features(
    data: Annotated[Path, typer.Option(help="What python -m tools.studio wrote.")],
    out: Annotated[Path, typer.Option(help="Where to; scenes that were made like this are kept.")],
    pose2d: Annotated[
        Path, typer.Option(help="The pose network: an .onnx file, or a folder with pose2d.onnx.")
    ] = Path("weights"),
    unseen_from: Annotated[
        int,
        typer.Option(
            min=0,
            help="Leave out training scenes with a smaller seed than this: those that the pose "
            "network was trained on, where it does better than on anybody else.",
        ),
    ] = 0,
    boards: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of scenes whose person is behind a board."),
    ] = 0.0,
    processes: Annotated[int, typer.Option(min=1, help="So many scenes at once.")] = 2,
) -> None:
    """Find joints and image context in rendered sequences, as the live front end would."""
    try:
        network = pose2d / "pose2d.onnx" if pose2d.is_dir() else pose2d
        if not network.is_file():
            raise UserError(f"pose2d: {network} not found; train it or give its .onnx file")
        wanted = Making(FeaturePass(OnnxRuntimeBackend(network, 1)).digest, boards)
        jobs = [job for job in _jobs(data, out, unseen_from) if making_of(job[1]) != wanted]
        _run(jobs, functools.partial(_see, network, boards), processes)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


Job = tuple[Path, Path]
"""A scene of pictures, and the scene of features to write."""


def _jobs(data: Path, out: Path, unseen_from: int) -> Iterator[Job]:
    found = False
    for split in SPLITS:
        for path in list_scenes(data / split, "crops"):
            if split == "train" and seed_of(path) < unseen_from:
                continue
            found = True
            yield path, out / split / path.name
    if not found:
        raise UserError(
            f"data: no such scenes of crops in {data}; make them with python -m tools.studio"
        )


def _run(jobs: list[Job], see: Callable[[Job], int], processes: int) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    written = 0
    with Progress(*columns) as progress:
        task = progress.add_task("scenes", total=len(jobs))
        for count in _results(jobs, see, processes):
            written += count
            progress.advance(task)
    print(f"wrote {written} scenes of {len(jobs)}; the others are single poses")


def _results(jobs: list[Job], see: Callable[[Job], int], processes: int) -> Iterator[int]:
    """How many scenes each job wrote, as they end."""
    if processes == 1:
        yield from map(see, jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(see, job) for job in jobs]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError("features: a process was killed; run again to go on") from error
        finally:
            for future in waiting:
                future.cancel()


@functools.cache
def _opened(network: Path, boards: float) -> FeaturePass:
    """Opens the network once a process."""
    return FeaturePass(OnnxRuntimeBackend(network, 1), boards)


def _see(network: Path, boards: float, job: Job) -> int:
    source, target = job
    scene = read_scene(source)
    if not scene.sequence:
        return 0
    save_feature_scene(_opened(network, boards).see(scene), target)
    return 1
