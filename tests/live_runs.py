"""Helpers for tests that start whole runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]


def write_config(folder: Path, cameras: list[dict[str, object]], **settings: object) -> Path:
    """A configuration file with the given sources, called c0, c1, …"""
    data = {
        "cameras": [{"id": f"c{k}", "source": source} for k, source in enumerate(cameras)],
        "recorder": {"folder": str(folder / "takes")},
        **settings,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def synthetic(**settings: object) -> dict[str, object]:
    """A synthetic camera that costs little."""
    return {"kind": "synthetic", "width": 160, "height": 120, "fps": 30, **settings}


def app_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "app", *map(str, arguments)]


def environment(folder: Path) -> dict[str, str]:
    """No display, and a short folder for sockets that the test can look into."""
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    runtime = folder / "r"
    runtime.mkdir(exist_ok=True)
    return {**kept, "XDG_RUNTIME_DIR": str(runtime), "PYTHONPATH": str(ROOT)}


def run_app(
    folder: Path, *arguments: str | Path, timeout_s: float = 180
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        app_command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@contextmanager
def running_app(
    folder: Path, *arguments: str | Path, nohup: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A run that is looked at while it lasts; ``nohup`` starts it as that command does."""
    hangup = signal.SIG_IGN if nohup else signal.SIG_DFL  # however the tests were started
    process = subprocess.Popen(
        app_command(*arguments),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"timed out waiting: {what}"
        time.sleep(0.05)


def family(folder: Path) -> list[psutil.Process]:
    """Every live process of the runs that were started in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            # Titles replace command line and environment; the working folder is inherited.
            gone = process.status() == psutil.STATUS_ZOMBIE
            if not gone and process.cwd() == str(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def named(folder: Path, name: str) -> psutil.Process | None:
    """The process of a run with this name in the process table."""
    for process in family(folder):
        try:
            if " ".join(process.cmdline()).strip() == f"dsvt {name}":
                return process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return None
