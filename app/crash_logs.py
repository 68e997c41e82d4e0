"""Keeps the logs of a run in which a process crashed."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path


def keep_logs(run_dir: Path, folder: Path) -> Path | None:
    """Copies a run's logs out of its folder, which is about to be removed.

    Args:
        run_dir: folder of the run.
        folder: where a folder for them is made.

    Returns:
        The new folder; None where it cannot be made: that must not hide why the run ended.
    """
    kept = folder / time.strftime("crash-%Y%m%d-%H%M%S")
    with contextlib.suppress(OSError):
        shutil.copytree(run_dir / "logs", kept)
        return kept
    return None
