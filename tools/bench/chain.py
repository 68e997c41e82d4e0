"""The whole chain of networks on one device: sets a second, and time from pictures to pose."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from engines.backends.base import DescribedBackend
from engines.backends.device import find_gpu, tensorrt_obstacle, torch_obstacle
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend, available_providers
from engines.backends.torch_backend import TorchBackend
from engines.backends.validation import default_threads
from engines.device_chain import DeviceChain
from engines.errors import UserError
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from tools.bench.engine_candidates import exports
from tools.bench.sample_networks import make_sample
from tools.outputs import check_outputs, write_text

Engine = Literal["auto", "cpu", "torch", "tensorrt", "cuda"]
"""``cpu`` and ``cuda`` are ONNX Runtime's; ``torch`` is on the GPU."""

FULL_SIZE: Final = ("yolov3", "cpn50-384x288", "dsvtformer")
_STEP_ROUNDS: Final = 5
"""Over four sets of pictures, in which each step is timed by itself."""

LIGHT: Final = ("detector", "pose2d", "lifter")


@dataclass(frozen=True, slots=True)
class StepFigure:
    """A step of the chain and what it takes by itself, in milliseconds (median)."""

    step: str
    ms_p50: float


@dataclass(frozen=True, slots=True)
class ChainFigures:
    """What was measured; times in milliseconds."""

    networks: tuple[str, ...]
    engines: tuple[str, ...]
    pictures: str
    sets: int
    sets_per_second: float
    ms_p50: float
    ms_p99: float
    steps: tuple[StepFigure, ...]
    load: float


def measure(
    names: tuple[str, ...],
    sets: int,
    width: int,
    height: int,
    precision: str,
    engine: Engine = "auto",
) -> ChainFigures:
    """Runs the chain on four views of noise, set after set, as fast as it goes.

    Args:
        names: detector, 2D pose network and lifter.
        sets: how many are timed, after some that are not.
        width: of the pictures.
        height: of the pictures.
        precision: ``fp16`` or ``fp32``, on a GPU.
        engine: what runs the networks; ``auto`` is the best one that is here.

    Raises:
        UserError: the engine asked for cannot run here.
    """
    engine = best_engine() if engine == "auto" else engine
    backends = [_open(name, precision, engine) for name in names]
    # As the live front end takes them: in torch on a GPU, with OpenCV on the host.
    operations = HostOperations() if backends[0].device == "cpu" else None
    chain = DeviceChain(backends[0], backends[1], backends[2], 4, operations)
    generator = np.random.default_rng(0)
    pictures = [
        [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(4)]
        for _ in range(4)
    ]
    for images in pictures:  # each once: what a picture set sets off first is not timed
        chain.process(images)
    times: list[float] = []
    for index in range(sets):
        start = time.perf_counter()
        chain.process(pictures[index % len(pictures)])
        times.append(1e3 * (time.perf_counter() - start))
    steps: dict[str, list[float]] = {}
    for images in pictures * _STEP_ROUNDS:
        chain.process(images, lambda step, seconds: steps.setdefault(step, []).append(seconds))
    return ChainFigures(
        networks=names,
        engines=tuple(backend.provider for backend in backends),
        pictures=f"4 × {width}×{height}",
        sets=sets,
        sets_per_second=1e3 / statistics.mean(times),
        ms_p50=statistics.median(times),
        ms_p99=float(np.percentile(times, 99)),
        steps=tuple(
            StepFigure(step, 1e3 * statistics.median(seconds)) for step, seconds in steps.items()
        ),
        load=psutil.getloadavg()[0],
    )


def best_engine() -> Engine:
    """TensorRT, ONNX Runtime's CUDA provider or torch where there is a GPU, else the CPU."""
    if tensorrt_obstacle() is None:
        return "tensorrt"
    if find_gpu() is not None:
        if "cuda" in available_providers():
            return "cuda"
        if torch_obstacle() is None:
            return "torch"
    return "cpu"


def _open(name: str, precision: str, engine: Engine) -> DescribedBackend:
    """The network on an engine; TensorRT engines are built where they are not there yet."""
    network = make_sample(name)
    if engine == "torch":  # it runs the network as it is: large ones take long to export
        obstacle = torch_obstacle()
        if obstacle is not None:
            raise UserError(f"engine torch is measured on a GPU, and cannot run there: {obstacle}")
        return TorchBackend(network, None, "cuda:0", half=precision == "fp16")
    if engine == "cpu":
        return OnnxRuntimeBackend(exports(name, network)[0], default_threads())
    path = exports(name, network)[precision == "fp16"]
    if engine == "cuda":
        return OnnxRuntimeBackend(path, None, "cuda")
    from engines.backends.tensorrt_backend import TensorRtBackend
    from engines.backends.tensorrt_build import build_engine

    build_engine(path)
    return TensorRtBackend(path)


def chain(
    light: Annotated[
        bool | None, typer.Option("--light/--full-size", help="Which networks.")
    ] = None,
    sets: Annotated[int, typer.Option(min=3)] = 50,
    width: Annotated[int, typer.Option(min=64)] = 640,
    height: Annotated[int, typer.Option(min=48)] = 480,
    precision: Annotated[str, typer.Option(help="fp16 or fp32, on a GPU.")] = "fp16",
    engine: Annotated[
        Engine, typer.Option(help="cpu and cuda are ONNX Runtime's; torch is on a GPU.")
    ] = "auto",
    json: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
) -> None:
    """Measure detector, 2D pose and lifter together, from pictures to pose."""
    small = find_gpu() is None if light is None else light
    check_outputs(json)
    figures = measure(LIGHT if small else FULL_SIZE, sets, width, height, precision, engine)
    table = Table(title=f"{' + '.join(figures.networks)}, {figures.pictures}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("sets a second", f"{figures.sets_per_second:.1f}")
    table.add_row("pictures → pose, p50", f"{figures.ms_p50:.1f} ms")
    table.add_row("pictures → pose, p99", f"{figures.ms_p99:.1f} ms")
    for part in figures.steps:
        table.add_row(f"  {part.step}, by itself", f"{part.ms_p50:.2f} ms")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for name, provider in zip(figures.networks, figures.engines, strict=True):
        console.print(f"{name}: {provider}", markup=False)
    if json is not None:
        write_text(json, msgspec.json.format(msgspec.json.encode(figures)).decode() + "\n")
