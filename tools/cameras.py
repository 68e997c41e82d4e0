"""``python -m tools.cameras``: which cameras are connected, what they can do, how they look."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import cv2
import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from app.config import AppConfig, CameraConfig, WebcamSource, load_config
from capture.sources import prepare_opencv
from capture.v4l2 import Mode, VideoDevice, find_devices
from engines.errors import UserError
from tools.camera_preview import show_preview, take_snapshots

_MOST_CAMERAS: Final = 8
_NONE_FOUND: Final = (
    "no camera found; check that one is plugged in (lsusb lists it), that no virtual machine or "
    "container keeps it away (docker run --device /dev/video0), and that /dev/video* exists"
)
_WANTED = Mode("MJPG", 640, 480, 30.0)


def main(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Look at the cameras of this configuration instead."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show them in a window (q closes it).")
    ] = False,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", help="Save one picture of each to this folder.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write a configuration of them to this file.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="Close the preview after so long.")
    ] = None,
) -> None:
    """List the connected cameras with their modes, and how to configure them."""
    console = Console(highlight=False, soft_wrap=True)
    prepare_opencv()
    if config is not None:
        if write is not None:
            raise UserError("--write is for the cameras that are found; leave out --config")
        cameras = list(load_config(config).cameras)
        if not preview and snapshot is None:
            raise UserError("with --config, add --preview or --snapshot FOLDER")
    else:
        devices = find_devices() if sys.platform == "linux" else _probe()
        if not devices:
            console.print(_NONE_FOUND, markup=False)
            raise typer.Exit(1)
        console.print(devices_table(devices))
        cameras = suggest_cameras(devices)
        if not cameras:
            console.print("none of them can be used at present", markup=False)
            raise typer.Exit(1)
        text = configuration_text(cameras, devices)
        if write is None:
            console.print("\nconfiguration (or: --write FILE):\n", markup=False)
            console.print(text, markup=False)
        else:
            _write_new(write, text)
            console.print(f"wrote {write}: python -m app live --config {write}", markup=False)
    if snapshot is not None:
        _snapshots(console, cameras, snapshot)
    if preview:
        show_preview(cameras, seconds)


def devices_table(devices: Sequence[VideoDevice]) -> Table:
    """A table of devices, their modes grouped by format and size."""
    table = Table("device", "name", "modes (format width×height: fps)", show_lines=True)
    for device in devices:
        where = f"{device.path}\n{device.stable_path}"
        if device.stable_path == device.path:
            where = str(device.path)
        table.add_row(where, device.name, device.problem or "\n".join(_mode_lines(device.modes)))
    return table


def _mode_lines(modes: Sequence[Mode]) -> list[str]:
    rates: dict[tuple[str, int, int], list[float]] = {}
    for mode in modes:
        rates.setdefault((mode.fourcc, mode.width, mode.height), []).append(mode.fps)
    return [
        f"{fourcc} {width}×{height}: {', '.join(f'{rate:g}' for rate in sorted(set(found)))}"
        for (fourcc, width, height), found in rates.items()
    ] or ["it does not say"]


def best_mode(modes: Sequence[Mode]) -> Mode:
    """The mode that suits four cameras on one computer best.

    Compressed where there is such a one, quick enough to follow a person, near 640×480 in size,
    near 30 pictures a second.
    """

    def badness(mode: Mode) -> tuple[bool, bool, float, float]:
        area = mode.width * mode.height / (_WANTED.width * _WANTED.height)
        return (
            mode.fourcc != _WANTED.fourcc,
            0 < mode.fps < 24,
            abs(math.log(max(area, 1e-6))),
            abs(mode.fps - _WANTED.fps),
        )

    # Drivers of virtual cameras offer sizes and rates beyond any camera's.
    return min(filter(_is_possible, modes), key=badness, default=_WANTED)


def _is_possible(mode: Mode) -> bool:
    """Whether a configuration may ask for it."""
    try:
        _source(0, mode)
    except ValidationError:
        return False
    return True


def _source(device: int | str, mode: Mode) -> WebcamSource:
    return WebcamSource(
        kind="webcam",
        device=device,
        width=mode.width,
        height=mode.height,
        fps=mode.fps or _WANTED.fps,
        fourcc=mode.fourcc.ljust(4),
    )


def suggest_cameras(devices: Sequence[VideoDevice]) -> list[CameraConfig]:
    """Configurations for the devices that can be used, at most eight."""
    cameras: list[CameraConfig] = []
    for device in devices:
        if device.problem or len(cameras) == _MOST_CAMERAS:
            continue
        number = device.path.name if sys.platform != "linux" else ""
        name = int(number) if number.isdigit() else str(device.stable_path)
        source = _source(name, best_mode(device.modes))
        cameras.append(CameraConfig(id=f"cam{len(cameras)}", source=source))
    return cameras


def configuration_text(cameras: Sequence[CameraConfig], devices: Sequence[VideoDevice]) -> str:
    """A configuration file of these cameras.

    Raises:
        UserError: they make no valid configuration.
    """
    usable = [device for device in devices if not device.problem]
    lines = ["# The first camera is the reference: it looks along the skeleton's +y."]
    lines += [
        f"# {camera.id}: {device.name}" for camera, device in zip(cameras, usable, strict=False)
    ]
    data = {"cameras": [camera.model_dump(mode="json", exclude_unset=True) for camera in cameras]}
    try:
        AppConfig.model_validate(data)
    except ValueError as error:
        raise UserError(f"the cameras found make no valid configuration: {error}") from error
    lines += [
        "# What a camera's box says of its horizontal field of view may stand beside its id, as",
        "# horizontal_fov_deg: 70. Two cameras are found only with it, more find it out.",
        f"body_height_m: {AppConfig.model_fields['body_height_m'].default:.2f}  # of the person",
    ]
    return "\n".join(lines) + "\n" + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UserError(f"{path}: exists already; name another file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _snapshots(console: Console, cameras: Sequence[CameraConfig], folder: Path) -> None:
    failures = take_snapshots(cameras, folder, timeout_s=15.0)
    for line in failures:
        console.print(line, markup=False)
    console.print(f"{len(cameras) - len(failures)} pictures in {folder}", markup=False)
    if failures:
        raise typer.Exit(1)


def _probe() -> list[VideoDevice]:
    """Tries the first camera numbers, where the system cannot be asked (not Linux)."""
    found: list[VideoDevice] = []
    for index in range(_MOST_CAMERAS):
        capture = cv2.VideoCapture(index)
        if capture.isOpened():
            mode = Mode(
                "MJPG",
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
                float(capture.get(cv2.CAP_PROP_FPS)),
            )
            path = Path(str(index))
            found.append(VideoDevice(path, path, f"camera {index}", (mode,), ""))
        capture.release()
    return found


def run() -> None:
    """Runs the command; a user's mistake is one line and exit status 2."""
    try:
        typer.run(main)
    except UserError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    run()
