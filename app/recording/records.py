"""Reads MCAP records one by one, with limits, from files that may be truncated or hostile.

The mcap package's own readers trust the lengths that a file claims; here every length is checked
before memory is taken for it (mcap.dev/spec).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.records import Chunk, McapRecord, Message
from mcap.writer import MCAP0_MAGIC

from engines.errors import UserError

LARGEST_RECORD: Final = 64 << 20
"""Bytes of one record that are read at most."""
LARGEST_CHUNK: Final = 32 << 20
"""Bytes of one chunk's records, unpacked, that are read at most."""

_HEAD: Final = struct.Struct("<BQ")
_FAULTS: Final = (
    McapError,
    struct.error,
    ValueError,
    KeyError,
    OverflowError,
    RuntimeError,
    zstandard.ZstdError,
)

R = TypeVar("R", bound=McapRecord)


class DamagedError(Exception):
    """A record is cut off or makes no sense; its text says where and what."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as it stands in the file.

    Attributes:
        opcode: what it is (``mcap.opcode.Opcode`` or unknown).
        offset: where it begins in the file, in bytes.
        content: all of it after opcode and length.
    """

    opcode: int
    offset: int
    content: bytes

    @property
    def end(self) -> int:
        """Where the next record begins, in bytes."""
        return self.offset + _HEAD.size + len(self.content)


def open_mcap(path: Path) -> BinaryIO:
    """Opens a file and checks that it is MCAP; the position is then the first record.

    Raises:
        UserError: it cannot be read or is something else.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        magic = file.read(len(MCAP0_MAGIC))
    except OSError as error:
        file.close()
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if magic != MCAP0_MAGIC:
        file.close()
        raise UserError(f"{path}: not a recording (no MCAP signature at its beginning)")
    return file


def raw_records(file: BinaryIO) -> Iterator[RawRecord]:
    """The records from the present position on, until the file ends.

    Raises:
        DamagedError: a record is cut off or larger than ``LARGEST_RECORD``.
    """
    while True:
        offset = file.tell()
        head = file.read(_HEAD.size)
        if not head or head == MCAP0_MAGIC:
            return
        if len(head) < _HEAD.size:
            raise DamagedError(f"cut off at byte {offset}")
        opcode, length = _HEAD.unpack(head)
        if length > LARGEST_RECORD:
            raise DamagedError(
                f"a record of {length} bytes at byte {offset} (limit {LARGEST_RECORD})"
            )
        content = file.read(length)
        if len(content) < length:
            raise DamagedError(f"cut off at byte {offset}")
        yield RawRecord(opcode, offset, content)


def parse(record: RawRecord, read: Callable[[ReadDataStream], R]) -> R:
    """A record's content as a struct of ``mcap.records``.

    Raises:
        DamagedError: it makes no sense.
    """
    try:
        return read(ReadDataStream(BytesIO(record.content)))
    except _FAULTS as error:
        raise DamagedError(f"a senseless record at byte {record.offset}") from error


def chunk_records(record: RawRecord) -> Iterator[RawRecord]:
    """The records within a chunk, its check sum verified; their offsets count from its start.

    Raises:
        DamagedError: it is damaged or larger than ``LARGEST_CHUNK``.
    """
    chunk = parse(record, Chunk.read)
    if chunk.uncompressed_size > LARGEST_CHUNK:
        raise DamagedError(
            f"a chunk of {chunk.uncompressed_size} bytes at byte {record.offset} "
            f"(limit {LARGEST_CHUNK})"
        )
    try:
        data = _unpack(chunk)
    except _FAULTS as error:
        raise DamagedError(f"a damaged chunk at byte {record.offset}") from error
    if len(data) != chunk.uncompressed_size:
        raise DamagedError(f"a damaged chunk at byte {record.offset}")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise DamagedError(f"a chunk with a wrong check sum at byte {record.offset}")
    return raw_records(BytesIO(data))


def parse_message(record: RawRecord) -> Message:
    """A message record.

    Raises:
        DamagedError: it makes no sense.
    """
    return parse(record, lambda stream: Message.read(stream, len(record.content)))


def _unpack(chunk: Chunk) -> bytes:
    if chunk.compression == "":
        return bytes(chunk.data)
    if chunk.compression == "zstd":
        # The frame's own size decides how much is allocated, so it is looked at first.
        claimed = zstandard.frame_content_size(chunk.data)
        if claimed > LARGEST_CHUNK:
            raise ValueError("too large")
        unpacked = zstandard.ZstdDecompressor(max_window_size=LARGEST_CHUNK).decompress(
            chunk.data, max_output_size=max(1, chunk.uncompressed_size)
        )
        return bytes(unpacked)
    if chunk.compression == "lz4":
        limited = lz4.frame.LZ4FrameDecompressor().decompress(
            chunk.data, max_length=chunk.uncompressed_size + 1
        )
        return bytes(limited)
    raise ValueError("unknown compression")
