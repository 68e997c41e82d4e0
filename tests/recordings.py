"""Recordings of a staged run."""

from __future__ import annotations

from pathlib import Path

from app.clock import now_ns, take_anchor
from app.messages import CameraStatus, Message
from app.recording.durable_file import DurableFile
from app.recording.reader import Recording
from app.recording.writer import RecordingHead, RecordingWriter
from app.run_messages import Health, ProcessHealth
from app.run_spec import RunSpec
from app.topics import Topic
from tests.staged_run import config, joints2d, pose, status


def take_head(tmp_path: Path) -> RecordingHead:
    return RecordingHead(
        RunSpec(mode="live", config=config(tmp_path)), take_anchor(), now_ns() - 1_000_000
    )


def take_messages(count: int) -> list[tuple[Topic, Message]]:
    made: list[tuple[Topic, Message]] = []
    for index in range(count):
        made.append((Topic.JOINTS2D, joints2d(index)))
        made.append((Topic.POSES, pose(index, missing=(13,) if index % 3 else ())))
        if index % 5 == 0:
            made.append((Topic.PIPELINE_STATUS, status(index)))
            camera = CameraStatus(camera="cam0", state="lost", detail="unplugged", at_ns=index)
            made.append((Topic.CAMERA_STATUS, camera))
            row = ProcessHealth(
                process="viewer", module="viz", running=True, state="ready", restarts=0
            )
            made.append((Topic.HEALTH, Health(at_ns=index, processes=(row,))))
    return made


def write_take(
    path: Path, head: RecordingHead, messages: list[tuple[Topic, Message]], *, finish: bool = True
) -> None:
    file = DurableFile(path)
    writer = RecordingWriter(file, head)
    for number, (topic, message) in enumerate(messages):
        writer.add(topic, message, head.epoch_ns + number * 10_000_000)
        if number % 20 == 19:
            writer.commit()
    writer.finish() if finish else writer.commit()
    file.close()


def read_take(path: Path) -> list[tuple[Topic, Message]]:
    return [(item.topic, item.message) for item in Recording(path).messages()]
