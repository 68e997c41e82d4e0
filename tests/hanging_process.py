"""A process of a run whose main loop goes round for a moment, and then hangs."""

from __future__ import annotations

import time

from app.process import ProcessContext, run_process


def main(context: ProcessContext) -> None:
    context.ready()
    context.turned()
    time.sleep(1000)


if __name__ == "__main__":
    run_process(main)
