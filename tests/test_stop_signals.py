"""A process that is asked to end does so, whoever gets the signal and whatever it waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.live_runs import ROOT

pytestmark = pytest.mark.alone

_WAITING = """
import threading
from app.stop_signals import set_on_signals

stop = threading.Event()
set_on_signals(stop)
print("waiting", flush=True)
stop.wait()
print("asked", flush=True)
"""

_OTHER_THREAD = """
import signal, threading
from app.stop_signals import set_on_signals

stop = threading.Event()
set_on_signals(stop)
thread = threading.Thread(target=threading.Event().wait, daemon=True)
thread.start()
threading.Timer(0.5, lambda: signal.pthread_kill(thread.ident, signal.SIGTERM)).start()
print("waiting", flush=True)
stop.wait()
print("asked", flush=True)
"""


@contextmanager
def _process(script: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_is_enough(number: signal.Signals) -> None:
    with _process(_WAITING) as process:
        process.send_signal(number)
        assert process.communicate(timeout=20)[0] == "asked\n"
        assert process.returncode == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_hail_of_signals_does_not_lock_it_up(seed: int) -> None:
    with _process(_WAITING) as process:
        time.sleep(0.05 * seed)
        end = time.monotonic() + 5
        while process.poll() is None and time.monotonic() < end:
            os.kill(process.pid, (signal.SIGTERM, signal.SIGINT)[seed % 2])
        # The interpreter may meet one more signal after it gave its handlers back.
        assert process.wait(20) in (0, -signal.SIGTERM, -signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read() == "asked\n"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
def test_a_signal_to_another_thread_ends_the_wait_of_the_main_thread() -> None:
    with _process(_OTHER_THREAD) as process:
        assert process.communicate(timeout=20)[0] == "asked\n"
        assert process.returncode == 0
