"""Whole runs of the live application with fake cameras: real processes, sockets, networks."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import cv2
import psutil
import pytest

from app.recording.reader import Recording
from app.recording.recover import inspect
from app.topics import Topic
from engines.errors import UserError
from live_runs import (
    app_command,
    environment,
    family,
    named,
    run_app,
    running_app,
    synthetic,
    wait_for,
    write_config,
)

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("pipeline", "camera.c0", "camera.c1", "viewer", "recorder")


def _error_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return lines[0]


def test_a_run_with_faulty_cameras_ends_with_a_report_and_leaves_nothing_behind(
    short_tmp: Path,
) -> None:
    cameras = [
        synthetic(phase_ms=0, jitter_ms=4),
        synthetic(phase_ms=9, drop=0.2, seed=1),
        synthetic(phase_ms=17, hang_at_s=4, hang_for_s=4, seed=2),
        synthetic(phase_ms=25, fps=10, freeze_at_s=5, freeze_for_s=4, seed=3),
        synthetic(phase_ms=3, fail_at_s=4, fail_for_s=1.5, seed=4),
    ]
    config = write_config(short_tmp, cameras)
    done = run_app(
        short_tmp, "live", "--config", config, "--headless", "--seconds", "12",
        "--report", short_tmp / "r.json", "--record", short_tmp / "t.mcap",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((short_tmp / "r.json").read_text())
    assert report["sets"] > 3  # few, on a busy machine
    assert report["rate_hz"] > 0
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert set(report["cameras"]) == {"c0", "c1", "c2", "c3", "c4"}
    for camera in report["cameras"].values():
        assert set(camera) >= {"fps", "frames", "dropped", "reconnects", "skew_ms_p95"}
        assert camera["frames"] > 0
    assert report["cameras"]["c1"]["dropped"] > 0
    assert report["cameras"]["c2"]["reconnects"] >= 1  # it hung for longer than is waited
    assert report["cameras"]["c4"]["reconnects"] >= 1
    assert report["stages_ms"]["front_end"] > 0
    assert report["completeness"] == 0  # nobody is in a test picture, and none is made up
    assert {"front_end", "lifter", "engine"} <= set(report)
    assert (short_tmp / "t.mcap").stat().st_size > 1000
    small = short_tmp / "small.yaml"
    small.write_text(config.read_text() + "viewer: {width: 480, height: 270}\n")
    replayed = run_app(
        short_tmp, "replay", short_tmp / "t.mcap", "--headless", "--seconds", "9", "--speed", "4",
        "--video", short_tmp / "v.mp4", "--report", short_tmp / "again.json", "--config", small,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert json.loads((short_tmp / "again.json").read_text())["front_end"] == report["front_end"]
    video = cv2.VideoCapture(str(short_tmp / "v.mp4"))
    assert video.read()[1].shape == (270, 480, 3)
    assert family(short_tmp) == []
    assert list((short_tmp / "r").iterdir()) == []


@pytest.mark.parametrize("count", [1, 8])
def test_one_to_eight_cameras(short_tmp: Path, count: int) -> None:
    config = write_config(short_tmp, [synthetic(seed=k, phase_ms=4 * k) for k in range(count)])
    report_file = short_tmp / "r.json"
    done = run_app(
        short_tmp, "live", "--config", config, "--headless", "--seconds", "4",
        "--report", report_file,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_file.read_text())
    assert len(report["cameras"]) == count
    assert report["sets"] > 3


def test_killed_processes_come_back_and_ctrl_c_ends_everything_soon(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic(), synthetic(phase_ms=15)])
    with running_app(
        short_tmp, "live", "--config", config, "--headless", "--record", short_tmp / "t.mcap"
    ) as app:
        for part in PARTS:
            wait_for(lambda part=part: named(short_tmp, part) is not None, f"start of {part}")
        wait_for(lambda: _poses_recorded(short_tmp), "first recorded sets")
        for part in PARTS:
            victim = named(short_tmp, part)
            assert victim is not None
            victim.kill()
            wait_for(
                lambda part=part, old=victim.pid: (
                    (p := named(short_tmp, part)) is not None and p.pid != old
                ),
                f"return of {part}",
            )
        assert app.poll() is None
        began = time.monotonic()
        app.send_signal(signal.SIGINT)
        app.wait(20)
        assert time.monotonic() - began < 8  # two seconds, on a machine that is not busy
        assert app.returncode == 0
    wait_for(lambda: family(short_tmp) == [], "end of every process", 5)


def test_under_nohup_a_closed_terminal_ends_nothing(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic()])
    video, record = short_tmp / "v.mp4", short_tmp / "t.mcap"
    with running_app(
        short_tmp, "live", "--config", config, "--headless", "--video", video, "--record", record,
        nohup=True,
    ) as app:  # fmt: skip
        wait_for(lambda: _poses_recorded(short_tmp), "first recorded sets")
        app.send_signal(signal.SIGHUP)
        wait_for(lambda: video.exists() and video.stat().st_size > 20_000, "a video")
        # A viewer that is started again leaves what the one before has drawn.
        drawn = video.stat().st_size
        victim = named(short_tmp, "viewer")
        assert victim is not None
        victim.kill()
        second = video.with_stem("v-2")
        wait_for(lambda: second.exists() and second.stat().st_size > 0, "its second video")
        assert video.stat().st_size >= drawn
        assert app.poll() is None
        app.send_signal(signal.SIGINT)
        assert app.wait(20) == 0
    assert inspect(record).whole


def test_a_video_that_cannot_go_on_ends_neither_run_nor_recording(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic()])
    record = short_tmp / "t.mcap"
    with running_app(
        short_tmp, "live", "--config", config, "--headless", "--record", record,
        "--video", short_tmp / "v.mp4", "--seconds", "8",
    ) as app:  # fmt: skip
        video = short_tmp / "v.mp4"
        wait_for(video.exists, "a video")
        viewer = named(short_tmp, "viewer")
        assert viewer is not None
        # Soon the file may not grow any more, as on a full disk; its log is much smaller.
        most = video.stat().st_size + 2_000
        viewer.rlimit(psutil.RLIMIT_FSIZE, (most, most))
        code = app.wait(60)
        assert app.stdout is not None
        said = app.stdout.read()
        assert code == 2, said
        assert "v.mp4: the video cannot be" in said
        assert "Traceback" not in said
        assert "8 s are over" in said
    assert inspect(record).whole


def test_when_the_supervisor_is_killed_its_processes_end_too(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic()])
    with running_app(short_tmp, "live", "--config", config, "--headless") as app:
        wait_for(lambda: named(short_tmp, "pipeline") is not None, "start")
        wait_for(lambda: named(short_tmp, "camera.c0") is not None, "start")
        app.kill()
        app.wait(10)
        wait_for(lambda: family(short_tmp) == [], "end of every process", 15)


def test_a_closed_terminal_ends_everything_in_order(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic()])
    record = short_tmp / "t.mcap"
    with running_app(
        short_tmp, "live", "--config", config, "--headless", "--record", record
    ) as app:
        wait_for(lambda: _poses_recorded(short_tmp), "first recorded sets")
        viewer = named(short_tmp, "viewer")
        assert viewer is not None
        group = Path(f"/proc/{viewer.pid}/autogroup")
        switch = Path("/proc/sys/kernel/sched_autogroup_enabled")
        if switch.exists() and switch.read_text().strip() == "1":
            # It stands back also where the kernel counts sessions alone.
            assert group.read_text().split()[-1] == str(viewer.nice())
        app.send_signal(signal.SIGHUP)
        assert app.wait(20) == 0
    assert inspect(record).whole
    assert family(short_tmp) == []


def test_it_runs_as_the_first_process_of_a_container(short_tmp: Path) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no process namespaces")
    config = write_config(short_tmp, [synthetic()])
    done = subprocess.run(
        [*namespace, *app_command("live", "--config", config, "--headless", "--seconds", "2")],
        cwd=short_tmp,
        env=environment(short_tmp),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended: 2 s are over" in done.stdout


def test_a_missing_video_is_one_line(short_tmp: Path) -> None:
    config = write_config(short_tmp, [{"kind": "file", "path": "nowhere.mp4"}, synthetic()])
    done = run_app(short_tmp, "live", "--config", config, "--headless", "--seconds", "5")
    assert "nowhere.mp4" in _error_line(done)
    assert family(short_tmp) == []


def test_a_recording_is_never_overwritten(short_tmp: Path) -> None:
    config = write_config(short_tmp, [synthetic()])
    kept = short_tmp / "t.mcap"
    kept.write_bytes(b"precious")
    done = run_app(short_tmp, "live", "--config", config, "--record", kept)
    assert "t.mcap" in _error_line(done)
    assert kept.read_bytes() == b"precious"


@pytest.mark.parametrize("damage", ["truncated", "swapped", "missing", "no description"])
def test_wrong_weights_are_one_line(short_tmp: Path, damage: str) -> None:
    good = (ROOT / "weights" / "lifter.onnx").read_bytes()
    weights = short_tmp / "lifter.onnx"
    weights.write_bytes(good[: len(good) // 2] if damage == "truncated" else good)
    (short_tmp / "lifter.json").write_bytes((ROOT / "weights" / "lifter.json").read_bytes())
    if damage == "swapped":
        weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "missing":
        weights.unlink()
    elif damage == "no description":
        (short_tmp / "lifter.json").write_text("[]")
    config = write_config(short_tmp, [synthetic()], lifter={"weights": str(weights)})
    done = run_app(short_tmp, "live", "--config", config, "--headless", "--seconds", "5")
    assert "lifter." in _error_line(done)


def test_mistakes_on_the_command_line_are_one_line(short_tmp: Path) -> None:
    done = run_app(short_tmp, "live", "--config", short_tmp / "absent.yaml")
    assert "no such configuration file" in _error_line(done)
    done = run_app(short_tmp, "replay", short_tmp / "absent.mcap")
    assert "absent.mcap" in _error_line(done)
    done = run_app(short_tmp, "live", "--seconds", "-3")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def _poses_recorded(folder: Path) -> bool:
    """Whether a pose, be it of nobody, has reached the recording."""
    try:
        return any(Recording(folder / "t.mcap").messages([Topic.POSES]))
    except UserError:  # not there yet, or its head is not
        return False
