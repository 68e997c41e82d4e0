"""How fast every network runs on every engine present, and how exactly."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import psutil
import torch
import typer
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from engines.backends.base import Array
from engines.backends.device import find_gpu, tensorrt_obstacle, torch_obstacle
from engines.backends.onnxruntime_backend import available_providers
from engines.backends.validation import default_threads
from engines.errors import UserError
from engines.networks.catalog import NAMES
from engines.networks.engine_network import MAX_VIEWS, EngineNetwork
from tools.bench.engine_candidates import Candidate, open_all, sample_inputs
from tools.bench.engine_report import EngineFigures, EngineReport, show
from tools.bench.sample_networks import SHIPPED, make_sample
from tools.outputs import check_outputs, write_text

USUAL: Final = (
    "detector",
    "pose2d",
    "lifter",
    "yolov3-tiny",
    "cpn50-256x192",
    "dsvtformer",
)
"""What is measured unless networks are named; the larger ones take minutes on a CPU."""

CHAIN: Final = ("detector", "pose2d", "lifter")
"""What one set of a live run on a CPU costs at most, when every view is detected in it."""


def measure(
    names: list[str], views: int, repeats: int, threads: int, note: Callable[[str], None]
) -> EngineReport:
    """Runs every network on every engine present, turn by turn in one process.

    The engines take turns, so that whatever else the machine does hits all of them alike.

    Args:
        names: networks of the catalogue.
        views: views in a run.
        repeats: runs of each engine.
        threads: CPU threads.
        note: told what is being done.

    Raises:
        UserError: a network is unknown.
    """
    figures: list[EngineFigures] = []
    missing = _missing()
    chain: dict[str, Callable[[], object]] = {}
    for name in names:
        network = make_sample(name)
        inputs = sample_inputs(network, views)
        note(f"{name}: exporting")
        candidates, failed = open_all(name, network, inputs, threads, note)
        missing += failed
        note(f"{name}: measuring {len(candidates)} engines")
        figures += _compare(name, network, candidates, inputs, views, repeats)
        for candidate in candidates:
            provider = candidate.backend.provider
            if (
                name in CHAIN
                and provider.startswith("ONNX Runtime")
                and "CPU" in provider
                and "fp32" in provider
            ):
                chain[name] = partial(candidate.backend.run, inputs)
            else:
                candidate.backend.close()
    whole = _chain(list(chain.values()), repeats) if set(chain) == set(CHAIN) else (None, None)
    return EngineReport(
        machine=_machine(),
        versions=f"Python {platform.python_version()}, torch {torch.__version__}",
        when=time.strftime("%Y-%m-%d %H:%M"),
        threads=threads,
        load=psutil.getloadavg()[0],
        figures=figures,
        chain=list(CHAIN),
        chain_ms=whole[0],
        chain_cpu_ms=whole[1],
        missing=missing,
    )


def _compare(
    name: str,
    network: EngineNetwork,
    candidates: list[Candidate],
    inputs: dict[str, Array],
    views: int,
    repeats: int,
) -> list[EngineFigures]:
    reference = candidates[0].backend.run(inputs)
    times: list[list[float]] = [[] for _ in candidates]
    used: list[list[float]] = [[] for _ in candidates]
    for _ in range(repeats):
        for candidate, own, cpu in zip(candidates, times, used, strict=True):
            start, busy = time.perf_counter(), time.process_time()
            candidate.backend.run(inputs)
            own.append(1e3 * (time.perf_counter() - start))
            cpu.append(1e3 * (time.process_time() - busy))
    gmac = _gmac(network, inputs)
    eager, eager_cpu = statistics.median(times[0]), statistics.median(used[0])
    rows: list[EngineFigures] = []
    for candidate, own, cpu in zip(candidates, times, used, strict=True):
        found = candidate.backend.run(inputs)
        gaps = {key: _gap(found[key], value) for key, value in reference.items()}
        scales = {
            key: max(1e-9, _gap(value, np.zeros_like(value))) for key, value in reference.items()
        }
        median, cpu_median = statistics.median(own), statistics.median(cpu)
        rows.append(
            EngineFigures(
                network=name,
                engine=candidate.backend.provider,
                precision=candidate.backend.metadata.get("dsvt.precision", "fp32"),
                views=views,
                ms=median,
                ms_best=min(own),
                cpu_ms=cpu_median,
                sets_per_second=1e3 / median,
                gmac=gmac,
                memory_mb=candidate.memory_mb,
                against_torch=eager / median,
                cpu_against_torch=eager_cpu / max(1e-6, cpu_median),
                difference=max(gaps.values()),
                difference_relative=max(gaps[key] / scales[key] for key in gaps),
            )
        )
    return rows


def _gap(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def _gmac(network: EngineNetwork, inputs: dict[str, Array]) -> float:
    device = next(network.parameters()).device
    tensors = [torch.from_numpy(np.asarray(value)).to(device) for value in inputs.values()]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*tensors)
    return float(counter.get_total_flops()) / 2e9


def _chain(steps: list[Callable[[], object]], repeats: int) -> tuple[float, float]:
    """Medians of milliseconds, and of milliseconds of processor time, of all steps in a row."""
    times: list[float] = []
    used: list[float] = []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        for step in steps:
            step()
        times.append(1e3 * (time.perf_counter() - start))
        used.append(1e3 * (time.process_time() - busy))
    return statistics.median(times), statistics.median(used)


def _machine() -> str:
    gpu = find_gpu()
    cores = f"{default_threads()} cores of {platform.processor() or platform.machine()}"
    return cores if gpu is None else f"{cores}, {gpu.name}"


def _missing() -> list[str]:
    missing: list[str] = []
    obstacle = tensorrt_obstacle()
    if obstacle is not None:
        missing.append(f"tensorrt ({obstacle})")
    present = available_providers()
    for provider in ("cuda", "tensorrt", "tensorrt_rtx"):
        if provider not in present:
            missing.append(f"ONNX Runtime's {provider} provider")
    without_torch = torch_obstacle()
    if without_torch is not None:
        missing.append(f"torch on a GPU ({without_torch})")
    return missing


def engines(
    network: Annotated[
        list[str] | None, typer.Option(help="Which; may be given several times.")
    ] = None,
    views: Annotated[int, typer.Option(min=1, max=MAX_VIEWS)] = 4,
    repeats: Annotated[int, typer.Option(min=3, help="Runs of each engine.")] = 15,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
) -> None:
    """Measure every network on every engine present: time, size, memory, exactness."""
    check_outputs(json)
    names = network or list(USUAL)
    for name in names:
        if name not in SHIPPED and name not in NAMES:
            known = ", ".join((*SHIPPED, *NAMES))
            raise UserError(f"unknown network '{name}' (known: {known})")
    console = Console(stderr=True)
    with console.status("measuring") as status:
        report = measure(names, views, repeats, threads or default_threads(), status.update)
    show(report)
    if json is not None:
        write_text(json, msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
