"""One supervised process: what hangs is ended and started again."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest

from app import supervised
from app.bus import Subscriber
from app.crash_logs import keep_logs
from app.process_table import ProcessEntry
from app.run_messages import Heartbeat
from app.run_spec import RunSpec, make_run_dir
from app.supervised import SupervisedProcess
from app.topics import Topic
from tests.staged_run import PATIENCE_S, config

pytestmark = pytest.mark.alone


def test_a_main_loop_that_hangs_is_ended_though_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "_STUCK_LOOP_S", 2.0)
    run_dir = make_run_dir()
    RunSpec(mode="live", config=config(tmp_path)).save(run_dir)
    row = SupervisedProcess(ProcessEntry("viewer", "tests.hanging_process"), run_dir)
    beats = Subscriber[Heartbeat](run_dir, Topic.HEARTBEAT, ("viewer",))
    deadline = time.monotonic() + PATIENCE_S
    pids: set[int] = set()
    while len(pids) < 2 and time.monotonic() < deadline:
        row.reconcile()
        for received in beats.drain():
            row.hear(received.message)
            pids.add(received.message.pid)
        time.sleep(0.05)
    health = row.health()
    row.signal(signal.SIGKILL)
    assert row.wait(10)
    beats.close()
    assert len(pids) == 2, "it was never started again"
    assert health.restarts == 1
    shutil.rmtree(run_dir)


def test_what_is_ended_with_the_run_did_not_crash(tmp_path: Path) -> None:
    run_dir = make_run_dir()
    RunSpec(mode="live", config=config(tmp_path)).save(run_dir)
    row = SupervisedProcess(ProcessEntry("viewer", "tests.hanging_process"), run_dir)
    row.reconcile()
    row.kill()
    assert row.wait(10)
    assert not row.crashed and row.restarts == 0
    shutil.rmtree(run_dir)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("segfault", "ended by SIGSEGV; in its log: Fatal Python error: Segmentation fault"),
        ("killed", "ended by SIGKILL (as when memory runs out); in its log: "),
        ("raised", "exit status 1; in its log: ValueError: something is odd"),
    ],
)
def test_the_last_word_says_how_a_process_ended(tmp_path: Path, how: str, says: str) -> None:
    run_dir = make_run_dir()
    RunSpec(mode="live", config=config(tmp_path)).save(run_dir)
    row = SupervisedProcess(ProcessEntry(f"it.{how}", "tests.crashing_process"), run_dir)
    row.reconcile()
    deadline = time.monotonic() + PATIENCE_S
    while row.exit_code is None and time.monotonic() < deadline:
        time.sleep(0.05)
        row.reconcile()
    assert row.crashed and row.error.startswith(says), row.error
    kept = keep_logs(run_dir, tmp_path / "out")
    shutil.rmtree(run_dir)
    assert kept is not None and (kept / f"it.{how}.log").stat().st_size > 0
    assert keep_logs(run_dir, tmp_path / "out") is None
