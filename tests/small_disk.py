"""The recorder where no file can grow beyond 40 kB, which stands for a full disk."""

from __future__ import annotations

import resource
import signal

from app.process import run_process
from app.recorder_process import main

if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    run_process(main)
