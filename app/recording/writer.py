"""Writes one recording: MCAP, append-only, whole chunks on disk at least twice a second."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from mcap.well_known import MessageEncoding, SchemaEncoding
from mcap.writer import CompressionType, Writer

from app.clock import ClockAnchor
from app.config.schema import Source
from app.config.stream_address import without_secrets
from app.messages import Message, Pose
from app.placement import Placer
from app.recording import layout
from app.recording.durable_file import DurableFile
from app.recording.foxglove_scene import SCHEMA_NAME, SceneUpdate, scene_update
from app.recording.schemas import encode, foxglove_schema
from app.run_spec import RunSpec
from app.topics import Topic
from app.version import VERSION
from engines.skeleton import BONES, JOINT_NAMES

_CHUNK_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class RecordingHead:
    """What stands at the beginning of a recording.

    Attributes:
        spec: the run.
        anchor: ties the run's clock to the wall clock.
        epoch_ns: time 0 of the run's files, on the run's clock.
    """

    spec: RunSpec
    anchor: ClockAnchor
    epoch_ns: int

    def wall_ns(self, monotonic_ns: int) -> int:
        """An instant of the run's clock in nanoseconds since 1970."""
        return self.anchor.to_wall(monotonic_ns)


class RecordingWriter:
    """Turns messages into records of a file.

    Attributes:
        messages: how many were written.
    """

    def __init__(self, file: DurableFile, head: RecordingHead) -> None:
        """Writes the head.

        Raises:
            OSError: the disk does not take it.
        """
        self._file = file
        self._head = head
        self._placer = Placer()
        self.messages = 0
        output: Any = file  # it has what Writer uses: write, tell, flush
        self._writer = Writer(output, chunk_size=_CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile=layout.PROFILE, library=f"{layout.LIBRARY} {VERSION}")
        self._write_head()
        self._channels = {
            topic: self._channel(
                layout.channel_name(topic),
                topic.info.message.__name__,
                foxglove_schema(topic.info.message),
            )
            for topic in layout.RECORDED_TOPICS
        }
        self._scene = self._channel(layout.SCENE_CHANNEL, SCHEMA_NAME, foxglove_schema(SceneUpdate))
        self._sequences: dict[int, int] = {}
        self.commit()

    def add(self, topic: Topic, message: Message, at_ns: int) -> None:
        """Adds a message that arrived at ``at_ns`` of the run's clock.

        Raises:
            OSError: the disk does not take it.
        """
        wall_ns = self._head.wall_ns(at_ns)
        self._add(self._channels[topic], encode(message), wall_ns)
        if isinstance(message, Pose):
            joints, confidence = self._placer.place(message)
            shown_ns = self._head.wall_ns(message.time_ns)
            self._add(self._scene, encode(scene_update(joints, confidence, shown_ns)), wall_ns)
        self.messages += 1

    def commit(self) -> None:
        """Closes the chunk in progress; what was added so far outlives this process.

        Raises:
            OSError: the disk does not take it.
        """
        self._writer.flush()
        self._file.commit()

    def finish(self) -> None:
        """Writes index and footer.

        Raises:
            OSError: the disk does not take them.
        """
        self._writer.finish()
        self._file.commit()

    def _add(self, channel: int, data: bytes, wall_ns: int) -> None:
        sequence = self._sequences.get(channel, 0)
        self._sequences[channel] = sequence + 1
        self._writer.add_message(channel, wall_ns, data, wall_ns, sequence)

    def _channel(self, name: str, schema_name: str, schema: dict[str, Any]) -> int:
        schema_id = self._writer.register_schema(
            schema_name, SchemaEncoding.JSONSchema, json.dumps(schema).encode()
        )
        return int(self._writer.register_channel(name, MessageEncoding.JSON, schema_id))

    def _write_head(self) -> None:
        head = self._head
        started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._writer.add_metadata(
            layout.METADATA_RECORDING,
            {"format": str(layout.FORMAT_VERSION), "version": VERSION, "started": started},
        )
        self._writer.add_metadata(
            layout.METADATA_CLOCK,
            {
                "monotonic_ns": str(head.anchor.monotonic_ns),
                "wall_ns": str(head.anchor.wall_ns),
                "epoch_ns": str(head.epoch_ns),
            },
        )
        self._writer.add_metadata(layout.METADATA_RUN, {"spec": _to_be_shared(head.spec)})
        self._writer.add_metadata(
            layout.METADATA_SKELETON,
            {"joints": json.dumps(JOINT_NAMES), "bones": json.dumps(BONES)},
        )


def _to_be_shared(spec: RunSpec) -> str:
    """The run without passwords of its cameras: recordings are given to others."""
    cameras = [
        camera.model_copy(update={"source": _without_secrets(camera.source)})
        for camera in spec.config.cameras
    ]
    config = spec.config.model_copy(update={"cameras": cameras})
    return spec.model_copy(update={"config": config}).model_dump_json()


def _without_secrets(source: Source) -> Source:
    if source.kind != "stream":
        return source
    return source.model_copy(update={"url": without_secrets(source.url)})
