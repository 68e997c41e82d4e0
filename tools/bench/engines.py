"""How fast every network runs on every engine present, and how exactly."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import psutil
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from engines.backends.base import Array
from engines.backends.device import find_gpu, tensorrt_obstacle, torch_cuda_version
from engines.backends.onnxruntime_backend import available_providers
from engines.backends.validation import default_threads
from engines.errors import UserError
from engines.networks.catalog import NAMES
from engines.networks.engine_network import MAX_VIEWS, EngineNetwork
from tools.bench.engine_candidates import Candidate, open_all, sample_inputs
from tools.bench.sample_networks import make_sample

USUAL: Final = (
    "light-detector",
    "light-cpn",
    "lifter",
    "yolov3-tiny",
    "cpn50-256x192",
    "dsvtformer",
)
"""What is measured unless networks are named; the larger ones take minutes on a CPU."""

CHAIN: Final = ("light-detector", "light-cpn", "lifter")
"""What one set of a live run on a CPU costs at most, when every view is detected in it."""


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """One network on one engine.

    Attributes:
        network: its name.
        engine: the engine's own line.
        precision: of the inside.
        views: views in a run.
        ms: median of a run.
        ms_best: the fastest run.
        sets_per_second: from the median.
        gmac: billions of multiplications a run.
        memory_mb: by how much loading and one run made the process grow, or CUDA memory taken.
        against_torch: how many times as fast as torch eager.
        difference: largest difference from torch float32.
        difference_relative: the same over the largest value of that output.
    """

    network: str
    engine: str
    precision: str
    views: int
    ms: float
    ms_best: float
    sets_per_second: float
    gmac: float
    memory_mb: float
    against_torch: float
    difference: float
    difference_relative: float


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Everything that was measured, and on what."""

    machine: str
    versions: str
    when: str
    threads: int
    load: float
    figures: list[EngineFigures]
    chain_ms: float | None
    missing: list[str]


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
    chain: dict[str, Callable[[], object]] = {}
    for name in names:
        network = make_sample(name)
        inputs = sample_inputs(network, views)
        note(f"{name}: exporting")
        candidates = open_all(name, network, inputs, threads, note)
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
    chain_ms = _chain(list(chain.values()), repeats) if set(chain) == set(CHAIN) else None
    return EngineReport(
        machine=_machine(),
        versions=f"Python {platform.python_version()}, torch {torch.__version__}",
        when=time.strftime("%Y-%m-%d %H:%M"),
        threads=threads,
        load=psutil.getloadavg()[0],
        figures=figures,
        chain_ms=chain_ms,
        missing=_missing(),
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
    for _ in range(repeats):
        for candidate, own in zip(candidates, times, strict=True):
            start = time.perf_counter()
            candidate.backend.run(inputs)
            own.append(1e3 * (time.perf_counter() - start))
    gmac = _gmac(network, inputs)
    eager = statistics.median(times[0])
    rows: list[EngineFigures] = []
    for candidate, own in zip(candidates, times, strict=True):
        found = candidate.backend.run(inputs)
        gaps = {key: _gap(found[key], value) for key, value in reference.items()}
        scales = {
            key: max(1e-9, _gap(value, np.zeros_like(value))) for key, value in reference.items()
        }
        median = statistics.median(own)
        rows.append(
            EngineFigures(
                network=name,
                engine=candidate.backend.provider,
                precision=candidate.backend.metadata.get("dsvt.precision", "fp32"),
                views=views,
                ms=median,
                ms_best=min(own),
                sets_per_second=1e3 / median,
                gmac=gmac,
                memory_mb=candidate.memory_mb,
                against_torch=eager / median,
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


def _chain(steps: list[Callable[[], object]], repeats: int) -> float:
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        for step in steps:
            step()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


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
    if torch_cuda_version() is None:
        missing.append("torch on a GPU (a build without CUDA)")
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
    names = network or list(USUAL)
    for name in names:
        if name != "lifter" and name not in NAMES:
            raise UserError(f"unknown network '{name}' (known: lifter, {', '.join(NAMES)})")
    console = Console(stderr=True)
    with console.status("measuring") as status:
        report = measure(names, views, repeats, threads or default_threads(), status.update)
    _print(report)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def _print(report: EngineReport) -> None:
    table = Table(title=f"{report.machine}, {report.when}, load {report.load:.1f}")
    for column in ("network", "engine"):
        table.add_column(column, no_wrap=True)
    for column in ("ms (best)", "sets/s", "GMAC", "MB", "×torch", "diff."):
        table.add_column(column, justify="right", no_wrap=True)
    engines = {row.engine: _label(row) for row in report.figures}
    last = ""
    for row in report.figures:
        if row.network != last:
            table.add_section()
        table.add_row(
            row.network if row.network != last else "",
            engines[row.engine],
            f"{row.ms:.1f} ({row.ms_best:.1f})",
            f"{row.sets_per_second:.0f}",
            f"{row.gmac:.2f}",
            f"{row.memory_mb:.0f}",
            f"{row.against_torch:.2f}",
            f"{row.difference_relative:.0e}",
        )
        last = row.network
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for engine, label in engines.items():
        console.print(f"{label}: {engine}", markup=False)
    console.print("diff.: largest difference from torch float32 over the largest value")
    if report.chain_ms is not None:
        names = " + ".join(CHAIN)
        console.print(f"{names}, one after the other: {report.chain_ms:.1f} ms", markup=False)
    console.print(f"not on this machine: {'; '.join(report.missing)}", markup=False)


def _label(row: EngineFigures) -> str:
    """A short name of an engine, e.g. ``onnxruntime cpu``."""
    parts = [part.strip() for part in row.engine.split(",")]
    name = parts[0].rsplit(" ", 1)[0].lower().replace(" ", "")
    place = "cpu" if parts[1] == "CPU" else "gpu"
    if "provider" in parts[1]:
        place = parts[1].removesuffix(" provider")
    if name == "torch":
        place += "" if "channels last" in row.engine else " eager"
    return f"{name} {place}" + (" fp16" if row.precision == "fp16" else "")
