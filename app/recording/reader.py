"""Reads recordings back as typed messages; refuses what is not one with one line."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from mcap.opcode import Opcode
from mcap.records import Channel, Metadata
from mcap.records import Message as McapMessage
from pydantic import ValidationError

from app.clock import ClockAnchor
from app.messages import SCHEMA_VERSION, Message
from app.recording import layout
from app.recording.records import (
    DamagedError,
    RawRecord,
    chunk_records,
    open_mcap,
    parse,
    parse_message,
    raw_records,
)
from app.recording.writer import RecordingHead
from app.run_spec import RunSpec
from app.topics import Topic
from engines.errors import UserError

_HEAD_RECORDS: Final = 64  # the head is among the first records


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """One message.

    Attributes:
        topic: where it came from.
        log_ns: when it was recorded, in nanoseconds since 1970.
        message: of the topic's type.
    """

    topic: Topic
    log_ns: int
    message: Message


class Recording:
    """A recording whose head was read and understood.

    Attributes:
        path: the file.
        head: run, clock and epoch.
        version: of the software that wrote it.
        damage: where and how the file is damaged, found while reading its messages; empty if it
            is not. What stands before is read all the same.
        ended: whether a footer was found, while reading the messages to the end.
    """

    def __init__(self, path: Path) -> None:
        """Reads the head.

        Raises:
            UserError: the file cannot be read or is not a recording of this software.
        """
        self.path = path
        self.damage = ""
        self.ended = False
        metadata = _leading_metadata(path)
        self.head = _head(path, metadata)
        self.version = metadata[layout.METADATA_RECORDING].get("version", "")

    def messages(self, topics: Collection[Topic] | None = None) -> Iterator[RecordedMessage]:
        """The messages in the order in which they were recorded.

        Memory does not grow with the file. A file that was cut off gives what it has; what
        follows a damaged place is not read.

        Args:
            topics: those that are wanted; all by default.

        Raises:
            UserError: a whole and undamaged message makes no sense.
        """
        wanted = set(layout.RECORDED_TOPICS if topics is None else topics)
        decoders: dict[Topic, msgspec.json.Decoder[Any]] = {
            topic: msgspec.json.Decoder(topic.info.message) for topic in wanted
        }
        channels: dict[int, Topic | None] = {}
        self.damage, self.ended = "", False
        with open_mcap(self.path) as file:
            try:
                for record in raw_records(file):
                    if record.opcode in (Opcode.FOOTER, Opcode.DATA_END):
                        self.ended = True
                        return
                    if record.opcode != Opcode.CHUNK:
                        continue
                    for item in chunk_records(record):
                        if item.opcode == Opcode.CHANNEL:
                            channel = parse(item, Channel.read)
                            channels[channel.id] = layout.TOPIC_OF_CHANNEL.get(channel.topic)
                        elif item.opcode == Opcode.MESSAGE:
                            message = parse_message(item)
                            topic = channels.get(message.channel_id)
                            if topic in wanted:
                                yield self._decode(topic, message, decoders[topic])
            except DamagedError as error:
                self.damage = str(error)
            except OSError as error:
                raise UserError(f"{self.path}: cannot be read: {error.strerror}") from error

    def _decode(
        self, topic: Topic, item: McapMessage, decoder: msgspec.json.Decoder[Any]
    ) -> RecordedMessage:
        try:
            message = decoder.decode(item.data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self.path}: a message of {topic.value} cannot be understood: {error}"
            ) from error
        if message.schema != SCHEMA_VERSION:
            raise UserError(
                f"{self.path}: messages of version {message.schema}; this software knows "
                f"{SCHEMA_VERSION}; use the version that it was recorded with ({self.version})"
            )
        return RecordedMessage(topic, item.log_time, message)


def read_run_spec(path: Path) -> RunSpec:
    """The run that a recording is of.

    Raises:
        UserError: the file cannot be read or is not a recording of this software.
    """
    return Recording(path).head.spec


def _leading_metadata(path: Path) -> dict[str, dict[str, str]]:
    metadata: dict[str, dict[str, str]] = {}
    count = 0
    with open_mcap(path) as file:
        try:
            for record in raw_records(file):
                count += 1
                if record.opcode == Opcode.CHUNK or count > _HEAD_RECORDS:
                    break
                if record.opcode == Opcode.METADATA:
                    entry = _metadata(record)
                    metadata[entry.name] = entry.metadata
        except DamagedError as error:
            raise UserError(f"{path}: a damaged recording: {error}") from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return metadata


def _metadata(record: RawRecord) -> Metadata:
    return parse(record, Metadata.read)


def _head(path: Path, metadata: dict[str, dict[str, str]]) -> RecordingHead:
    about = metadata.get(layout.METADATA_RECORDING)
    if about is None:
        raise UserError(f"{path}: an MCAP file, but not recorded by this software")
    if about.get("format") != str(layout.FORMAT_VERSION):
        raise UserError(
            f"{path}: recording format {about.get('format')!r}; this software knows "
            f"{layout.FORMAT_VERSION}; use the version that wrote it ({about.get('version')})"
        )
    try:
        clock = metadata[layout.METADATA_CLOCK]
        anchor = ClockAnchor(int(clock["monotonic_ns"]), int(clock["wall_ns"]))
        spec = RunSpec.model_validate_json(metadata[layout.METADATA_RUN]["spec"])
        return RecordingHead(spec, anchor, int(clock["epoch_ns"]))
    except (KeyError, ValueError, ValidationError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: the head of the recording is damaged: {first}") from error
