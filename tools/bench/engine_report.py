"""What the benchmark of engines found, and how it is shown."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


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
        cpu_ms: median processor time of a run, over all threads of the process: other work on the
            machine hardly changes it.
        sets_per_second: from the median.
        gmac: billions of multiplications a run.
        memory_mb: by how much loading and one run made the process grow, or CUDA memory taken.
        against_torch: how many times as fast as torch eager, from the medians.
        cpu_against_torch: the same from the processor times.
        difference: largest difference from torch float32.
        difference_relative: the same over the largest value of that output.
    """

    network: str
    engine: str
    precision: str
    views: int
    ms: float
    ms_best: float
    cpu_ms: float
    sets_per_second: float
    gmac: float
    memory_mb: float
    against_torch: float
    cpu_against_torch: float
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
    chain: list[str]
    chain_ms: float | None
    chain_cpu_ms: float | None
    missing: list[str]


def show(report: EngineReport) -> None:
    """Prints a report as a table."""
    table = Table(title=f"{report.machine}, {report.when}, load {report.load:.1f}")
    for column in ("network", "engine"):
        table.add_column(column, no_wrap=True)
    for column in ("ms (best)", "CPU ms", "GMAC", "MB", "×torch", "× CPU", "diff."):
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
            f"{row.cpu_ms:.1f}",
            f"{row.gmac:.2f}",
            f"{row.memory_mb:.0f}",
            f"{row.against_torch:.2f}",
            f"{row.cpu_against_torch:.2f}",
            f"{row.difference_relative:.0e}",
        )
        last = row.network
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for engine, label in engines.items():
        console.print(f"{label}: {engine}", markup=False)
    console.print("CPU ms: processor time of all threads; × CPU: torch eager's over the engine's")
    console.print("diff.: largest difference from torch float32 over the largest value")
    if report.chain_ms is not None:
        names = " + ".join(report.chain)
        console.print(
            f"{names}, one after the other: {report.chain_ms:.1f} ms "
            f"({report.chain_cpu_ms:.1f} ms of processor time)",
            markup=False,
        )
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
