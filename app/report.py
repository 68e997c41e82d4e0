"""The report of a run: a table for people, JSON for programs."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from app.evaluation import CalibratedErrors, PoseErrors
from app.messages import RigUpdate
from app.run_messages import PipelineStatus
from app.status_view import camera_table
from engines.errors import UserError


class Latency(msgspec.Struct, frozen=True):
    """From the instant that a pose describes to its publication, in milliseconds."""

    p50: float
    p99: float


class CameraReport(msgspec.Struct, frozen=True):
    """One camera; see ``app.run_messages.CameraStat``."""

    fps: float
    frames: int
    dropped: int
    reconnects: int
    skew_ms_p95: float
    present: float


class CalibratedReport(msgspec.Struct, frozen=True):
    """Errors once the cameras were found; see ``app.evaluation.CalibratedErrors``."""

    found_s: float
    poses: int
    mpjpe_mm: float
    pa_mpjpe_mm: float


class RigReport(msgspec.Struct, frozen=True):
    """The last word on where the cameras are; see ``app.messages.RigUpdate``."""

    quality: str
    expected_error_mm: float | None
    reason: str
    warnings: tuple[str, ...]
    moved: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run came to; the errors are there only for clips with ground truth."""

    sets: int
    rate_hz: float
    latency_ms: Latency
    cameras: dict[str, CameraReport]
    stages_ms: dict[str, float]
    completeness: float
    front_end: str
    lifter: str
    engine: str
    mpjpe_mm: float | None = None
    pa_mpjpe_mm: float | None = None
    calibrated: CalibratedReport | None = None
    rig: RigReport | None = None


def make_report(
    status: PipelineStatus,
    errors: PoseErrors | None,
    calibrated: CalibratedErrors | None = None,
    rig: RigUpdate | None = None,
) -> Report:
    """Puts the final figures of a run together."""
    return Report(
        sets=status.sets,
        rate_hz=round(status.rate_hz, 3),
        latency_ms=Latency(round(status.latency_ms_p50, 2), round(status.latency_ms_p99, 2)),
        cameras={
            c.camera: CameraReport(
                round(c.fps, 3),
                c.frames,
                c.dropped,
                c.reconnects,
                round(c.skew_ms_p95, 2),
                round(c.present, 4),
            )
            for c in status.cameras
        },
        stages_ms={s.stage: round(s.milliseconds, 3) for s in status.stages},
        completeness=round(status.completeness, 4),
        front_end=status.front_end,
        lifter=status.lifter,
        engine=status.engine,
        mpjpe_mm=round(errors.mpjpe_mm, 2) if errors is not None else None,
        pa_mpjpe_mm=round(errors.pa_mpjpe_mm, 2) if errors is not None else None,
        calibrated=None if calibrated is None else _calibrated(calibrated),
        rig=None if rig is None else _rig(rig),
    )


def _calibrated(found: CalibratedErrors) -> CalibratedReport:
    errors = found.errors
    return CalibratedReport(
        round(found.found_s, 2),
        errors.poses,
        round(errors.mpjpe_mm, 2),
        round(errors.pa_mpjpe_mm, 2),
    )


def _rig(update: RigUpdate) -> RigReport:
    error = update.expected_error_mm
    return RigReport(
        update.quality,
        None if error is None else round(error, 1),
        update.reason,
        update.warnings,
        update.moved,
    )


def write_report(report: Report, path: Path) -> None:
    """Writes the report as JSON.

    Raises:
        UserError: the file cannot be written.
    """
    text = msgspec.json.format(msgspec.json.encode(report), indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text + b"\n")
    except OSError as error:
        raise UserError(f"{path}: the report cannot be written: {error.strerror}") from error


def print_report(console: Console, report: Report, status: PipelineStatus) -> None:
    """Prints the closing tables of a run."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("rate", f"{report.rate_hz:.1f} sets/s ({report.sets} sets)")
    latency = report.latency_ms
    table.add_row("latency", f"{latency.p50:.0f} ms p50, {latency.p99:.0f} ms p99")
    table.add_row("person in", f"{report.completeness:.1%} of sets")
    if report.mpjpe_mm is not None and report.pa_mpjpe_mm is not None:
        errors = f"MPJPE {report.mpjpe_mm:.1f} mm, PA-MPJPE {report.pa_mpjpe_mm:.1f} mm"
        table.add_row("error", f"{errors} against the clip's ground truth")
    found = report.calibrated
    if found is not None:
        errors = f"MPJPE {found.mpjpe_mm:.1f} mm, PA-MPJPE {found.pa_mpjpe_mm:.1f} mm"
        table.add_row("calibrated", f"{errors}, cameras found at {found.found_s:.1f} s")
    if report.rig is not None:
        error = report.rig.expected_error_mm
        expected = "" if error is None else f", {error:.0f} mm to be expected"
        why = f" ({report.rig.reason})" if report.rig.reason else ""
        table.add_row("cameras", f"{report.rig.quality}{expected}{why}")
    table.add_row("front end", report.front_end)
    table.add_row("lifter", f"{report.lifter} on {report.engine}")
    stages = "  ".join(f"{name} {ms:.1f}" for name, ms in report.stages_ms.items())
    table.add_row("stages, ms", stages)
    console.print(table)
    console.print(camera_table(status.cameras))
