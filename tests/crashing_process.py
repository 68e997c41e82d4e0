"""A process of a run that ends as its key says."""

from __future__ import annotations

import ctypes
import logging
import os
import signal

from app.process import ProcessContext, run_process


def main(context: ProcessContext) -> None:
    logging.getLogger("it").info("all is well")
    if context.key == "segfault":
        ctypes.string_at(0)
    elif context.key == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("something is odd")


if __name__ == "__main__":
    run_process(main)
