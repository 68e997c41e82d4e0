"""Names for files that must not replace others."""

from __future__ import annotations

from pathlib import Path


def free_path(path: Path) -> Path:
    """``path``, or with -2, -3 … before the suffix where it exists.

    Raises:
        OSError: it cannot be told, e.g. since the folder is not ours to look into.
    """
    number, free = 2, path
    while free.exists():
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return free
