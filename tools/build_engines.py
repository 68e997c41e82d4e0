"""``python -m tools.build_engines``: makes the engines that a configuration needs, before it runs.

Networks are exported as ONNX where only their weights are there; where TensorRT can run, an engine
is built from each, timed and kept. The live application then starts at once.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.config import AppConfig, load_config
from engines.backends.base import DescribedBackend
from engines.backends.device import find_gpu, tensorrt_obstacle
from engines.backends.select import EngineName, open_backend
from engines.backends.tensorrt_runtime import read_network
from engines.backends.validation import zeros_for
from engines.errors import UserError
from engines.front_ends.factory import network_file
from engines.model_files import SOURCE_KEY, Precision, export_of, find_model
from tools.weights_registry import sha256_of

_RUNS = 10


@dataclass(frozen=True, slots=True)
class Prepared:
    """One network, ready to run.

    Attributes:
        name: as the configuration names it.
        onnx: its exported file.
        done: what was done to make it ready.
        provider: which engine runs it.
        milliseconds: median of a run with four views.
    """

    name: str
    onnx: Path
    done: str
    provider: str
    milliseconds: float


def main(
    config: Annotated[
        Path | None, typer.Option("--config", help="A configuration of the live application.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", help="A network by name or file; may be given several times."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", help="fp16 or fp32; the configuration's, or fp16.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there.")] = False,
) -> None:
    """Export networks, build their TensorRT engines where there is a GPU, and time them."""
    if precision not in (None, "fp16", "fp32"):
        raise UserError(f"--precision must be fp16 or fp32, not {precision}")
    if config is None and not network:
        raise UserError("say what to build: --config FILE or --network NAME")
    engine: EngineName = "auto"
    names = list(network or [])
    if config is not None:
        settings = load_config(config)
        engine = settings.engine
        precision = precision or settings.precision
        names += networks_of(settings)
    wanted: Precision = "fp32" if precision == "fp32" else "fp16"
    obstacle = tensorrt_obstacle()
    if engine == "tensorrt" and obstacle is not None:
        raise UserError(f"the configuration asks for engine tensorrt, but there is {obstacle}")
    console = Console(highlight=False, soft_wrap=True)
    if obstacle is not None:
        if find_gpu() is None:  # half precision pays there; a CPU only converts it back
            wanted = "fp32"
        console.print(
            f"TensorRT cannot run here ({obstacle}): nothing to build; the networks are exported "
            "for the other engines",
            markup=False,
        )
    prepared = prepare(names, wanted, engine, obstacle is None, force)
    table = Table("network", "ready", "engine", "ms for 4 views")
    for item in prepared:
        table.add_row(item.name, item.done, item.provider, f"{item.milliseconds:.1f}")
    Console().print(table)


def networks_of(config: AppConfig) -> list[str]:
    """The networks that a configuration runs on an engine, by name or file."""
    names: list[str] = []
    front_end = config.front_end
    if front_end.kind == "yolo_cpn":
        names.append(str(network_file(front_end.detector, "detector")))
        names.append(str(network_file(front_end.pose, "pose2d")))
    names.append(str(config.lifter.weights))
    return names


def prepare(
    names: Sequence[str], precision: Precision, engine: EngineName, build: bool, force: bool
) -> list[Prepared]:
    """Exports, builds and times networks, with a progress line.

    Args:
        names: networks by name or file.
        precision: of the engines.
        engine: what shall run them.
        build: whether TensorRT engines are built.
        force: build also what is there.

    Raises:
        UserError: a network is missing or cannot be built.
    """
    prepared: list[Prepared] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in names:
            task = progress.add_task(name, total=1.0)
            path, exported = exported_file(name, precision)
            done = "exported" if exported else "as it is"
            if build:
                from engines.backends.tensorrt_build import build_engine

                def show(phase: str, share: float, task: object = task, name: str = name) -> None:
                    progress.update(
                        task,  # type: ignore[arg-type]  # an int by another name
                        description=f"{name}: {phase[:40]}",
                        completed=share,
                    )

                start = time.perf_counter()
                built = build_engine(export_of(path, precision), show, force)
                seconds = time.perf_counter() - start
                done = f"built in {seconds:.0f} s" if built.built else "built before"
                done += f", {built.megabytes:.0f} MB"
            progress.update(task, description=f"{name}: timing")
            backend = open_backend(path, engine, None, precision)
            milliseconds = _time(backend)
            prepared.append(Prepared(name, path, done, backend.provider, milliseconds))
            backend.close()
            progress.update(task, description=name, completed=1.0)
    return prepared


def exported_file(name: str, precision: Precision) -> tuple[Path, bool]:
    """The ONNX file of a network; what there is not of it, or only of an older one, is made.

    Where only weights are there, it is exported beside them; the half-precision export lies where
    ``engines.model_files.export_of`` says. An export is made again where it says that it was made
    from another file than the one that is there; what says nothing, as what ships, stays.

    Args:
        name: of the network, or a file.
        precision: which export must be there, besides that in single precision.

    Returns:
        The single-precision file, and whether anything had to be made.

    Raises:
        UserError: there is no such network, or it cannot be exported or written.
    """
    found = find_model(name)
    path, weights = found.with_suffix(".onnx"), found.with_suffix(".safetensors")
    made = False
    if not path.is_file() or _is_stale(path, weights):
        from engines.export import export_onnx  # torch takes seconds to import
        from engines.networks.catalog import load_network

        export_onnx(load_network(weights), path, source=weights)
        made = True
    half = export_of(path, precision)
    if half != path and (not half.is_file() or _is_stale(half, path)):
        from engines.export import export_half

        try:
            half.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {half.parent}: {error.strerror}") from error
        export_half(path, half)
        made = True
    return path, made


def _is_stale(export: Path, source: Path) -> bool:
    """Whether an export says that it was made from another file than the one that is there."""
    if not source.is_file():
        return False
    made_from = read_network(export)[1].get(SOURCE_KEY)
    return made_from is not None and made_from != sha256_of(source)


def _time(backend: DescribedBackend) -> float:
    """Milliseconds of a run with four views (and one window), after a first run."""
    shapes = {
        # A window comes first in every free shape that has one; live there is one window.
        spec.name: tuple(
            size if size is not None else (1 if axis == 0 and spec.shape.count(None) > 1 else 4)
            for axis, size in enumerate(spec.shape)
        )
        for spec in backend.inputs
    }
    inputs = zeros_for(backend.inputs, shapes)
    backend.run(inputs)
    times: list[float] = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        backend.run(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def run() -> None:
    """Runs the command; a user's mistake is one line and exit status 2."""
    try:
        typer.run(main)
    except UserError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    run()
