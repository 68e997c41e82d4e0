"""A file that only grows and that reaches the disk without making its writer wait."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path


class DurableFile:
    """An append-only binary file, synchronised to the disk by a thread of its own.

    Attributes:
        path: the file.
        size: bytes written.
        committed: bytes up to the last ``commit``, a place where the file may be cut.
    """

    def __init__(self, path: Path) -> None:
        """Creates the file.

        Args:
            path: a file that does not exist; its folder is made where needed.

        Raises:
            FileExistsError: there is such a file.
            OSError: it cannot be made.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:  # which here means a file in the folder's place
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)
            ) from error
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.path = path
        self.size = 0
        self.committed = 0
        self._wanted = threading.Event()
        self._closed = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._synchronise, name="fsync", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> int:
        """Appends all of ``data``.

        Raises:
            OSError: e.g. the disk is full; part of the data may have been written.
        """
        rest = memoryview(data)
        while rest:
            count = os.write(self._descriptor, rest)
            self.size += count
            rest = rest[count:]
        return len(data)

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.size

    def flush(self) -> None:
        """Nothing is buffered here."""

    def commit(self) -> None:
        """Marks the end of what is whole, and has it put on the disk soon.

        Raises:
            OSError: an earlier synchronisation failed.
        """
        if self._error is not None:
            raise self._error
        self.committed = self.size
        self._wanted.set()

    def cut(self) -> None:
        """Takes away what was written since the last ``commit``."""
        os.ftruncate(self._descriptor, self.committed)
        os.lseek(self._descriptor, self.committed, os.SEEK_SET)
        self.size = self.committed

    def close(self) -> None:
        """Puts everything on the disk and closes the file.

        Raises:
            OSError: the disk did not take it.
        """
        if self._closed:
            return
        self._closed = True
        self._wanted.set()
        self._thread.join()
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _synchronise(self) -> None:
        # So that the file's name survives a power cut, too. Some file systems cannot do that with
        # folders, and some folders may not be read: the data are no worse for it.
        with contextlib.suppress(OSError):
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed:
                return
            try:
                getattr(os, "fdatasync", os.fsync)(self._descriptor)  # not everywhere
            except OSError as error:
                self._error = error
