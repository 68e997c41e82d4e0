"""Files named on the command line, checked before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

from engines.errors import UserError
from engines.rig.exchange import guess_format


def new_file(path: Path | None, what: str) -> Path | None:
    """A file that the run will write.

    Args:
        path: as given.
        what: are never overwritten, e.g. "recordings".

    Raises:
        UserError: it exists, or cannot be written.
    """
    if path is None:
        return None
    if _exists(path):
        raise UserError(f"{path}: exists already; {what} are never overwritten, name another")
    check_writable(path)
    return path.absolute()


def existing_file(path: Path | None, what: str) -> Path | None:
    """A file that the run will read.

    Args:
        path: as given.
        what: it is, e.g. "rig file".

    Raises:
        UserError: there is none.
    """
    if path is None:
        return None
    if not _exists(path):
        raise UserError(f"{path}: no such {what}")
    return path.absolute()


def rig_target(path: Path | None) -> Path | None:
    """Where a rig will be kept; what is there is replaced.

    Raises:
        UserError: its format cannot be told, or it cannot be written.
    """
    if path is None:
        return None
    _exists(path)
    guess_format(path)
    check_writable(path)
    return path.absolute()


def changed_ns(path: Path | None) -> int | None:
    """When a file, or the newest in a folder of rig files, was written last; None for none."""
    if path is None:
        return None
    files = [path, *(path / name for name in ("intri.yml", "extri.yml"))]
    return max((p.stat().st_mtime_ns for p in files if _exists(p)), default=None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # not ours to look at, or a name that is too long
        raise UserError(f"{path}: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Refuses a file that cannot be written; folders on the way are made later.

    Raises:
        UserError: the last folder that exists does not let us, or is none.
    """
    folder = path.absolute().parent
    while not _exists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"{path}: cannot be written: {folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written: {folder} may not be written to")
