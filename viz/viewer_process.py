"""The viewer as a process of the run: a window where there is a display, else a video."""

from __future__ import annotations

import os

import cv2

from app.display import has_display
from app.process import ProcessContext, run_process
from viz.offscreen import run_offscreen

_NICENESS = 5  # inference goes first


def main(context: ProcessContext) -> None:
    """Shows the run until it ends.

    Raises:
        UserError: nothing can be drawn on this machine, or the video cannot be written.
    """
    os.nice(max(0, _NICENESS - os.nice(0)))
    cv2.setNumThreads(1)
    # Where Mesa draws on the processor, threads of its own only cost more of it.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    # Without it the Wayland library complains on the terminal, even where there is no Wayland.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(context.run_dir))
    if not context.spec.headless and has_display():
        from viz.window import run_window

        run_window(context)
    else:
        run_offscreen(context)


if __name__ == "__main__":
    run_process(main)
