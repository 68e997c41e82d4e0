"""``python -m tools.cameras`` and what it asks of Video4Linux."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.config import WebcamSource, load_config
from capture.barcode import read_barcode
from capture.v4l2 import (
    Mode,
    VideoDevice,
    find_devices,
    parse_capability,
    parse_frame_interval,
    parse_frame_size,
)
from capture_rig import REPOSITORY
from tools.camera_preview import WatchedCamera, contact_sheet, why_no_window
from tools.cameras import best_mode, configuration_text, devices_table, suggest_cameras

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Video4Linux")


def run_tool(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    return subprocess.run(
        [sys.executable, "-m", "tools.cameras", *arguments],
        cwd=REPOSITORY,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def device(number: int, *modes: Mode, problem: str = "") -> VideoDevice:
    path = Path(f"/dev/video{number}")
    stable = Path(f"/dev/v4l/by-path/port-{number}")
    return VideoDevice(path, stable, f"Camera: {number} #1", modes, problem)


@linux_only
@pytest.mark.skipif(bool(list(Path("/dev").glob("video*"))), reason="this machine has cameras")
def test_without_cameras_it_says_what_to_check() -> None:
    done = run_tool()
    assert done.returncode == 1
    assert done.stdout.startswith("no camera found; check")
    assert len(done.stdout.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@linux_only
@pytest.mark.parametrize(
    ("display", "says"),
    [("", "DISPLAY is not set"), (":987", "does not answer"), ("x", "names no")],
)
def test_a_preview_without_display_is_one_line(tmp_path: Path, display: str, says: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("cameras:\n- {id: a, source: {kind: synthetic}}\n", encoding="utf-8")
    done = run_tool("--config", str(config), "--preview", DISPLAY=display)
    assert done.returncode == 2
    assert says in done.stderr
    assert "--snapshot" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_snapshots_of_configured_cameras(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "cameras:\n"
        "- {id: a, source: {kind: synthetic}}\n"
        "- {id: b, source: {kind: webcam, device: /dev/video-nobody}}\n",
        encoding="utf-8",
    )
    folder = tmp_path / "pictures"
    for _ in range(2):
        done = run_tool("--config", str(config), "--snapshot", str(folder))
        assert done.returncode == 1  # one of the two is missing
        assert "b: camera /dev/video-nobody" in done.stdout
        assert "1 pictures in" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["a-2.png", "a.png"]
    pixels = cv2.imread(str(folder / "a.png"))
    assert pixels is not None
    assert read_barcode(np.asarray(pixels, np.uint8)) is not None


def test_snapshots_are_turned_like_the_run(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "cameras:\n- {id: a, source: {kind: synthetic}, rotate: 90}\n", encoding="utf-8"
    )
    done = run_tool("--config", str(config), "--snapshot", str(tmp_path))
    assert done.returncode == 0, done.stderr
    pixels = cv2.imread(str(tmp_path / "a.png"))
    assert pixels is not None and pixels.shape == (640, 480, 3)
    assert read_barcode(np.ascontiguousarray(np.rot90(pixels), np.uint8)) is not None


def test_a_bad_configuration_is_one_line() -> None:
    done = run_tool("--config", "nothing.yaml", "--preview")
    assert done.returncode == 2
    assert "nothing.yaml: no such configuration file" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_mode_for_four_cameras() -> None:
    modes = [
        Mode("YUYV", 640, 480, 30.0),
        Mode("MJPG", 1920, 1080, 30.0),
        Mode("MJPG", 640, 480, 15.0),
        Mode("MJPG", 640, 480, 60.0),
        Mode("MJPG", 640, 480, 30.0),
        Mode("MJPG", 640, 360, 30.0),
    ]
    assert best_mode(modes) == Mode("MJPG", 640, 480, 30.0)
    assert best_mode(modes[:1]) == modes[0]
    assert best_mode(modes[:3]) == modes[1]  # 15 a second is too slow for a moving person
    assert best_mode([]) == Mode("MJPG", 640, 480, 30.0)
    virtual = [
        Mode("YUYV", 2, 1, 1000.0),
        Mode("YUYV", 8192, 8192, 30.0),
        Mode("YUYV", 640, 480, 25.0),
    ]
    assert best_mode(virtual) == virtual[2]
    assert best_mode(virtual[:2]) == Mode("MJPG", 640, 480, 30.0)


@linux_only
def test_the_suggested_configuration_is_valid(tmp_path: Path) -> None:
    devices = [
        device(0, Mode("MJPG", 1280, 720, 30.0)),
        device(2, problem="no permission"),
        device(4),
        *(device(number) for number in range(6, 20)),
    ]
    cameras = suggest_cameras(devices)
    path = tmp_path / "found.yaml"
    path.write_text(configuration_text(cameras, devices), encoding="utf-8")
    loaded = load_config(path)
    assert loaded.cameras == cameras
    assert len(cameras) == 8
    first = loaded.cameras[0].source
    assert isinstance(first, WebcamSource)
    assert first.device == "/dev/v4l/by-path/port-0"
    assert (first.width, first.height, first.fps, first.fourcc) == (1280, 720, 30.0, "MJPG")
    second = loaded.cameras[1].source
    assert isinstance(second, WebcamSource)
    assert second.device == "/dev/v4l/by-path/port-4"


def test_the_table_groups_rates() -> None:
    table = devices_table([device(0, Mode("MJPG", 640, 480, 30.0), Mode("MJPG", 640, 480, 15.0))])
    assert list(table.columns[2].cells) == ["MJPG 640×480: 15, 30"]


@linux_only
def test_things_that_are_no_cameras_are_named(tmp_path: Path) -> None:
    (tmp_path / "video3").touch()
    (tmp_path / "video10").touch()
    (tmp_path / "videoxy").touch()
    by_path = tmp_path / "v4l" / "by-path"
    by_path.mkdir(parents=True)
    (by_path / "pci-usbv2-0:1-video-index0").symlink_to(tmp_path / "video3")
    (by_path / "pci-usb-0:1-video-index0").symlink_to(tmp_path / "video3")
    described = tmp_path / "class"
    (described / "video3").mkdir(parents=True)
    (described / "video3" / "name").write_text("Good Camera\n", encoding="utf-8")
    three, ten = find_devices(tmp_path, described)
    assert three.path.name == "video3"
    assert three.stable_path == by_path / "pci-usb-0:1-video-index0"
    assert three.name == "Good Camera"
    assert three.problem == "not a video device"
    assert ten.stable_path == tmp_path / "video10"


@linux_only
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything")
def test_a_device_that_is_not_permitted_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "video0").touch(mode=0o000)
    assert "usermod -aG video" in find_devices(tmp_path, tmp_path)[0].problem


def test_driver_answers_are_read() -> None:
    # As the kernel lays them out, with the node's own capabilities after the device's.
    capability = struct.pack(
        "=16s32s32sIII3I", b"uvcvideo", b"C920", b"usb-1", 0x60A00, 0x84A00001, 0x04200001, 0, 0, 0
    )
    assert parse_capability(capability) == ("uvcvideo", "C920", 0x04200001)
    discrete = struct.pack("=11I", 0, 0, 1, 640, 480, 0, 0, 0, 0, 0, 0)
    assert parse_frame_size(discrete) == [(640, 480)]
    stepwise = struct.pack("=11I", 0, 0, 3, 160, 1920, 8, 120, 1080, 8, 0, 0)
    assert parse_frame_size(stepwise) == [(160, 120), (640, 480), (1920, 1080)]
    small = struct.pack("=11I", 0, 0, 3, 160, 400, 16, 120, 300, 16, 0, 0)
    assert parse_frame_size(small) == [(160, 120), (400, 296), (400, 300)]
    interval = struct.pack("=13I", 0, 0, 640, 480, 1, 1, 30, 0, 0, 0, 0, 0, 0)
    assert parse_frame_interval(interval) == [30.0]
    range_of = struct.pack("=13I", 0, 0, 640, 480, 2, 1, 60, 1, 5, 1, 60, 0, 0)
    assert parse_frame_interval(range_of) == [60.0, 30.0, 5.0]
    nonsense = struct.pack("=13I", 0, 0, 640, 480, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    assert parse_frame_interval(nonsense) == []


def test_the_sheet_shows_every_camera(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    sources = ["{kind: synthetic}", "{kind: synthetic, width: 320, height: 640}"] * 2
    config.write_text(
        "cameras:\n"
        + "".join(
            f"- {{id: c{index}, source: {source}}}\n" for index, source in enumerate(sources)
        ),
        encoding="utf-8",
    )
    watched = [WatchedCamera(camera) for camera in load_config(config).cameras]
    empty = contact_sheet(watched)
    try:
        deadline = time.monotonic() + 60
        while not all(item.picture is not None for item in watched):
            assert time.monotonic() < deadline
            for item in watched:
                item.update()
            time.sleep(0.01)
        sheet = contact_sheet(watched)
    finally:
        for item in watched:
            item.close()
    assert sheet.shape == empty.shape == (720, 960, 3)
    for y, x in ((0, 0), (0, 480), (360, 0), (360, 480)):
        assert (sheet[y + 60 : y + 360, x : x + 480] != empty[y + 60 : y + 360, x : x + 480]).any()


@linux_only
def test_a_display_is_asked_for_before_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "DISPLAY is not set" in why_no_window()
    monkeypatch.setenv("DISPLAY", ":991")
    assert "does not answer" in why_no_window()
