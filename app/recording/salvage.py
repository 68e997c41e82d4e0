"""What can be kept of a recording that lacks its end, and the end that makes it whole again.

The end is a DataEnd record, a summary section and a footer (mcap.dev/spec).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
)
from mcap.writer import MCAP0_MAGIC

from app.recording.records import RawRecord, chunk_records, parse, parse_message

_FOOTER_BODY: Final = struct.Struct("<BQQQ")


@dataclass(slots=True)
class KeptChunk:
    """One chunk.

    Attributes:
        index: its record for the summary.
        counts: messages of each channel.
        end: where the file goes on after it and its message indexes.
        places: (log time, offset) of the messages of each channel; only of the last chunk.
    """

    index: ChunkIndex
    counts: dict[int, int]
    end: int
    places: dict[int, list[tuple[int, int]]]


@dataclass(slots=True)
class Salvage:
    """What can be kept of a file.

    Attributes:
        whole: the file has a footer and needs nothing.
        end: bytes that are kept as they are.
        lost: bytes after that.
        damage: why the rest is lost; empty if nothing is.
    """

    whole: bool = False
    end: int = len(MCAP0_MAGIC)
    lost: int = 0
    damage: str = ""
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[KeptChunk] = field(default_factory=list)
    metadata: list[MetadataIndex] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """How many messages are kept."""
        return sum(sum(chunk.counts.values()) for chunk in self.chunks)


def take(salvage: Salvage, record: RawRecord) -> None:
    """Adds the next whole record of the file.

    Raises:
        DamagedError: it makes no sense.
    """
    if record.opcode == Opcode.CHUNK:
        _take_chunk(salvage, record)
    elif record.opcode == Opcode.MESSAGE_INDEX:
        index = parse(record, MessageIndex.read)
        if salvage.chunks:
            kept = salvage.chunks[-1]
            kept.index.message_index_offsets[index.channel_id] = record.offset
            kept.index.message_index_length += record.end - record.offset
            kept.end = record.end
    elif record.opcode == Opcode.METADATA:
        name = parse(record, Metadata.read).name
        salvage.metadata.append(MetadataIndex(record.offset, record.end - record.offset, name))
    elif record.opcode == Opcode.SCHEMA:
        schema = parse(record, Schema.read)
        salvage.schemas[schema.id] = schema
    elif record.opcode == Opcode.CHANNEL:
        channel = parse(record, Channel.read)
        salvage.channels[channel.id] = channel
    salvage.end = record.end


def _take_chunk(salvage: Salvage, record: RawRecord) -> None:
    places: dict[int, list[tuple[int, int]]] = {}
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    for item in chunk_records(record):
        if item.opcode == Opcode.MESSAGE:
            message = parse_message(item)
            places.setdefault(message.channel_id, []).append((message.log_time, item.offset))
        elif item.opcode == Opcode.SCHEMA:
            schema = parse(item, Schema.read)
            schemas[schema.id] = schema
        elif item.opcode == Opcode.CHANNEL:
            channel = parse(item, Channel.read)
            channels[channel.id] = channel
    chunk = parse(record, Chunk.read)
    salvage.schemas.update(schemas)
    salvage.channels.update(channels)
    if salvage.chunks:
        salvage.chunks[-1].places = {}
    salvage.chunks.append(
        KeptChunk(
            ChunkIndex(
                chunk_length=record.end - record.offset,
                chunk_start_offset=record.offset,
                compression=chunk.compression,
                compressed_size=len(chunk.data),
                message_end_time=chunk.message_end_time,
                message_index_length=0,
                message_index_offsets={},
                message_start_time=chunk.message_start_time,
                uncompressed_size=chunk.uncompressed_size,
            ),
            {channel: len(found) for channel, found in places.items()},
            record.end,
            places,
        )
    )


def ending(salvage: Salvage) -> bytes:
    """Everything from the end of the last whole chunk on."""
    body = RecordBuilder()
    if salvage.chunks and salvage.chunks[-1].places:
        _mend_message_indexes(salvage.chunks[-1], salvage.end, body)
    DataEnd(0).write(body)
    start = salvage.end + body.count
    data = bytes(body.end())
    summary = bytes(_summary(salvage))
    checked = _FOOTER_BODY.pack(Opcode.FOOTER, 20, start, 0)
    footer = RecordBuilder()
    Footer(
        summary_start=start,
        summary_offset_start=0,
        summary_crc=zlib.crc32(checked, zlib.crc32(summary)),
    ).write(footer)
    return bytes(data + summary + footer.end() + MCAP0_MAGIC)


def _mend_message_indexes(chunk: KeptChunk, end: int, body: RecordBuilder) -> None:
    """Writes those message indexes of the last chunk that were cut off."""
    for channel, places in chunk.places.items():
        if channel not in chunk.index.message_index_offsets:
            before = body.count
            chunk.index.message_index_offsets[channel] = end + before
            MessageIndex(channel_id=channel, records=places).write(body)
            chunk.index.message_index_length += body.count - before


def _summary(salvage: Salvage) -> bytes:
    body = RecordBuilder()
    for schema in salvage.schemas.values():
        schema.write(body)
    for channel in salvage.channels.values():
        channel.write(body)
    counts: dict[int, int] = {}
    for chunk in salvage.chunks:
        for identifier, count in chunk.counts.items():
            counts[identifier] = counts.get(identifier, 0) + count
    filled = [chunk.index for chunk in salvage.chunks if chunk.counts]
    Statistics(
        attachment_count=0,
        channel_count=len(salvage.channels),
        channel_message_counts=counts,
        chunk_count=len(salvage.chunks),
        message_count=salvage.messages,
        message_end_time=max((index.message_end_time for index in filled), default=0),
        message_start_time=min((index.message_start_time for index in filled), default=0),
        metadata_count=len(salvage.metadata),
        schema_count=len(salvage.schemas),
    ).write(body)
    for kept in salvage.chunks:
        kept.index.write(body)
    for entry in salvage.metadata:
        entry.write(body)
    return bytes(body.end())


def give_up_last_chunk(salvage: Salvage) -> None:
    """Makes the file shorter by its last chunk."""
    salvage.chunks.pop()
    last = salvage.chunks[-1] if salvage.chunks else None
    salvage.end = last.end if last else salvage.end
