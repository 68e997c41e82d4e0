"""Sets from real sockets, and runs over files that do not begin or end together."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from app.config import SynchronizerConfig
from app.frame_receiver import FrameReceiver
from capture_rig import write_video
from live_runs import run_app, write_config


@pytest.mark.parametrize("lossless", [False, True])
def test_a_camera_that_gave_up_is_not_waited_for(short_tmp: Path, lossless: bool) -> None:
    receiver = FrameReceiver(short_tmp, ["a", "b"], SynchronizerConfig(), lossless=lossless)
    try:
        receiver.give_up("a")
        assert not receiver.exhausted
        receiver.give_up("b")
        assert receiver.exhausted
        assert receiver.next_set(0.05) is None
    finally:
        receiver.close()


@pytest.mark.parametrize("late", [0, 1])
def test_a_file_that_begins_seconds_later_is_waited_for(short_tmp: Path, late: int) -> None:
    """Sets follow the first camera's pictures; the second one's early ones belong to none."""
    steady_ms = [round(k * 1000 / 30) for k in range(240)]
    sources: list[dict[str, object]] = []
    for view in range(2):
        path = write_video(short_tmp / f"{view}.mkv", steady_ms, (64, 48))
        start_s = -5.0 if view == late else 0.0
        sources.append(
            {"kind": "file", "path": str(path), "pace": "as_consumed", "start_s": start_s}
        )
    config = write_config(short_tmp, sources, calibration={"enabled": False})
    began = time.monotonic()
    done = run_app(
        short_tmp, "live", "--config", config, "--headless", "--report", short_tmp / "r.json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every source has ended" in done.stdout, time.monotonic() - began
    report = json.loads((short_tmp / "r.json").read_text())
    # Eight seconds of each; three in common. Who is first sets the pace, then who is left.
    assert report["sets"] >= 235
    assert report["cameras"]["c0"]["dropped"] == 0
