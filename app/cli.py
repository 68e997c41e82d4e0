"""The command line: ``python -m app demo|live|replay``."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from app.config import RecorderConfig, load_config
from app.crash_logs import keep_logs
from app.display import has_display
from app.evaluation import CalibratedErrors, PoseErrors, Truth
from app.given_files import changed_ns, check_writable, existing_file, new_file, rig_target
from app.network_files import bring_networks
from app.pose_collector import PoseCollector
from app.process_table import looks_for_cameras
from app.report import make_report, print_report, write_report
from app.run_spec import RunSpec, make_run_dir
from app.status_view import StatusView
from app.supervisor import RunOutcome, Supervisor
from engines.errors import UserError

_ROOT = Path(__file__).resolve().parents[1]
_DEMO_CONFIG = _ROOT / "configs" / "demo.yaml"
_PLAIN_WIDTH = 150  # a file or a pipe has no width of its own
_ADDRESS = r"tcp://(\*|[\w.:\[\]-]+):(?P<port>\d{1,5})|ipc://.+"
_LIVE_CONFIG = _ROOT / "configs" / "live.yaml"

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Live 3D skeletons from a few uncalibrated cameras.",
)

Config = Annotated[
    Path | None, typer.Option("--config", help="YAML file with cameras and settings.")
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", min=0.1, help="End after so many seconds.")
]
Headless = Annotated[
    bool, typer.Option("--headless", help="No window, even where there is a display.")
]
Video = Annotated[
    Path | None,
    typer.Option("--video", help="Without a window: render the scene to this MP4 file."),
]
Record = Annotated[
    Path | None, typer.Option("--record", help="Record to this MCAP file from the start.")
]
RigFile = Annotated[
    Path | None,
    typer.Option("--rig", help="Begin with this rig file; it is checked before it is trusted."),
]
SaveRig = Annotated[
    Path | None, typer.Option("--save-rig", help="Keep the cameras that were found here.")
]
Publish = Annotated[
    str | None,
    typer.Option(
        "--publish",
        metavar="ADDRESS",
        help="Give the poses to other programs here, as JSON over ZeroMQ: tcp://127.0.0.1:5555 "
        "(docs/live.md).",
    ),
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Write the closing figures to this JSON file.")
]


@cli.command()
def demo(
    config: Config = None,
    seconds: Seconds = None,
    headless: Headless = False,
    video: Video = None,
    record: Record = None,
    report: ReportFile = None,
    rig: RigFile = None,
    save_rig: SaveRig = None,
    publish: Publish = None,
) -> None:
    """Run the built-in four-camera clip through the whole live chain, then end."""
    spec = _camera_spec("demo", config or _DEMO_CONFIG, headless, record, rig, save_rig)
    spec = published(spec, publish)
    spec = _with_video(spec, video, Path("out/demo.mp4"))
    _run(spec, seconds, report)


@cli.command()
def live(
    config: Config = None,
    seconds: Seconds = None,
    headless: Headless = False,
    video: Video = None,
    record: Record = None,
    report: ReportFile = None,
    rig: RigFile = None,
    save_rig: SaveRig = None,
    publish: Publish = None,
) -> None:
    """Follow a person with the cameras of a configuration file (default: configs/live.yaml)."""
    spec = _camera_spec("live", config or _LIVE_CONFIG, headless, record, rig, save_rig)
    spec = published(spec, publish)
    spec = _with_video(spec, video, None)
    if spec.headless and spec.video is None and not headless:
        Console(stderr=True).print("no display: running without a window (--video FILE keeps it)")
    _run(spec, seconds, report)


@cli.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A recording (.mcap).")],
    seconds: Seconds = None,
    headless: Headless = False,
    video: Video = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.05, max=50, help="1 is the recorded speed.")
    ] = 1.0,
    report: Annotated[
        Path | None,
        typer.Option("--report", help="Write the recorded run's figures to this JSON file."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Take the viewer's settings from this file.")
    ] = None,
    publish: Publish = None,
) -> None:
    """Show a recording again in the same viewer."""
    from app.recording.reader import read_run_spec

    settings = read_run_spec(file).config
    if config is None:
        # A recording may come from elsewhere: it does not say where to write on this computer.
        update: dict[str, object] = {"recorder": RecorderConfig(folder=Path.cwd() / "out")}
    else:
        given = load_config(config)
        update = {"viewer": given.viewer, "recorder": given.recorder}
    settings = settings.model_copy(update=update)
    windowless = headless or not has_display()
    spec = RunSpec(
        mode="replay",
        config=settings,
        headless=windowless,
        replay=file.absolute(),
        replay_speed=speed,
    )
    spec = published(spec, publish)
    _run(_with_video(spec, video, Path("out/replay.mp4")), seconds, report)


def main() -> None:
    """Runs the command line; a user's mistake is one line and exit status 2."""
    try:
        if sys.platform == "win32":
            raise UserError("this runs on Linux; on Windows use WSL2 (docs/cameras.md)")
        cli()
    except UserError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)


def _camera_spec(
    mode: Literal["demo", "live"],
    config: Path,
    headless: bool,
    record: Path | None,
    rig: Path | None,
    save_rig: Path | None,
) -> RunSpec:
    """What the two commands that use cameras have in common."""
    spec = RunSpec(
        mode=mode,
        config=load_config(config),
        headless=headless or not has_display(),
        record=new_file(record, "recordings"),
        rig=existing_file(rig, "rig file"),
        save_rig=rig_target(save_rig),
    )
    if (rig or save_rig) is not None and not looks_for_cameras(spec):
        option = "--rig" if rig is not None else "--save-rig"
        raise UserError(
            f"{option}: this configuration does not look for its cameras: it has a single one, or "
            "calibration: {enabled: false}"
        )
    return spec


def published(spec: RunSpec, address: str | None) -> RunSpec:
    """The run with an address for other programs, where one is given.

    Raises:
        UserError: it is no address.
    """
    if address is None:
        return spec
    match = re.fullmatch(_ADDRESS, address)
    if match is None or not 0 < int(match["port"] or 1) < 65_536:
        raise UserError(
            f"--publish {address}: is no address such as tcp://127.0.0.1:5555 (this machine "
            "alone), tcp://*:5555 (whoever can reach it) or ipc:///tmp/poses"
        )
    return spec.model_copy(update={"publish": address})


def _with_video(spec: RunSpec, video: Path | None, default: Path | None) -> RunSpec:
    """Where the off-screen picture goes; a file that was named is never replaced."""
    if not spec.headless:
        if video is not None:
            raise UserError(f"--video {video}: is for runs without a window; add --headless")
        return spec
    path = new_file(video, "videos") or (default.absolute() if default is not None else None)
    return spec.model_copy(update={"video": path})


def _console() -> Console:
    # Paths and names are shown as they are: brackets in them are no markup.
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_PLAIN_WIDTH)
    return console


def _truth(spec: RunSpec) -> Truth | None:
    # A replayed pose bears the times of the run that it was recorded in.
    if spec.mode == "replay" or spec.config.truth is None:
        return None
    return Truth(spec.config.truth)


def _run(spec: RunSpec, seconds: float | None, report_path: Path | None) -> None:
    console = _console()
    truth = _truth(spec)
    if report_path is not None:
        check_writable(report_path)
    if spec.mode != "replay":
        bring_networks(spec.config, console.print)
    collector = PoseCollector()
    run_dir = make_run_dir()
    rig_before = changed_ns(spec.save_rig)
    keep, supervisor = False, None
    try:
        with StatusView(console) as view:
            supervisor = Supervisor(
                spec,
                run_dir,
                seconds=seconds,
                on_progress=view.update,
                on_pose=collector.add if truth is not None else None,
            )
            outcome = supervisor.run()
        errors = collector.errors(truth, outcome.epoch_ns) if truth is not None else None
        calibrated = collector.calibrated(truth, outcome.epoch_ns) if truth is not None else None
        rig_saved = changed_ns(spec.save_rig) != rig_before
        _close(console, spec, outcome, errors, calibrated, report_path, rig_saved=rig_saved)
    except UserError:
        raise
    except Exception:
        keep = True
        raise
    finally:
        if supervisor is not None and supervisor.crashed:
            kept = keep_logs(run_dir, spec.config.recorder.folder)
            if kept is not None:
                console.print(f"something crashed; what the processes logged: {kept}")
        if not keep:
            shutil.rmtree(run_dir, ignore_errors=True)


def _close(
    console: Console,
    spec: RunSpec,
    outcome: RunOutcome,
    errors: PoseErrors | None,
    calibrated: CalibratedErrors | None,
    report_path: Path | None,
    *,
    rig_saved: bool,
) -> None:
    console.print(f"ended: {outcome.reason}")
    for remark in outcome.remarks:
        console.print(f"note: {remark}", markup=False)
    status = outcome.pipeline
    if status is not None:
        report = make_report(status, errors, calibrated, outcome.rig)
        if spec.mode != "replay":
            print_report(console, report, status)
        if report_path is not None:
            write_report(report, report_path)
            console.print(f"report: {report_path}")
    elif report_path is not None:
        raise UserError(f"{report_path}: no report, the run ended before the first set")
    recorder = outcome.recorder
    if recorder is not None and recorder.path:
        size = recorder.bytes / 1e6
        console.print(f"recording: {recorder.path} ({recorder.messages} messages, {size:.1f} MB)")
        if recorder.remark:
            console.print(f"note: {recorder.remark}")
    if spec.save_rig is not None:
        console.print(f"rig: {spec.save_rig}" if rig_saved else "rig: nothing was saved")
    if spec.video is not None and spec.video.exists():
        console.print(f"video: {spec.video}")
    if spec.record is not None and recorder is not None and recorder.detail:
        raise UserError(recorder.detail)
    if outcome.failures:
        raise UserError("; ".join(outcome.failures))
