"""Makes whole recordings of those that ended without a footer (kill -9, power, full disk).

Everything up to the last whole chunk is kept byte by byte; index and footer are written anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

from mcap.opcode import Opcode
from mcap.writer import MCAP0_MAGIC

from app.recording.records import DamagedError, open_mcap, raw_records
from app.recording.salvage import Salvage, ending, give_up_last_chunk, take
from engines.errors import UserError


def inspect(path: Path) -> Salvage:
    """Reads a file from its beginning as far as it is whole.

    Raises:
        UserError: it cannot be read, is not MCAP, or has nothing that could be kept.
    """
    salvage = Salvage()
    with open_mcap(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            for record in raw_records(file):
                if record.opcode == Opcode.FOOTER:
                    salvage.whole = file.read(len(MCAP0_MAGIC)) == MCAP0_MAGIC
                    salvage.lost = 0
                    return salvage
                if record.opcode == Opcode.DATA_END:
                    salvage.damage = "the footer is missing"
                    continue
                if not salvage.damage:
                    take(salvage, record)
        except DamagedError as error:
            salvage.damage = str(error)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    salvage.lost = size - salvage.end
    salvage.damage = salvage.damage or "the footer is missing"
    if not salvage.metadata and not salvage.chunks:
        raise UserError(f"{path}: nothing in it can be saved ({salvage.damage})")
    return salvage


def recover(path: Path, target: Path) -> Salvage:
    """Writes a whole recording from one that lacks its end.

    Args:
        path: the damaged file, which is left as it is.
        target: the new file, which must not exist.

    Returns:
        What was kept.

    Raises:
        UserError: nothing can be kept, the target exists or cannot be written.
    """
    salvage = inspect(path)
    try:
        with path.open("rb") as source, target.open("xb") as copy:
            if salvage.whole:
                shutil.copyfileobj(source, copy)
            else:
                _copy(source, copy, salvage.end)
                copy.write(ending(salvage))
            copy.flush()
            os.fsync(copy.fileno())
    except FileExistsError as error:
        raise UserError(f"{target}: exists already; name another file") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    return salvage


def seal(path: Path) -> Salvage:
    """Cuts a file after its last whole chunk and ends it properly, in place.

    Where the disk has no room for the index, chunks are given up from the end until it has.

    Raises:
        UserError: nothing can be kept or the file cannot be written.
    """
    salvage = inspect(path)
    if salvage.whole:
        return salvage
    try:
        with path.open("r+b", buffering=0) as file:
            while True:
                file.truncate(salvage.end)
                file.seek(salvage.end)
                if _written(file, ending(salvage)):
                    os.fsync(file.fileno())
                    return salvage
                if not salvage.chunks:
                    file.truncate(salvage.end)
                    raise UserError(f"{path}: no room on the disk to end the recording")
                give_up_last_chunk(salvage)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    source.seek(0)
    while length > 0:
        part = source.read(min(length, 1 << 20))
        if not part:
            raise OSError("the file became shorter while it was read")
        target.write(part)
        length -= len(part)


def _written(file: RawIOBase, data: bytes) -> bool:
    """Writes all of ``data``, or says that there is no room for it."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) or 0 :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return False
        raise
    return True
