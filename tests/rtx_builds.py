"""Builds engines with TensorRT for RTX, which needs no GPU for that; run as a process of its own.

Its libraries stay out of the process that tests, as they stay out of the application without a GPU.
For each file it prints a line: "engine", its name, bytes of the engine, phases that were reported.
TensorRT prints lines of its own between.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import tensorrt_rtx

from engines.backends.tensorrt_build import build_plan
from engines.errors import UserError


def main() -> int:
    """Builds what the command line names; ``7.5`` among the names is for Turing from there on."""
    logging.basicConfig(level=logging.WARNING)
    capability = None
    for name in sys.argv[1:]:
        if name == "7.5":
            capability = (7, 5)
            continue
        phases: dict[str, float] = {}
        path = Path(name)
        try:
            plan = build_plan(
                tensorrt_rtx, path.read_bytes(), path, phases.__setitem__, capability=capability
            )
        except UserError as error:
            print(f"error: {error}", flush=True)
            continue
        done = ",".join(f"{phase}={share:.0f}" for phase, share in phases.items())
        print(f"engine|{path.name}|{len(plan.content)}|{done}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
