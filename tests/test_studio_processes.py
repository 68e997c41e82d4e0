"""Processes that render scenes end with the command that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from live_runs import wait_for


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
        wait_for(lambda: any(tmp_path.glob("train/*.safetensors")), "a scene")
        children = psutil.Process(command.pid).children(recursive=True)
        assert children
        command.send_signal(how)
        command.wait(60)
        gone, alive = psutil.wait_procs(children, 60)
        assert gone and not alive
    finally:
        command.kill()
        command.wait()
