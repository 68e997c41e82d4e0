"""Files of one run are played in step, also where the machine is too slow for them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from app.clock import now_ns
from app.config import FileSource as FileConfig
from capture.playback import PlaybackDelay
from capture.sources.file import FileSource
from capture_rig import CaptureRig, write_video

pytestmark = pytest.mark.alone

THIRTY_FPS = [round(k * 1000 / 30) for k in range(90)]


def test_the_largest_delay_counts_for_all_and_never_shrinks(tmp_path: Path) -> None:
    first, second = PlaybackDelay(tmp_path, 0), PlaybackDelay(tmp_path, 7)
    assert first.delay_ns == second.delay_ns == 0
    second.raise_to(300)
    first.raise_to(200)
    assert first.delay_ns == second.delay_ns == 300
    second.raise_to(100)
    assert first.delay_ns == 300
    assert PlaybackDelay(tmp_path, 1).delay_ns == 300  # a process that was restarted


def test_a_file_that_falls_behind_slows_the_run_down_and_loses_nothing_more(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", THIRTY_FPS)
    delay = PlaybackDelay(tmp_path, 0)
    source = FileSource(FileConfig(kind="file", path=path), delay)
    stop = threading.Event()
    with source:
        source.begin(now_ns())
        skipped = []
        for _ in range(6):
            skipped.append(source.read(stop).skipped)
            time.sleep(0.7)  # as if decoding took so long
        assert delay.delay_ns >= 5 * 0.6e9 - 0.5e9
        assert skipped[2:] == [0, 0, 0, 0], "in slow motion nothing is passed over"
    assert "slower than it was filmed" in source.hint


def test_the_others_wait_for_it_but_keep_their_time_stamps(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", THIRTY_FPS)
    with CaptureRig({"kind": "file", "path": str(path)}) as rig:
        PlaybackDelay(rig.run_dir, 5).raise_to(1_500_000_000)
        rig.start()
        rig.begin()
        rig.pump(lambda: len(rig.frames["c0"]) > 20)
        for frame in rig.frames["c0"]:
            assert frame.header.delay_ns >= 1_500_000_000  # more, where this machine is late
            assert frame.at_ns >= frame.header.capture_ns + frame.header.delay_ns
            assert frame.stamp is not None
            file_ms = frame.stamp.time_ns // 1_000_000
            assert abs((frame.header.capture_ns - rig.epoch_ns) / 1e6 - file_ms) < 1
        assert rig.stop() == 0
