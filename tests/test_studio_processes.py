"""Processes that render scenes end with the command that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_renderer_outlives_a_killed_command(
    how: signal.Signals, shared_dir: Path, tmp_path: Path
) -> None:
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "tools.studio", "data", "--split", "train"),
            *("--sort", "stills", "--count", "500", "--workers", "1", "--out", str(tmp_path)),
            *("--assets", str(shared_dir / "data/mpfb")),
            *("--mocap", str(shared_dir / "data/mocap/cmu_mocap17_30fps.npz")),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(lambda: any(tmp_path.glob("train/*.safetensors")), 90, "a scene")
        children = psutil.Process(command.pid).children(recursive=True)
        assert children
        command.send_signal(how)
        command.wait(10)
        gone, alive = psutil.wait_procs(children, 60)
        assert gone and not alive
    finally:
        command.kill()
        command.wait()


def _wait_for(there: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"no {what} after {seconds} s"
        time.sleep(0.2)
