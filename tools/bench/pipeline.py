"""What capture, bus and synchronizer cost, and how much time they add."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from app.bus import Publisher
from app.clock import now_ns, take_anchor
from app.config import AppConfig, CameraConfig, SyntheticSource
from app.frame_receiver import FrameReceiver
from app.run_messages import RunState
from app.run_spec import RunSpec, make_run_dir
from app.topics import Topic
from engines.errors import UserError
from tools.outputs import check_outputs, write_text

_SETTLE_FRAMES = 30


@dataclass(frozen=True, slots=True)
class PipelineFigures:
    """Result of one measurement; times in milliseconds, CPU in shares of one core.

    Attributes:
        sets: sets put together.
        rate_hz: sets a second.
        full: share of the sets with a picture of every camera.
        frame_ms_p50: from a picture being taken to its arrival.
        added_ms_p50: from the newest picture of a set being taken to the set in hand.
        added_ms_p99: the same.
        capture_cpu: of all capture processes, drawing of the test pictures included.
        receive_cpu: of the receiving process.
        dropped: pictures taken that did not arrive.
    """

    sets: int
    rate_hz: float
    full: float
    frame_ms_p50: float
    added_ms_p50: float
    added_ms_p99: float
    capture_cpu: float
    receive_cpu: float
    dropped: int


def measure(cameras: int, width: int, height: int, fps: float, seconds: float) -> PipelineFigures:
    """Runs real capture processes and the real receiver for a while.

    Args:
        cameras: how many.
        width: of the pictures, in pixels.
        height: of the pictures, in pixels.
        fps: of each camera.
        seconds: how long to measure.
    """
    config = AppConfig(
        cameras=[
            CameraConfig(
                id=f"c{k}",
                source=SyntheticSource(
                    kind="synthetic",
                    width=width,
                    height=height,
                    fps=fps,
                    phase_ms=1000 / fps * k / cameras,
                    jitter_ms=1.0,
                    seed=k,
                ),
            )
            for k in range(cameras)
        ]
    )
    run_dir = make_run_dir()
    RunSpec(mode="live", config=config).save(run_dir)
    names = [camera.id for camera in config.cameras]
    with Publisher[RunState](run_dir, Topic.RUN_STATE) as run_state:
        processes = [_start(run_dir, name) for name in names]
        receiver = FrameReceiver(run_dir, names, config.synchronizer)
        try:
            while any(c.frames < _SETTLE_FRAMES for c in receiver.counters):
                if any(process.poll() is not None for process in processes):
                    raise UserError("a capture process ended; run it by hand to see why")
                _receive(receiver, run_state, 0.2)
            return _figures(receiver, run_state, processes, cameras, seconds)
        finally:
            receiver.close()
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(5)
            shutil.rmtree(run_dir, ignore_errors=True)


def _figures(
    receiver: FrameReceiver,
    run_state: Publisher[RunState],
    processes: list[subprocess.Popen[bytes]],
    cameras: int,
    seconds: float,
) -> PipelineFigures:
    watched = [psutil.Process(process.pid) for process in processes]
    own = psutil.Process()
    before = [_cpu(p) for p in watched]
    own_before = _cpu(own)
    dropped_before = sum(c.dropped for c in receiver.counters)
    began = time.monotonic()
    sets = _receive(receiver, run_state, seconds)
    wall = time.monotonic() - began
    added = [added for added, _, _ in sets]
    return PipelineFigures(
        sets=len(sets),
        rate_hz=len(sets) / wall,
        full=sum(count == cameras for _, count, _ in sets) / max(len(sets), 1),
        frame_ms_p50=float(np.median([delay for _, _, delays in sets for delay in delays])),
        added_ms_p50=float(np.median(added)),
        added_ms_p99=float(np.percentile(added, 99)),
        capture_cpu=sum(_cpu(p) - b for p, b in zip(watched, before, strict=True)) / wall,
        receive_cpu=(_cpu(own) - own_before) / wall,
        dropped=sum(c.dropped for c in receiver.counters) - dropped_before,
    )


def _receive(
    receiver: FrameReceiver, run_state: Publisher[RunState], seconds: float
) -> list[tuple[float, int, list[float]]]:
    anchor = take_anchor()
    state = RunState(
        phase="running",
        epoch_ns=anchor.monotonic_ns,
        anchor_monotonic_ns=anchor.monotonic_ns,
        anchor_wall_ns=anchor.wall_ns,
    )
    out: list[tuple[float, int, list[float]]] = []
    end = time.monotonic() + seconds
    next_state = 0.0
    while time.monotonic() < end:
        if time.monotonic() >= next_state:
            run_state.send(state)
            next_state = time.monotonic() + 0.2
        frames = receiver.next_set(0.1)
        if frames is None:
            continue
        now = now_ns()
        present = [frame for frame in frames.frames if frame is not None]
        newest = max(frame.header.capture_ns for frame in present)
        delays = [(f.arrived_ns - f.header.capture_ns) * 1e-6 for f in present]
        out.append(((now - newest) * 1e-6, len(present), delays))
    return out


def _start(run_dir: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "capture.process"]
    return subprocess.Popen(
        [*command, "--run-dir", str(run_dir), "--name", f"camera.{name}"],
        stderr=subprocess.DEVNULL,
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def pipeline(
    cameras: Annotated[int, typer.Option(min=1, max=8)] = 4,
    width: Annotated[int, typer.Option(min=64)] = 640,
    height: Annotated[int, typer.Option(min=48)] = 480,
    fps: Annotated[float, typer.Option(min=1)] = 30.0,
    seconds: Annotated[float, typer.Option(min=1)] = 10.0,
    json: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
) -> None:
    """Measure capture, bus and synchronizer: CPU, time added, sets a second."""
    check_outputs(json)
    figures = measure(cameras, width, height, fps, seconds)
    table = Table(title=f"{cameras} × {width}×{height} at {fps:g} fps, {seconds:g} s")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("sets a second", f"{figures.rate_hz:.1f}")
    table.add_row("sets with every camera", f"{figures.full:.1%}")
    table.add_row("picture taken → arrived, p50", f"{figures.frame_ms_p50:.2f} ms")
    table.add_row("newest picture taken → set, p50", f"{figures.added_ms_p50:.2f} ms")
    table.add_row("newest picture taken → set, p99", f"{figures.added_ms_p99:.2f} ms")
    table.add_row("CPU of the capture processes", f"{figures.capture_cpu:.2f} cores")
    table.add_row("CPU of receiver and aligner", f"{figures.receive_cpu:.2f} cores")
    table.add_row("pictures lost", str(figures.dropped))
    Console().print(table)
    if json is not None:
        write_text(json, msgspec.json.format(msgspec.json.encode(figures)).decode() + "\n")
